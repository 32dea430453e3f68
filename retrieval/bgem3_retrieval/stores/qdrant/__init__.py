"""Qdrant as the store: embedded in this process by a folder, or a server by its URL."""
