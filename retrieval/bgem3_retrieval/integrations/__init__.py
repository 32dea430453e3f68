"""Retrievers of other frameworks; each module needs that framework installed."""
