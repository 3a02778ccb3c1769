"""The models: all of them answer wire JSON with wire JSON."""
