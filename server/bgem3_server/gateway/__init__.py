"""The HTTP service in front of Triton: many dialects, one way to encode."""
