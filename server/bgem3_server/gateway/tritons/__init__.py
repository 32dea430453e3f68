"""The Tritons behind the service: which there are, and which one answers."""
