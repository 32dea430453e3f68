"""The plan for a GPU: the memory left beside the weights, divided into tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bgem3_export.errors import NotEnoughMemoryError
from bgem3_export.manifest import ModelShape
from bgem3_export.planning.arena import Extension
from bgem3_export.planning.plan import Cost, Plan, Setting
from bgem3_export.planning.sizes import format_size
from bgem3_export.planning.trunk_memory import TrunkMemory
from bgem3_export.trunk_config import BatchLimits, TrunkConfig

# A CUDA context with its libraries; nobody documents it. For processes with PyTorch or ONNX Runtime
# between 0.5 and 0.9 GB are told, so the most of it.
CONTEXT_BYTES: Final = 900 * 10**6
# The server with the trunk in it, and one process for each head.
_PROCESSES: Final = 3
# tritonserver's --cuda-memory-pool-byte-size.
_TRITON_POOL_BYTES: Final = 64 * 2**20
# Drivers keep some, and a GPU filled to the last byte fails at the first surprise.
_FREE_SHARE: Final = 0.05

# Larger batches do not make a GPU faster, and the next one waits longer: in FP16 this one is 20
# TFLOP at BGE-M3's shape, a fifth of a second on a GPU that does 100 a second.
_LARGEST_USEFUL_TOKENS: Final = 32_768
_STEP_TOKENS: Final = 1024
# One batch at the trunk, and one at the heads.
_BATCHES_BEHIND_THE_TRUNK: Final = 2
_MOST_REQUESTS: Final = 512
_LEAST_REQUESTS: Final = 64
_TOKENS_OF_A_REQUEST: Final = 64
# GatewaySettings.max_load_tokens, and how much more than what is in flight it should be.
_LOAD_TOKENS: Final = 524_288
_WAITING_SHARE: Final = 4
_FP32_BYTES: Final = 4
_FP16_BYTES: Final = 2


@dataclass(frozen=True)
class GpuRequest:
    """What is planned for.

    Attributes:
        memory_bytes: Of each GPU.
        gpus: That serve.
        instances: Of the trunk on each GPU.
        context_bytes: Of a process that uses the GPU.
        request_tokens: Most tokens of one request, as it is set now.
    """

    memory_bytes: int
    gpus: int
    instances: int
    context_bytes: int
    request_tokens: int


def plan_gpu(
    request: GpuRequest, memory: TrunkMemory, config: TrunkConfig, shape: ModelShape
) -> Plan:
    """Work out the settings for GPUs of one size.

    Args:
        request: What is there.
        memory: Of the graph that the configuration names.
        config: Of the profile `gpu`.
        shape: Of the model.

    Raises:
        NotEnoughMemoryError: Not even one text of the longest kind fits.
    """
    return _GpuPlanner(request, memory, config, shape).plan()


class _GpuPlanner:
    def __init__(
        self, request: GpuRequest, memory: TrunkMemory, config: TrunkConfig, shape: ModelShape
    ) -> None:
        self._request = request
        self._memory = memory
        self._config = config
        self._shape = shape
        self._extension: Extension = (
            "kSameAsRequested"
            if config.arena_extension == "kSameAsRequested"
            else "kNextPowerOfTwo"
        )

    def plan(self) -> Plan:
        request, longest = self._request, self._shape.max_length_tokens
        if not self._fits(longest):
            raise NotEnoughMemoryError(self._too_little())
        largest = self._largest_batch(max(_LARGEST_USEFUL_TOKENS, request.request_tokens))
        tokens = min(largest, max(_LARGEST_USEFUL_TOKENS, longest))
        request_tokens = min(request.request_tokens, tokens)
        pads = self._memory.pads()
        limits = BatchLimits(
            requests=max(_LEAST_REQUESTS, min(_MOST_REQUESTS, tokens // _TOKENS_OF_A_REQUEST)),
            tokens=tokens,
            cost="padded" if pads else "tokens",
        )
        return Plan(
            title=f"{request.gpus} GPU(s) of {format_size(request.memory_bytes)}",
            memory_bytes=request.memory_bytes,
            costs=tuple(self._costs(tokens)),
            settings=tuple(self._settings(limits, request_tokens, largest)),
            limits=limits,
            instances=request.instances,
            notes=tuple(self._notes(tokens, request_tokens, pads=pads)),
        )

    def _largest_batch(self, enough: int) -> int:
        """Return the most tokens that fit, in steps, up to what is enough."""
        low, high = self._shape.max_length_tokens // _STEP_TOKENS, enough // _STEP_TOKENS
        while low < high:
            middle = (low + high + 1) // 2
            if self._fits(middle * _STEP_TOKENS):
                low = middle
            else:
                high = middle - 1
        return max(low * _STEP_TOKENS, self._shape.max_length_tokens)

    def _fits(self, tokens: int) -> bool:
        return sum(cost.size_bytes for cost in self._costs(tokens)) <= self._request.memory_bytes

    def _costs(self, tokens: int) -> list[Cost]:
        request, shape = self._request, self._shape
        arena = self._memory.reserved_bytes(
            tokens, self._extension, gives_back=self._config.gives_back
        )
        kept = "given back after each" if self._config.gives_back else "kept, sizes mixed"
        behind = self._bytes_behind_the_trunk()
        return [
            Cost(
                "left free",
                int(request.memory_bytes * _FREE_SHARE),
                f"{_FREE_SHARE:.0%}, for the driver and for surprises",
            ),
            Cost(
                "CUDA contexts",
                _PROCESSES * request.context_bytes,
                f"{_PROCESSES} processes (Triton with the trunk, two heads), "
                f"{format_size(request.context_bytes)} each",
            ),
            Cost("Triton's pool", _TRITON_POOL_BYTES, "--cuda-memory-pool-byte-size"),
            Cost(
                "weights",
                request.instances * self._memory.weights_bytes,
                f"{format_size(self._memory.weights_bytes)} for each of {request.instances} "
                f"instance(s); the embedding table is "
                f"{format_size(self._memory.embedding_table_bytes)} of it",
            ),
            Cost(
                "a batch in the trunk",
                request.instances * arena,
                f"{tokens:,} tokens, {arena // tokens:,} bytes each in ONNX Runtime's arena "
                f"({self._extension}, {kept})",
            ),
            Cost(
                "behind the trunk",
                _BATCHES_BEHIND_THE_TRUNK * tokens * behind,
                f"{_BATCHES_BEHIND_THE_TRUNK} batches, {behind:,} bytes a token: hidden states of "
                f"{shape.hidden_size} ({shape.precision}) and their copies, ColBERT rows of "
                f"{shape.colbert_size}",
            ),
        ]

    def _bytes_behind_the_trunk(self) -> int:
        """Of a token: the answer of the trunk, its copies for the heads, and what they make of it.

        The ColBERT head takes the states in FP32, and has its rows before and behind the
        normalisation, and once more in FP16; the sparse head holds little more than the states.
        """
        hidden, rows = self._shape.hidden_size, self._shape.colbert_size
        item = _FP16_BYTES if self._shape.precision == "fp16" else _FP32_BYTES
        copies = 3 * hidden * item + 2 * hidden * _FP32_BYTES
        return copies + 2 * rows * _FP32_BYTES + rows * _FP16_BYTES

    def _settings(self, limits: BatchLimits, request_tokens: int, largest: int) -> list[Setting]:
        request = self._request
        trunks = request.gpus * request.instances
        assert limits.tokens is not None
        held_back = (
            "as many as fit"
            if limits.tokens == largest and largest < _LARGEST_USEFUL_TOKENS
            else "more would fit, and make the GPU no faster"
        )
        in_flight = 2 * limits.tokens * trunks
        settings = [
            Setting("config.pbtxt", "max_batch_tokens", str(limits.tokens), held_back),
            Setting(
                "config.pbtxt",
                "batch_cost",
                limits.cost,
                "texts times the longest: this graph pads"
                if limits.cost == "padded"
                else "this graph does not pad",
            ),
            Setting(
                "config.pbtxt",
                "max_batch_size",
                str(limits.requests),
                f"requests; {limits.tokens:,} tokens are so many of {_TOKENS_OF_A_REQUEST}",
            ),
            Setting(
                "config.pbtxt",
                "instance_group count",
                str(request.instances),
                "each has its own weights; a second one overlaps copies with work",
            ),
            Setting(
                "environment",
                "BGEM3_MAX_IN_FLIGHT_TOKENS",
                str(in_flight),
                f"one batch is computed while the next is collected, on {trunks} instance(s)",
            ),
            Setting("environment", "BGEM3_BULK_PARTS", str(2 * trunks), "two for each instance"),
        ]
        if _WAITING_SHARE * in_flight > _LOAD_TOKENS:
            settings.append(
                Setting(
                    "environment",
                    "BGEM3_MAX_LOAD_TOKENS",
                    str(_WAITING_SHARE * in_flight),
                    f"{_WAITING_SHARE} times what may be in flight",
                )
            )
        if request_tokens < request.request_tokens:
            settings.append(
                Setting(
                    "environment",
                    "BGEM3_MAX_REQUEST_TOKENS",
                    str(request_tokens),
                    "no request may be larger than a batch",
                )
            )
        return settings

    def _notes(self, tokens: int, request_tokens: int, *, pads: bool) -> list[str]:
        by_tokens = sum(cost.size_bytes for cost in self._costs(tokens)[-2:])
        left = self._request.memory_bytes - sum(cost.size_bytes for cost in self._costs(tokens))
        fitting = tokens + left * tokens // by_tokens
        alone = max(1, min(_LEAST_REQUESTS, fitting // request_tokens))
        notes = [
            "worked out from the graph and from ONNX Runtime's sources; not measured on a GPU",
            "max_batch_tokens needs the batching library: bgem3 build-batcher. Without it set "
            f"max_batch_size to {alone}: so many requests of {request_tokens:,} tokens fit",
        ]
        other: Extension = (
            "kNextPowerOfTwo" if self._extension == "kSameAsRequested" else "kSameAsRequested"
        )
        now, then = (
            self._memory.reserved_bytes(tokens, kind, gives_back=self._config.gives_back)
            for kind in (self._extension, other)
        )
        if then < 0.8 * now:
            notes.append(
                f"with arena_extend_strategy {other} the arena would take {format_size(then)} "
                f"instead of {format_size(now)}"
            )
        if pads:
            notes.append(
                "this graph pads: the texts of one request are not parted, so let no request hold "
                "a long text beside many short ones (BGEM3_MAX_TEXTS_PER_REQUEST)"
            )
        return notes

    def _too_little(self) -> str:
        longest = self._shape.max_length_tokens
        costs = self._costs(longest)
        fixed = sum(cost.size_bytes for cost in costs[1:4])
        needed = int(sum(cost.size_bytes for cost in costs[1:]) / (1 - _FREE_SHARE))
        what = (
            "the weights, with the processes around them, do not"
            if fixed > self._request.memory_bytes
            else f"a batch of one text of {longest:,} tokens does not"
        )
        advice = [f"a GPU of {format_size(needed)} or more"]
        if self._request.instances > 1:
            advice.append("--instances 1")
        if self._shape.precision == "fp32":
            advice.append("an export in FP16 (bgem3 export --precision fp16)")
        return (
            f"{format_size(self._request.memory_bytes)} are not enough: {what} fit "
            f"({format_size(needed)} are needed). What would: {', or '.join(advice)}"
        )
