"""What the tests of frameworks and products share: the service in front of a live Triton."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from live_service import live_service

from bgem3_server.gateway.settings import GatewaySettings
from bgem3_server.triton.addresses import Addresses

KEY = "key-of-the-tests"


@pytest.fixture(scope="module")
def service_url(triton: Addresses, demo_repository: Path) -> Iterator[str]:
    """The URL of the service in front of a live Triton with the demo model.

    For a module alone: its probes count in the statistics that other tests read.
    """
    settings = GatewaySettings(triton=triton.grpc, tokenizer=demo_repository)
    with live_service(settings) as url:
        yield url


@pytest.fixture(scope="module")
def keyed_service_url(triton: Addresses, demo_repository: Path) -> Iterator[str]:
    """The same, for callers with a key alone."""
    settings = GatewaySettings(triton=triton.grpc, tokenizer=demo_repository, api_keys=KEY)
    with live_service(settings) as url:
        yield url


@pytest.fixture(params=["service", "triton"])
def url(request: pytest.FixtureRequest) -> str:
    """Where a client may find the model: the service, or Triton itself."""
    if request.param == "triton":
        addresses: Addresses = request.getfixturevalue("triton")
        return addresses.grpc
    service: str = request.getfixturevalue("service_url")
    return service.replace("http://", "bgem3://")


@pytest.fixture(scope="module")
def key() -> str:
    """A key that the service with keys knows."""
    return KEY


@pytest.fixture
def model() -> str:
    """A name of the served model."""
    return "bge_m3"


@pytest.fixture
def service(request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    """An HTTP client of the service with keys; without, for a product that can send none."""
    replay = (
        request.node.callspec.params.get("replay") if hasattr(request.node, "callspec") else None
    )
    keyless = replay is not None and replay.record.get("keyless", False)
    url = request.getfixturevalue("service_url" if keyless else "keyed_service_url")
    with httpx.Client(base_url=url, timeout=60) as client:
        yield client
