"""The health routes: what they say, and that they say it whatever else goes on."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace

import httpx
import psutil
import pynvml
import pytest
from live_server import live_triton
from live_service import live_service
from starlette.testclient import TestClient
from waiting import wait_until

from bgem3_client import FakeTransport, UnavailableError
from bgem3_server.gateway.app import create_app
from bgem3_server.gateway.gateway import Gateway
from bgem3_server.gateway.operations import gpu
from bgem3_server.gateway.settings import GatewaySettings

MIB = 1024 * 1024


def gateway_of(client: TestClient) -> Gateway:
    return client.app.state.gateway


def test_health_of_a_ready_service():
    """All of it, in one place; no GPU, no entry for one."""
    with TestClient(create_app(GatewaySettings(), FakeTransport(colbert_size=8))) as client:
        wait_until(lambda: client.get("/health").status_code == 200)
        health = client.get("/health").json()

    assert {
        "status": "ready",
        "reason": None,
        "model_loaded": True,
        "model": {"name": "bge-m3", "revision": None, "demo": False},
        "dimension": 16,
        "colbert_dimension": 8,
        "device": None,
        "queue": {
            "waiting_tokens": 0,
            "in_flight_tokens": 0,
            "budget_tokens": 524288,
            "tokens_per_second": None,
        },
        "triton": {"address": "127.0.0.1:8001", "up": True, "model_version": "1"},
        "version": health["version"],
    } == health


def test_health_while_the_model_loads():
    """503, so that a health check needs to look at nothing else; the body says why."""
    transport = FakeTransport(script=[UnavailableError("connection refused")] * 100)
    with TestClient(create_app(GatewaySettings(), transport)) as client:
        wait_until(lambda: "refused" in client.get("/health").text)
        health, ready, live = (client.get(f"/health{path}") for path in ("", "/ready", "/live"))

    assert [503, 503, 200] == [health.status_code, ready.status_code, live.status_code]
    assert ("loading", False, None) == (
        health.json()["status"],
        health.json()["model_loaded"],
        health.json()["dimension"],
    )
    assert {"status": "loading", "reason": health.json()["reason"]} == ready.json()
    assert "1" == ready.headers["retry-after"]
    assert {"status": "live"} == live.json()


def test_health_while_the_service_stops(fake_service):
    """Not ready, so that no new requests are sent here, but alive."""
    gateway_of(fake_service).readiness.stop()

    ready, live = fake_service.get("/health/ready"), fake_service.get("/health/live")

    assert (503, "stopping") == (ready.status_code, ready.json()["status"])
    assert 200 == live.status_code


class Nvml:
    """Two GPUs, the second of which has no utilization; NVML's functions as pynvml has them."""

    def __init__(self) -> None:
        self.broken = False
        self.closed = False

    def install(self, monkeypatch) -> None:
        """Put these in the place of pynvml's."""
        for name in dir(self):
            if name.startswith("nvml"):
                monkeypatch.setattr(pynvml, name, getattr(self, name))

    def nvmlInit(self) -> None:  # noqa: N802
        """Nothing to do."""

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.closed = True

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        if self.broken:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetName(self, handle: int) -> str:  # noqa: N802
        return f"GPU number {handle}"

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(used=(handle + 1) * 1000 * MIB + 5, total=24000 * MIB)

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> SimpleNamespace:  # noqa: N802
        if handle:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return SimpleNamespace(gpu=87, memory=10)


def test_health_shows_the_gpus(monkeypatch):
    """In MiB and percent; a GPU that is lost is no longer shown, and back when it is back."""
    nvml = Nvml()
    nvml.install(monkeypatch)
    monkeypatch.setattr(gpu, "_INTERVAL_SECONDS", 0.02)
    with TestClient(create_app(GatewaySettings(), FakeTransport())) as client:
        wait_until(lambda: "gpu_1" in client.get("/health").json())
        health = client.get("/health").json()
        nvml.broken = True
        wait_until(lambda: "gpu_0" not in client.get("/health").json())
        nvml.broken = False
        wait_until(lambda: "gpu_0" in client.get("/health").json())

    assert {
        "name": "GPU number 0",
        "memory_used_mb": 1000,
        "memory_total_mb": 24000,
        "utilization": 87,
    } == health["gpu_0"]
    assert (2000, None) == (health["gpu_1"]["memory_used_mb"], health["gpu_1"]["utilization"])
    assert nvml.closed


