"""The checks, one module a family; what they need is imported when they run."""
