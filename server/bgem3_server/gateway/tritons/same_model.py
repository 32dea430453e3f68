"""Whether two Tritons serve the same model, told by what they answer."""

from __future__ import annotations

from typing import Final

from bgem3_client import Embeddings

# Runs of one model in FP32, FP16, BF16 and INT8 agree to 0.999 and better.
_LEAST_COSINE: Final = 0.99


def difference(one: Embeddings, other: Embeddings) -> str:
    """Return why two answers to the same text cannot be one model's; empty where they can.

    A precision of its own makes no difference; another model, or another fine-tuning, does. The
    vectors themselves are compared, since names and numbers of versions are given by hand.

    Args:
        one: Of one text, with dense and ColBERT vectors.
        other: Of the same text.
    """
    for name, size, other_size in (
        ("dense dimensions", one.dense.shape[1], other.dense.shape[1]),
        ("ColBERT dimensions", one.colbert.vectors.shape[1], other.colbert.vectors.shape[1]),
        ("tokens", one.token_lengths[0], other.token_lengths[0]),
    ):
        if size != other_size:
            return f"it has {other_size} {name} where the primary has {size}"
    cosine = float(one.dense[0] @ other.dense[0])
    if not cosine >= _LEAST_COSINE:
        return (
            f"its dense vector of one text has a cosine of {cosine:.3f} with the primary's, "
            f"and {_LEAST_COSINE} is the least for one model in two precisions"
        )
    return ""
