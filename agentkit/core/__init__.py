"""The run, sans-IO: the loop, the turns of the model, the calls, and what decides about them."""