@pytest.mark.gpu
def test_health_shows_a_real_gpu():
    """As NVML tells it."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        pytest.skip(f"no GPU: {error}")
    with TestClient(create_app(GatewaySettings(), FakeTransport())) as client:
        wait_until(lambda: "gpu_0" in client.get("/health").json())
        health = client.get("/health").json()

    assert 0 < health["gpu_0"]["memory_used_mb"] <= health["gpu_0"]["memory_total_mb"]


def test_health_answers_at_once_while_triton_is_silent():
    """Nothing that it says has to be asked for first."""
    settings = GatewaySettings(answer_timeout_seconds=0.2)
    with TestClient(create_app(settings, FakeTransport(delay_seconds=3600))) as client:
        began = time.monotonic()
        statuses = [client.get(path).status_code for path in ("/health", "/metrics")]
        assert time.monotonic() - began < 1

        wait_until(lambda: "not answered" in client.get("/health/ready").text)

    assert [503, 200] == statuses


def test_health_answers_at_once_while_the_service_is_full():
    """It takes no turn, and no part of the budget."""
    settings = GatewaySettings(max_load_tokens=8192, ready_interval_seconds=0)
    bodies = [{"texts": [f"{number} " + "word " * 1000]} for number in range(12)]

    async def scenario(url: str) -> tuple[float, dict[str, int]]:
        async with httpx.AsyncClient(base_url=url, timeout=30) as client:
            requests = [asyncio.create_task(client.post("/embed", json=body)) for body in bodies]
            await asyncio.wait(requests, return_when=asyncio.FIRST_COMPLETED)  # the first refusal
            began = time.monotonic()
            answer = await client.get("/health")
            took_seconds = time.monotonic() - began
            for request in requests:
                request.cancel()
            await asyncio.wait(requests)
            return took_seconds, answer.json()["queue"]

    with live_service(settings, FakeTransport(delay_seconds=2)) as url:
        took_seconds, queue = asyncio.run(scenario(url))

    assert took_seconds < 1
    assert queue["waiting_tokens"] + queue["in_flight_tokens"] > 7000


@pytest.mark.live
def test_health_in_front_of_triton(triton, demo_repository):
    """The sizes are those of the demo model, the device is what its configuration says."""
    settings = GatewaySettings(triton=triton.grpc, tokenizer=demo_repository)
    with live_service(settings) as url, httpx.Client(base_url=url) as service:
        wait_until(lambda: service.get("/health/ready").status_code == 200)
        health = service.get("/health").json()

    assert (384, 384, "cpu", True) == (
        health["dimension"],
        health["colbert_dimension"],
        health["device"],
        health["model"]["demo"],
    )


@pytest.mark.live
def test_killed_model_process_makes_it_unready_though_triton_calls_itself_ready(demo_repository):
    """Triton goes on saying "ready" without the process of one of its models."""
    with live_triton(demo_repository) as addresses:
        settings = GatewaySettings(
            triton=addresses.grpc, tokenizer=demo_repository, ready_interval_seconds=0.2
        )
        with live_service(settings) as url, httpx.Client(base_url=url, timeout=30) as service:
            wait_until(lambda: service.get("/health/ready").status_code == 200)
            _model_process(addresses.grpc_port, "bge_m3_sparse").kill()
            wait_until(lambda: service.get("/health/ready").status_code == 503)

            reason = service.get("/health/ready").json()["reason"]
            metrics = service.get("/metrics").text
            triton_says = httpx.get(f"{addresses.http}/v2/health/ready").status_code

    assert "not healthy" in reason
    assert "bgem3_triton_up 0.0" in metrics
    assert 200 == triton_says


def _model_process(grpc_port: int, model: str) -> psutil.Process:
    """The process in which one Triton runs a Python model."""
    for triton in psutil.process_iter(["cmdline"]):
        if f"--grpc-port={grpc_port}" in (triton.info["cmdline"] or ()):
            for process in triton.children(recursive=True):
                if any(f"/{model}/" in argument for argument in process.cmdline()):
                    return process
    raise AssertionError(f"no process of {model}")
