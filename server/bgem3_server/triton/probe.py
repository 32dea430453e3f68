"""Health, proved by inference: a Triton whose models' processes were killed still says "ready"."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from bgem3_backend.contract import DENSE, ENSEMBLE, TEXT
from bgem3_server.settings import ServeSettings
from bgem3_server.triton.command import TritonCommand
from bgem3_server.triton.session import session_cpu_seconds

_PROBE_TEXT: Final = b"hi"
# Questions that no model has to be asked for.
_LONGEST_CONTROL_SECONDS: Final = 5.0
# Idle, Triton and its models use less than a hundredth of a core.
_IDLE_CORES: Final = 0.05
_CHANNEL_OPTIONS: Final = (
    # gRPC waits longer and longer before it connects again; while models load that adds seconds.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
)


class Health(Enum):
    """What a probe found."""

    WELL = "well"
    BUSY = "busy"
    """No answer in time, but work is being done, or the queue is full."""
    ABSENT = "absent"
    """Triton answers, and the model is not loaded: somebody unloaded it."""
    SICK = "sick"
    """Requests fail."""
    HUNG = "hung"
    """No answer, and nothing is done about it."""


@dataclass(frozen=True)
class Finding:
    """The result of one probe; ``detail`` says what Triton answered."""

    health: Health
    detail: str = ""


@dataclass(frozen=True)
class ServedModel:
    """The public model as Triton serves it; ``hidden_size`` is None for a model without `dense`."""

    name: str
    versions: tuple[str, ...]
    hidden_size: int | None


@dataclass(frozen=True)
class _Work:
    """What has been done so far: requests answered by any model, processor time."""

    answered: int | None
    cpu_seconds: float
    at_seconds: float


class Probe:
    """Asks one Triton how it is, over gRPC."""

    def __init__(self, command: TritonCommand, session: int, settings: ServeSettings) -> None:
        self._server_id = command.server_id
        self._session = session
        self._timeout_seconds = settings.probe_timeout_seconds
        self._control_timeout_seconds = min(
            _LONGEST_CONTROL_SECONDS, settings.probe_timeout_seconds
        )
        self._busy_limit_seconds = settings.busy_limit_seconds
        self._last_result = time.monotonic()
        self._channel = grpc.insecure_channel(command.addresses.grpc, options=_CHANNEL_OPTIONS)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        self._pending: grpc.Future | None = None

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def served_model(self) -> ServedModel | None:
        """Return what this very Triton serves; None while it is not ready."""
        try:
            server = self._control(self._stub.ServerMetadata, service_pb2.ServerMetadataRequest())
            if server.name != self._server_id:
                return None  # another server, on a port that Triton is about to be refused
            readiness = self._control(self._stub.ServerReady, service_pb2.ServerReadyRequest())
            if not readiness.ready:
                return None
            model = self._control(
                self._stub.ModelMetadata, service_pb2.ModelMetadataRequest(name=ENSEMBLE.name)
            )
        except grpc.RpcError:
            return None
        sizes = [output.shape[-1] for output in model.outputs if output.name == DENSE.name]
        return ServedModel(
            name=model.name,
            versions=tuple(model.versions),
            hidden_size=sizes[0] if sizes and sizes[0] > 0 else None,
        )

    def check(self) -> Finding:
        """Send one short text through every step and return what came of it."""
        before = self._work()
        # A request that is late is waited for again by the next check, never cancelled: Triton
        # 24.10 dies of a cancelled ensemble whose heads are both at work.
        if self._pending is None:
            self._pending = self._stub.ModelInfer.future(_probe_request())
        try:
            self._pending.result(self._timeout_seconds)
        except grpc.FutureTimeoutError:
            return self._busy_or_hung(before)
        except grpc.RpcError as error:
            self._pending = None
            return self._diagnose(error)
        self._pending = None
        self._last_result = time.monotonic()
        return Finding(Health.WELL)

    def _diagnose(self, error: grpc.RpcError) -> Finding:
        assert isinstance(error, grpc.Call)
        detail = (error.details() or error.code().name).strip().rstrip(".")
        match error.code():
            case grpc.StatusCode.NOT_FOUND:
                return Finding(Health.ABSENT, detail)
            case grpc.StatusCode.RESOURCE_EXHAUSTED:
                return Finding(Health.BUSY, detail)
            case grpc.StatusCode.UNAVAILABLE:
                # A full queue, or a model between two versions; unless Triton itself is away.
                return Finding(Health.BUSY if self._is_live() else Health.HUNG, detail)
            case _:
                return Finding(Health.SICK, detail)

    def _busy_or_hung(self, before: _Work) -> Finding:
        after = self._work()
        elapsed_seconds = after.at_seconds - before.at_seconds
        cores = (after.cpu_seconds - before.cpu_seconds) / elapsed_seconds
        answered = (after.answered or 0) - (before.answered or after.answered or 0)
        if answered > 0:
            self._last_result = after.at_seconds
            return Finding(Health.BUSY, f"{answered} requests answered meanwhile")
        silent_seconds = after.at_seconds - self._last_result
        if cores > _IDLE_CORES and silent_seconds < self._busy_limit_seconds:
            return Finding(Health.BUSY, f"at work for {silent_seconds:.0f} s, {cores:.1f} cores")
        return Finding(
            Health.HUNG,
            f"no answer within {elapsed_seconds:.1f} s, none at all for {silent_seconds:.1f} s, "
            f"{cores:.2f} cores used",
        )

    def _work(self) -> _Work:
        try:
            statistics = self._control(
                self._stub.ModelStatistics, service_pb2.ModelStatisticsRequest()
            )
        except grpc.RpcError:
            answered = None  # that it does not answer is what the caller is about to find out
        else:
            # Not the failures: requests that fail one after the other are no work done.
            answered = sum(model.inference_stats.success.count for model in statistics.model_stats)
        return _Work(answered, session_cpu_seconds(self._session), time.monotonic())

    def _is_live(self) -> bool:
        try:
            live = self._control(self._stub.ServerLive, service_pb2.ServerLiveRequest())
        except grpc.RpcError:
            return False
        return bool(live.live)

    def _control(self, method: Callable[..., Any], request: Any) -> Any:  # noqa: ANN401 - generated code
        return method(request, timeout=self._control_timeout_seconds)


def _probe_request() -> Any:  # noqa: ANN401 - generated code
    """Return a request for all outputs, so that no step of the ensemble is left out."""
    request = service_pb2.ModelInferRequest(model_name=ENSEMBLE.name)
    text = request.inputs.add(name=TEXT.name, datatype="BYTES", shape=[1, 1])
    text.contents.bytes_contents.append(_PROBE_TEXT)
    return request
