"""What operators see: health, metrics, logs, traces."""
