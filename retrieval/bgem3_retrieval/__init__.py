"""Bulk encoding with a running server, and what is to be built on it."""
