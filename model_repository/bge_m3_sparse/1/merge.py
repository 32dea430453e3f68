"""Triton loads this file; the model is in the bgem3_backend package."""

from bgem3_backend.models.sparse_merge import TritonPythonModel

__all__ = ["TritonPythonModel"]
