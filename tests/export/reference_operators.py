"""Microsoft's operators for ONNX's reference evaluator, in the type of their input.

It computes every node in the type that the graph gives it, as NumPy does, where ONNX Runtime on a
CPU computes FP16 in FP32.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import torch
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun


class Gelu(OpRun):
    """``com.microsoft.Gelu``."""

    op_domain = "com.microsoft"

    def _run(self, value, approximate=None):
        return (_gelu(value),)


class BiasGelu(OpRun):
    """``com.microsoft.BiasGelu``."""

    op_domain = "com.microsoft"

    def _run(self, value, bias):
        return (_gelu(value + bias),)


class SkipLayerNormalization(OpRun):
    """``com.microsoft.SkipLayerNormalization``, summed up in FP32, as in CUDA's strict mode."""

    op_domain = "com.microsoft"

    def _run(self, value, skip, gamma, beta, bias=None, epsilon=None):
        summed = (value + skip if bias is None else value + bias + skip).astype(np.float32)
        centred = summed - summed.mean(axis=-1, keepdims=True)
        variance = np.square(centred).mean(axis=-1, keepdims=True)
        normalized = centred / np.sqrt(variance + np.float32(epsilon))
        return ((normalized * gamma + beta).astype(value.dtype),)


class MultiHeadAttention(OpRun):
    """``com.microsoft.MultiHeadAttention`` as the portable graph uses it."""

    op_domain = "com.microsoft"

    def _run(self, query, key, value, bias=None, lengths=None, num_heads=None):
        assert bias is None
        heads = [self._heads(part, num_heads) for part in (query, key, value)]
        masked = None
        if lengths is not None:
            masked = np.arange(query.shape[1]) >= lengths[:, None, None, None]
        attended = _attention(*heads, masked)
        return (attended.swapaxes(1, 2).reshape(query.shape).astype(query.dtype),)

    @staticmethod
    def _heads(part, num_heads):
        texts, tokens, size = part.shape
        return part.reshape(texts, tokens, num_heads, size // num_heads).swapaxes(1, 2)


class PackedMultiHeadAttention(OpRun):
    """``com.microsoft.PackedMultiHeadAttention`` as the graph for CUDA uses it.

    Like the operator's kernels without flash attention, it goes by way of the padded form, so that
    ``token_offset`` counts as well as ``cumulative_sequence_length``.
    """

    op_domain = "com.microsoft"

    def _run(self, query, key, value, bias, token_offset, cumulative, num_heads=None):
        assert bias is None
        assert query.shape == key.shape == value.shape
        tokens, hidden = query.shape
        texts, longest = token_offset.shape
        assert (texts + 1,) == cumulative.shape
        assert (np.int32, np.int32) == (token_offset.dtype, cumulative.dtype)

        offsets = token_offset.ravel()
        padded = np.zeros((3, texts * longest, hidden), query.dtype)
        padded[:, offsets[:tokens]] = query, key, value
        by_head = padded.reshape(3, texts, longest, num_heads, -1).swapaxes(2, 3)
        masked = np.arange(longest) >= np.diff(cumulative)[:, None, None, None]
        attended = _attention(*by_head, masked).swapaxes(1, 2).reshape(texts * longest, hidden)
        return (attended[offsets[:tokens]].astype(query.dtype),)


def evaluate(
    model: onnx.ModelProto,
    input_ids: np.ndarray,
    lengths: np.ndarray,
    outputs: Sequence[str] = ("dense", "hidden_states"),
) -> list[np.ndarray]:
    """Run a graph in the precision it is written in."""
    operators = [
        Gelu,
        BiasGelu,
        SkipLayerNormalization,
        MultiHeadAttention,
        PackedMultiHeadAttention,
    ]
    session = ReferenceEvaluator(model, new_ops=operators)
    # What overflows and underflows is looked at afterwards.
    with np.errstate(all="ignore"):
        return session.run(list(outputs), feeds(session.input_names, input_ids, lengths))


def feeds(names: list[str], input_ids: np.ndarray, lengths: np.ndarray) -> dict[str, np.ndarray]:
    """Return what a graph takes; TensorRT's takes the size of ``longest``, and nothing in it."""
    values = {
        "input_ids": input_ids.astype(np.int32),
        "lengths": lengths.astype(np.int32),
        "columns": np.arange(lengths.sum(), dtype=np.int32),
        "colbert_rows": np.zeros(lengths.sum() - lengths.size, np.int32),
        "longest": np.full(lengths.max(), -1, np.int32),
    }
    return {name: values[name] for name in names}


def _gelu(value):
    exact = torch.nn.functional.gelu(torch.from_numpy(value.astype(np.float32)))
    return exact.numpy().astype(value.dtype)


def _attention(query, key, value, masked):
    """[texts, heads, tokens, size of a head] each; ``masked`` is true for keys that are none."""
    scores = query @ key.swapaxes(2, 3) / query.dtype.type(query.shape[3] ** 0.5)
    if masked is not None:
        scores = np.where(masked, np.finfo(query.dtype).min, scores)
    weights = np.exp(scores - scores.max(axis=3, keepdims=True))
    return (weights / weights.sum(axis=3, keepdims=True)) @ value
