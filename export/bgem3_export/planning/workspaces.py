"""What kernels allocate for themselves while they run, beside their inputs and outputs.

Read from ONNX Runtime's sources. A kernel that is not here allocates nothing that grows with the
batch.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from bgem3_export.planning.graph_shapes import ShapedNode, TensorType

Provider = Literal["cpu", "cuda"]

Types = Mapping[str, TensorType]

# Inputs of MultiHeadAttention and PackedMultiHeadAttention.
_VALUE: Final = 2
_BIAS: Final = 3
_KEY_PADDING_MASK: Final = 4
_TOKEN_OFFSET: Final = 4

_L2_CACHE: Final = Path("/sys/devices/system/cpu/cpu0/cache/index2/size")
_FLOAT_BYTES: Final = 4


@dataclass(frozen=True)
class Processor:
    """What the CPU kernels divide their work by.

    Attributes:
        threads: Of one run.
        l2_cache_bytes: Of one core; 0 where it is not known.
    """

    threads: int
    l2_cache_bytes: int

    @classmethod
    def here(cls, threads: int | None = None) -> Processor:
        """Return this machine's, with a thread for each usable core unless told otherwise."""
        try:
            size = _L2_CACHE.read_text(encoding="ascii").strip()
        except OSError:
            size = "0K"
        return cls(threads or len(os.sched_getaffinity(0)), int(size.removesuffix("K")) * 1024)


def workspace_bytes(
    node: ShapedNode, types: Types, provider: Provider, processor: Processor
) -> list[int]:
    """Return the sizes of what a kernel allocates, in order; freed together when it ends."""
    rule = _RULES[provider].get(node.operator)
    return rule(node, types, processor) if rule else []


def _input(node: ShapedNode, number: int) -> str:
    return node.inputs[number] if number < len(node.inputs) else ""


def _cpu_multi_head_attention(node: ShapedNode, types: Types, processor: Processor) -> list[int]:
    """``contrib_ops/cpu/bert/multihead_attention.cc`` and ``attention_cpu_base.h``.

    Queries, keys and values are transposed into copies. Without a mask attention goes block by
    block, as large as the cache allows. With one there are the mask [B, S, S], the probabilities
    [B, heads, S, S] and the result before it is transposed back.
    """
    query = types[node.inputs[0]]
    batch, length, hidden = query.dims
    heads = int(node.attributes["num_heads"])
    copies = [types[name].size_bytes for name in node.inputs[:3]]
    if _input(node, _KEY_PADDING_MASK):
        scores = batch * length * length * query.item_bytes
        return [*copies, scores, heads * scores, copies[0]]
    head = hidden // heads
    columns = max(1, processor.l2_cache_bytes // (_FLOAT_BYTES * 4 * 2 * head))
    rows = min(columns, 2 * head, length)
    block = rows * (2 + min(columns, length) + head) * _FLOAT_BYTES
    return [*copies, block * processor.threads]


def _cuda_multi_head_attention(node: ShapedNode, types: Types, _: Processor) -> list[int]:
    """``GetAttentionWorkspaceSize`` of ``contrib_ops/cuda/bert/attention_impl.cu``.

    Queries, keys and values once more. In FP16 attention is one of the fused kinds; in FP32 it is
    not, below 256 tokens, and needs the scores twice.
    """
    query = types[node.inputs[0]]
    batch, length = query.dims[:2]
    copies = 3 * types[node.outputs[0]].size_bytes
    if query.item_bytes < _FLOAT_BYTES:
        return [copies]
    scores = batch * int(node.attributes["num_heads"]) * length * length * query.item_bytes
    return [copies + (2 * scores if length < _EFFICIENT_FROM_TOKENS else 0)]


def _cuda_packed_attention(node: ShapedNode, types: Types, _: Processor) -> list[int]:
    """``contrib_ops/cuda/bert/packed_multihead_attention.cc`` and ``packed_attention_impl.cu``.

    With ``sdpa_kernel`` 3, as in the templates of the configurations: flash attention, which is
    there for FP16, keeps the logarithm of a sum for each row of the scores, padded;
    memory-efficient attention keeps nothing. Both take queries, keys and values apart and without a
    bias as they are. Else they are brought into another order first, in a buffer that is as large
    as the padded form [B, S, 3 H] though the tokens in it are packed.
    """
    batch, length = types[node.inputs[_TOKEN_OFFSET]].dims
    output = types[node.outputs[0]]
    as_they_are = _input(node, _VALUE) and not _input(node, _BIAS)
    copies = 0 if as_they_are else 3 * batch * length * output.dims[1] * output.item_bytes
    half = output.item_bytes < _FLOAT_BYTES
    sums = batch * int(node.attributes["num_heads"]) * length * _FLOAT_BYTES if half else 0
    return [copies + sums] if copies + sums else []


# kDefaultMinSeqLenForEfficientAttentionFp32 of contrib_ops/cpu/bert/attention_common.h.
_EFFICIENT_FROM_TOKENS: Final = 256

_Rule = Callable[[ShapedNode, Types, Processor], list[int]]
_RULES: Final[Mapping[Provider, Mapping[str, _Rule]]] = {
    "cpu": {"MultiHeadAttention": _cpu_multi_head_attention},
    "cuda": {
        "MultiHeadAttention": _cuda_multi_head_attention,
        "PackedMultiHeadAttention": _cuda_packed_attention,
    },
}
