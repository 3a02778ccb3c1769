"""The embedded model, which `Agent(model="local")` finds here: offline, without a key."""
