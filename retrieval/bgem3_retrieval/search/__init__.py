"""Questions to a collection."""
