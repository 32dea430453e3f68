"""Files as text with structure."""
