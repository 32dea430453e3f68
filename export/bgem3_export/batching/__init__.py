"""Batches limited by their tokens: a library for Triton's dynamic batcher, and where it goes."""
