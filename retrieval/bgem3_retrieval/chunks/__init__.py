"""Documents cut into passages by the model's tokens."""
