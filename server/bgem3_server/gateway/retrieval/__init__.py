"""Search and index over the service's own encoder."""
