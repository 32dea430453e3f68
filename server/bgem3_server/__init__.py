"""Starts and watches Triton on a repository of BGE-M3."""
