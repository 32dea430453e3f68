"""From a checkpoint to a complete, checked, versioned Triton model repository."""
