"""Triton loads this file; the model is in the bgem3_backend package."""

from bgem3_backend.models.cpu_trunk import TritonPythonModel

__all__ = ["TritonPythonModel"]
