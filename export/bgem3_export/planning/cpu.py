"""The plan for a CPU: the memory left beside the processes, divided into tokens in flight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bgem3_export.errors import NotEnoughMemoryError
from bgem3_export.manifest import ModelShape
from bgem3_export.planning.plan import Cost, Plan, Setting
from bgem3_export.planning.sizes import format_size
from bgem3_export.planning.trunk_memory import TrunkMemory
from bgem3_export.trunk_config import TrunkConfig

# Proportional set sizes on Linux x86-64, Python 3.11, Triton 24.10, with BGE-M3's tokenizer:
# Triton 38 MB, tokenizer 331, token texts 60, the two heads 186 each.
_TRITON_AND_MODELS_BYTES: Final = 800 * 10**6
# The service's own under load (docs/benchmarks.md).
_SERVICE_BYTES: Final = 635 * 2**20
# Python with ONNX Runtime, before a graph is loaded.
_TRUNK_PROCESS_BYTES: Final = 95 * 10**6
_FREE_SHARE: Final = 0.05

_FP32_BYTES: Final = 4
# The hidden states in the trunk, on their way through Triton, and at the two heads: an array, the
# shared memory that it is sent by, Triton's copy, and shared memory again for either head.
_HIDDEN_COPIES: Final = 5
# The rows before and behind the normalisation, in shared memory, and Triton's copy.
_COLBERT_COPIES: Final = 4
_STEP_TOKENS: Final = 1024


@dataclass(frozen=True)
class CpuRequest:
    """What is planned for.

    Attributes:
        memory_bytes: For Triton, its models and the HTTP service together.
        microbatch_tokens: What the trunk computes at once, as it is set now.
        request_tokens: Most tokens of one request, as it is set now.
        in_flight_tokens: Most tokens that Triton has at once, as it is set now.
    """

    memory_bytes: int
    microbatch_tokens: int
    request_tokens: int
    in_flight_tokens: int


def plan_cpu(
    request: CpuRequest, memory: TrunkMemory, config: TrunkConfig, shape: ModelShape
) -> Plan:
    """Work out the settings for a machine without a GPU.

    Args:
        request: What is there.
        memory: Of the graph, on the CPU.
        config: Of the profile `cpu`.
        shape: Of the model.

    Raises:
        NotEnoughMemoryError: Not even one text of the longest kind fits.
    """
    longest = shape.max_length_tokens
    batch, batch_why = _largest_run(request, memory, shape)
    held = _bytes_in_flight(shape)
    linear_bytes = memory.weights_bytes - memory.embedding_table_bytes
    fixed = [
        Cost("left free", int(request.memory_bytes * _FREE_SHARE), f"{_FREE_SHARE:.0%}"),
        Cost(
            "Triton and its models",
            _TRITON_AND_MODELS_BYTES,
            "six processes, without the trunk's weights: measured",
        ),
        Cost("the HTTP service", _SERVICE_BYTES, "one worker under load: measured"),
        Cost(
            "weights",
            _TRUNK_PROCESS_BYTES + linear_bytes,
            f"in ONNX Runtime; the embedding table ({format_size(memory.embedding_table_bytes)}) "
            "stays in its file, which the kernel reads as it needs",
        ),
        Cost("a run of the trunk", batch, batch_why),
    ]
    left = request.memory_bytes - sum(cost.size_bytes for cost in fixed)
    tokens = min(request.in_flight_tokens, left // held // _STEP_TOKENS * _STEP_TOKENS)
    if tokens < longest:
        needed = request.memory_bytes - left + longest * held
        advice = f"{format_size(int(needed))} would be"
        if shape.precision == "fp16":
            advice += ", or less with an export in FP32, which is computed in anyway"
        raise NotEnoughMemoryError(
            f"{format_size(request.memory_bytes)} are not enough for texts of {longest:,} tokens; "
            f"{advice}"
        )
    in_flight = Cost(
        "tokens in flight",
        tokens * held,
        f"{tokens:,} tokens, {held:,} bytes each: hidden states of {shape.hidden_size} and ColBERT "
        f"rows of {shape.colbert_size}, and their copies between the processes",
    )
    request_tokens = min(request.request_tokens, tokens)
    settings = [
        Setting(
            "environment",
            "BGEM3_MAX_IN_FLIGHT_TOKENS",
            str(tokens),
            "the default" if tokens == request.in_flight_tokens else "as many as fit",
        ),
        Setting(
            "environment",
            "BGEM3_MAX_REQUEST_TOKENS",
            str(request_tokens),
            "the default"
            if request_tokens == request.request_tokens
            else "no request may be larger than what may be in flight",
        ),
    ]
    return Plan(
        title=f"{format_size(request.memory_bytes)} on a CPU",
        memory_bytes=request.memory_bytes,
        costs=(*fixed, in_flight),
        settings=tuple(settings),
        limits=config.limits,
        instances=config.instances,
        notes=(
            "of the engine onnxruntime-fp32; OpenVINO's runs take less, its weights about as much",
            "the trunk computes a few hundred tokens at a time whatever the batch, so a budget of "
            "tokens for Triton's batches is not needed here; it would bound what is held for those "
            "who go past the HTTP service",
        ),
    )


def _largest_run(request: CpuRequest, memory: TrunkMemory, shape: ModelShape) -> tuple[int, str]:
    """Return what the costliest run takes: the longest text, or a group of shorter ones."""
    longest, together = shape.max_length_tokens, request.microbatch_tokens
    runs = [[longest]]
    length = together // 2
    while length >= 16:
        runs.append([length] * (together // length))
        length //= 2
    sizes = [memory.run_bytes(run, shape.hidden_size) for run in runs]
    size = max(sizes)
    run = runs[sizes.index(size)]
    return size, f"{len(run)} text(s) of {run[0]:,} tokens, the costliest run"


def _bytes_in_flight(shape: ModelShape) -> int:
    hidden = _HIDDEN_COPIES * shape.hidden_size
    return (hidden + _COLBERT_COPIES * shape.colbert_size) * _FP32_BYTES
