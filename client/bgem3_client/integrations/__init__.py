"""The model as an embedding of other frameworks; each module needs that framework installed."""
