"""One ``tritonserver``: found, started, probed, restarted and stopped."""
