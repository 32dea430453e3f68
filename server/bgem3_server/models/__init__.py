"""Versions of the model in a running Triton: load, switch, roll back, unload."""
