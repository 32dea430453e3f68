"""When the service says that it is ready: over a transport that does as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from prometheus_client import CollectorRegistry

from bgem3_client import AsyncClient, FakeTransport, UnavailableError
from bgem3_client.encode_request import EncodeOptions
from bgem3_client.errors import AccessError, InternalServerError, ServerOutOfMemoryError
from bgem3_client.transports import InferRequest, InferResponse
from bgem3_server.gateway.encoding.result_cache import ResultCache
from bgem3_server.gateway.operations import readiness as readiness_module
from bgem3_server.gateway.operations.metrics import Metrics
from bgem3_server.gateway.operations.probe_watchers import PrimaryWatcher
from bgem3_server.gateway.operations.readiness import Readiness, State
from bgem3_server.gateway.settings import GatewaySettings
from bgem3_server.gateway.tritons import triton
from bgem3_server.gateway.tritons.role import Role
from bgem3_server.gateway.tritons.tritons import Tritons


class Triton(FakeTransport):
    """A fake that is well, fails, or says nothing, until told otherwise."""

    def __init__(self) -> None:
        super().__init__(hidden_size=16, colbert_size=8)
        self.error: Exception | None = None
        self.silent = False
        self.kinds: frozenset[str] | Exception = frozenset({"KIND_CPU"})
        self.most_at_once = 0
        self._at_once = 0

    async def infer(self, request: InferRequest) -> InferResponse:
        """Do as told."""
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            while self.silent:
                await asyncio.sleep(0.005)
            if self.error:
                raise self.error
            return await super().infer(request)
        finally:
            self._at_once -= 1

    async def instance_kinds(self, model: str, timeout_seconds: float | None) -> frozenset[str]:
        """What the trunk runs on."""
        if isinstance(self.kinds, Exception):
            raise self.kinds
        return self.kinds

    async def model_parameters(self, model: str, timeout_seconds: float | None) -> dict[str, str]:
        """Not needed."""
        return {}

    async def register_region(self, name: str, key: str, size_bytes: int) -> None:
        """Not needed."""

    async def unregister_region(self, name: str) -> None:
        """Not needed."""


async def _nothing(_: triton.Triton) -> None:
    """Is done at once."""


class Bench:
    """A readiness on its own."""

    def __init__(self, **settings: float) -> None:
        self.triton = Triton()
        configured = GatewaySettings(
            **{"ready_interval_seconds": 0.01, "answer_timeout_seconds": 0.1} | settings
        )
        self.registry = CollectorRegistry()
        metrics = Metrics(self.registry)
        self.cache = ResultCache(1_000_000, metrics)
        self.primary = triton.Triton(Role.PRIMARY, "", self.triton)
        tritons = Tritons(self.primary, None, 10, metrics)
        watcher = PrimaryWatcher(tritons, self.cache, metrics)
        self.readiness = Readiness(self.primary, watcher, configured)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Probe while the block runs."""
        task = asyncio.create_task(self.readiness.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def until(self, state: State) -> None:
        """Wait for a state."""
        async with asyncio.timeout(5):
            while self.readiness.state is not state:
                await asyncio.sleep(0.005)

    @property
    def up(self) -> float | None:
        """What the metric says."""
        return self.registry.get_sample_value("bgem3_triton_up")


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch):
    monkeypatch.setattr(readiness_module, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(readiness_module, "_NOT_READY_INTERVAL_SECONDS", 0.01)


def run(scenario: Callable[[Bench], object], **settings: float) -> None:
    async def main() -> None:
        bench = Bench(**settings)
        async with bench.running():
            await scenario(bench)

    asyncio.run(main())


def test_loading_until_the_first_answer():
    """With the reason; then ready, with what was learned from the answer."""

    async def scenario(bench: Bench) -> None:
        bench.triton.error = UnavailableError("connection refused")
        assert (State.LOADING, 0.0) == (bench.readiness.state, bench.up)
        await asyncio.sleep(0.05)
        assert State.LOADING is bench.readiness.state

        bench.triton.error = None
        await bench.until(State.READY)

        assert ("", 1.0) == (bench.readiness.reason, bench.up)
        assert bench.readiness.served is not None
        assert (16, 8) == (
            bench.readiness.served.hidden_size,
            bench.readiness.served.colbert_size,
        )

    run(scenario)


def test_reason_is_what_triton_said():
    """So that /health/ready says it too."""

    async def scenario(bench: Bench) -> None:
        bench.triton.error = InternalServerError("Stub process is not healthy")
        async with asyncio.timeout(5):
            while bench.readiness.reason != "Stub process is not healthy":
                await asyncio.sleep(0.005)

    run(scenario)


def test_failing_model_makes_it_unavailable_and_ready_again():
    """All representations are asked for, so that no model can fail unseen."""

    async def scenario(bench: Bench) -> None:
        await bench.until(State.READY)
        bench.triton.error = InternalServerError("Stub process is not healthy")
        await bench.until(State.UNAVAILABLE)
        assert ("Stub process is not healthy", 0.0) == (bench.readiness.reason, bench.up)
        bench.triton.error = None
        await bench.until(State.READY)
        names = {tensor.name for tensor in bench.triton.requests[-1].outputs}
        assert {"dense", "sparse_values", "colbert"} <= names

    run(scenario)


def test_one_failure_alone_says_nothing():
    """As of memory that was short for a moment."""

    async def scenario(bench: Bench) -> None:
        await bench.until(State.READY)
        bench.triton._script.append(InternalServerError("an accident"))
        count = len(bench.triton.requests)
        while len(bench.triton.requests) < count + 3:
            assert State.READY is bench.readiness.state
            await asyncio.sleep(0.001)

    run(scenario)


def test_silence_makes_it_unavailable():
    """One probe is waited for, and no second sent; its answer is the recovery."""

    async def scenario(bench: Bench) -> None:
        await bench.until(State.READY)
        bench.triton.silent = True
        await bench.until(State.UNAVAILABLE)
        assert "Triton has not answered for" in bench.readiness.reason
        await asyncio.sleep(0.1)
        assert 1 == bench.triton.most_at_once
        bench.triton.silent = False
        await bench.until(State.READY)

    run(scenario)


def test_late_probe_says_nothing_while_others_are_answered():
    """Busy is not sick."""

    async def scenario(bench: Bench) -> None:
        await bench.until(State.READY)
        bench.triton.silent = True
        for _ in range(30):
            await bench.primary.do(_nothing, tokens=10)
            await asyncio.sleep(0.01)
            assert State.READY is bench.readiness.state

    run(scenario)


def test_late_probe_says_nothing_while_triton_has_much_to_do():
    """One long text may take longer than the time for an answer."""

    async def scenario(bench: Bench) -> None:
        await bench.until(State.READY)
        bench.primary.in_flight_tokens = 1000
        bench.triton.silent = True
        await asyncio.sleep(0.3)
        assert State.READY is bench.readiness.state

    run(scenario)


@pytest.mark.parametrize("kind", [UnavailableError, ServerOutOfMemoryError])
def test_full_queue_says_nothing_while_others_are_answered(kind):
    """Nor does full memory; when nobody is answered, both do."""

    async def scenario(bench: Bench) -> None:
        await bench.until(State.READY)
        bench.triton.error = kind("full")
        # Answered after any probe's beginning.
        bench.primary.answered_seconds = asyncio.get_running_loop().time() + 60
        await asyncio.sleep(0.2)
        assert State.READY is bench.readiness.state
        bench.primary.answered_seconds = 0
        await bench.until(State.UNAVAILABLE)

    run(scenario)


@pytest.mark.parametrize(
    ("kinds", "device"),
    [
        (frozenset({"KIND_CPU"}), "cpu"),
        (frozenset({"KIND_GPU"}), "gpu"),
        (frozenset({"KIND_GPU", "KIND_CPU"}), "gpu"),
        (frozenset({"KIND_MODEL"}), None),
        (AccessError("the model's configuration is restricted"), None),
    ],
)
def test_device_is_what_tritons_configuration_says(kinds, device):
    """And unknown where Triton keeps that to itself, which does not make it unready."""

    async def scenario(bench: Bench) -> None:
        bench.triton.kinds = kinds
        await bench.until(State.READY)
        assert device == bench.readiness.device

    run(scenario)


def test_stopping_is_not_ready_whatever_probes_find():
    """Good ones and bad ones."""

    async def scenario(bench: Bench) -> None:
        await bench.until(State.READY)
        bench.readiness.stop()
        await asyncio.sleep(0.05)
        assert (State.STOPPING, 1.0) == (bench.readiness.state, bench.up)
        bench.triton.error = InternalServerError("gone")
        await asyncio.sleep(0.05)
        assert (State.STOPPING, 0.0) == (bench.readiness.state, bench.up)
        assert "the service is stopping" == bench.readiness.reason

    run(scenario)


def test_without_probes_it_is_taken_for_ready():
    """As the setting says."""

    async def scenario(bench: Bench) -> None:
        await bench.until(State.READY)
        assert [] == bench.triton.requests

    run(scenario, ready_interval_seconds=0)


def test_mistake_in_the_check_itself_is_not_taken_for_health():
    """What stops probing must not leave 'ready' behind."""

    async def scenario(bench: Bench) -> None:
        await bench.until(State.READY)
        bench.triton.error = ZeroDivisionError()
        await bench.until(State.UNAVAILABLE)

    run(scenario)


def test_probe_empties_the_cache_of_another_models_results():
    """As when Triton was started again with another repository under the same version."""

    async def scenario(bench: Bench) -> None:
        await bench.until(State.READY)
        embeddings = await AsyncClient(transport=FakeTransport()).encode(["a"])
        bench.cache.keep(["a"], embeddings, EncodeOptions())
        await asyncio.sleep(0.05)
        assert 1 == len(bench.cache)

        bench.triton._hidden_size = 32
        async with asyncio.timeout(5):
            while len(bench.cache):
                await asyncio.sleep(0.005)

    run(scenario)
