"""Whether texts are answered: proved by sending one, again and again."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal

import structlog

from bgem3_backend.contract import TRUNK, version_step_name
from bgem3_client import Embeddings
from bgem3_client.encode_request import ALL_OUTPUTS
from bgem3_client.errors import (
    BgeM3Error,
    ModelNotFoundError,
    ServerOutOfMemoryError,
    UnavailableError,
)
from bgem3_client.transports import TritonTransport
from bgem3_server.gateway.operations.probe_watchers import ProbeWatcher
from bgem3_server.gateway.settings import GatewaySettings
from bgem3_server.gateway.tritons.role import Role
from bgem3_server.gateway.tritons.triton import Triton

_PROBE_TEXT: Final = "ready?"
# A probe is waited for again and again, and not given up before a connection would be.
_LONGEST_PROBE_SECONDS: Final = 3600.0
_NOT_READY_INTERVAL_SECONDS: Final = 1.0
_LOOK_SECONDS: Final = 0.5
# One failure may be an accident, as of memory that was short for a moment.
_FAILURES: Final = 2
# So many times the time that Triton should need for what it has is still called busy.
_PATIENCE: Final = 4.0
# BGE-M3 on a slow CPU.
_SLOW_TOKENS_PER_SECOND: Final = 100.0
_DEVICE_TIMEOUT_SECONDS: Final = 5.0

Device = Literal["cpu", "gpu"]

log = structlog.get_logger("bgem3.gateway")


class State(Enum):
    """What the service, or one Triton, can do."""

    LOADING = "loading"
    """It was not ready so far."""
    READY = "ready"
    UNAVAILABLE = "unavailable"
    """It was ready, and Triton does not answer, or not with vectors."""
    STOPPING = "stopping"


@dataclass(frozen=True)
class Served:
    """What answered the last probe.

    Attributes:
        version: Triton's version of the model.
        hidden_size: Numbers in a dense vector.
        colbert_size: Numbers in a ColBERT vector.
    """

    version: str
    hidden_size: int
    colbert_size: int


class Readiness:
    """Sends one short text for all representations, every few seconds.

    Triton calls itself ready when the process of a model is dead. A probe that is merely late while
    other requests are answered, or while Triton has much to do, says nothing: busy is not sick.

    Attributes:
        state: Now.
        reason: Why it is not ready; empty when it is.
        up: Whether Triton answers texts, also while the service is stopping.
        served: What answered last; None before the first answer.
        device: What the trunk runs on, as its configuration in Triton says; None where that is not
            known.
    """

    def __init__(self, triton: Triton, watcher: ProbeWatcher, settings: GatewaySettings) -> None:
        """Prepare; nothing is sent yet.

        Args:
            triton: What is probed.
            watcher: Told of each probe.
            settings: How often, and for how long.
        """
        self.state = State.LOADING
        self.reason = "no text was answered yet"
        self.up = False
        self.served: Served | None = None
        self.device: Device | None = None
        self._triton = triton
        self._watcher = watcher
        self._settings = settings
        self._failures = 0
        self._show(up=False)

    async def run(self) -> None:
        """Probe until cancelled."""
        if not self._settings.ready_interval_seconds:
            self.state, self.reason = State.READY, ""
            self._show(up=True)
            return
        while True:
            try:
                await self._probe()
            except Exception:
                self._unavailable("the check whether it is failed: see the service's log")
                raise
            interval_seconds = self._settings.ready_interval_seconds
            if self.state is not State.READY or self._failures or self._watcher.in_doubt:
                interval_seconds = min(interval_seconds, _NOT_READY_INTERVAL_SECONDS)
            await asyncio.sleep(interval_seconds)

    def stop(self) -> None:
        """Say from now on that the service is stopping, whatever probes find."""
        self.state = State.STOPPING
        self.reason = "the service is stopping"

    async def _probe(self) -> None:
        """Send the text, and wait until it is answered, however long that takes."""
        began_seconds = time.monotonic()
        probe = asyncio.create_task(
            self._triton.client.encode(
                [_PROBE_TEXT], ALL_OUTPUTS, timeout_seconds=_LONGEST_PROBE_SECONDS
            )
        )
        # Seen, or asyncio would report at a stop that nobody did.
        probe.add_done_callback(lambda task: task.cancelled() or task.exception())
        try:
            while not (await asyncio.wait([probe], timeout=_LOOK_SECONDS))[0]:
                self._judge_silence(began_seconds)
        finally:
            probe.cancel()  # for this process alone; on the wire it goes on
        try:
            embeddings = probe.result()
        except BgeM3Error as error:
            self._failed(error, began_seconds)
        else:
            await self._answered(embeddings)

    async def _answered(self, embeddings: Embeddings) -> None:
        self.served = Served(
            embeddings.model_version,
            embeddings.dense.shape[1],
            embeddings.colbert.vectors.shape[1],
        )
        self._failures = 0
        self._show(up=True)
        self._watcher.answered(embeddings)
        if self.state is not State.READY:
            # After a restart it may be another.
            self.device = await self._find_device()
            self._ready(self.served)

    def _ready(self, served: Served) -> None:
        if self.state is not State.STOPPING:
            self.state, self.reason = State.READY, ""
            log.info(
                "ready",
                model_version=served.version,
                device=self.device,
                **self._which,
            )

    def _failed(self, error: BgeM3Error, began_seconds: float) -> None:
        others_are_answered = self._triton.answered_seconds > began_seconds
        if others_are_answered and isinstance(error, UnavailableError | ServerOutOfMemoryError):
            return  # a full queue, or full memory
        self._failures += 1
        self._watcher.missed()
        if self.state is not State.READY or self._failures >= _FAILURES:
            self._unavailable(str(error))

    def _judge_silence(self, began_seconds: float) -> None:
        """Decide whether a probe that is not answered yet is a bad sign."""
        now = time.monotonic()
        silent_seconds = now - max(began_seconds, self._triton.answered_seconds)
        pace = self._triton.pace
        tokens_per_second = pace.tokens_per_second if pace.measured else _SLOW_TOKENS_PER_SECOND
        work_seconds = self._triton.in_flight_tokens / tokens_per_second
        if silent_seconds > self._settings.answer_timeout_seconds + _PATIENCE * work_seconds:
            self._unavailable(f"Triton has not answered for {silent_seconds:.0f} s")

    def _unavailable(self, reason: str) -> None:
        self._show(up=False)
        if self.state is State.STOPPING:
            return
        if self.state is State.READY:
            log.warning("not ready", reason=reason, **self._which)
            self.state = State.UNAVAILABLE
        self.reason = reason

    @property
    def _which(self) -> dict[str, str]:
        """For the log; of the primary it goes without saying."""
        role = self._triton.role
        return {} if role is Role.PRIMARY else {"triton": role.value}

    def _show(self, *, up: bool) -> None:
        self.up = up
        self._watcher.show(up=up)

    async def _find_device(self) -> Device | None:
        if not isinstance(self._triton.transport, TritonTransport):
            return None
        transport = self._triton.transport
        assert self.served is not None
        try:
            try:
                kinds = await transport.instance_kinds(TRUNK.name, _DEVICE_TIMEOUT_SECONDS)
            except ModelNotFoundError:  # the version that this Triton began with was unloaded
                name = version_step_name(TRUNK, self.served.version)
                kinds = await transport.instance_kinds(name, _DEVICE_TIMEOUT_SECONDS)
        except BgeM3Error as error:  # Triton may be told to keep its configuration to itself
            log.info("Triton does not tell what device the model is on", reason=str(error))
            return None
        if "KIND_GPU" in kinds:
            return "gpu"
        return "cpu" if kinds == {"KIND_CPU"} else None
