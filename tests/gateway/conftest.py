"""The HTTP service: without a Triton for what it decides itself, and in front of a live one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from live_service import live_service
from starlette.testclient import TestClient

from bgem3_client import FakeTransport
from bgem3_server.gateway.app import create_app
from bgem3_server.gateway.settings import GatewaySettings
from bgem3_server.triton.addresses import Addresses


@pytest.fixture
def fake_service() -> Iterator[TestClient]:
    """The application in this process, over the client's fake transport."""
    with TestClient(create_app(GatewaySettings(), FakeTransport())) as service:
        yield service


@pytest.fixture(scope="session")
def service_url(triton: Addresses, demo_repository: Path) -> Iterator[str]:
    """The URL of the service in front of a live Triton with the demo model."""
    settings = GatewaySettings(
        triton=triton.grpc,
        tokenizer=demo_repository,
        ready_interval_seconds=0,  # probes would count in the statistics that tests read
    )
    with live_service(settings) as url:
        yield url


@pytest.fixture(scope="session")
def service(service_url: str) -> Iterator[httpx.Client]:
    """An HTTP client of that service."""
    with httpx.Client(base_url=service_url, timeout=60) as client:
        yield client


@pytest.fixture(scope="session")
def flag_embedding(demo_model_directory: Path) -> Any:
    """FlagEmbedding with the demo model."""
    from FlagEmbedding import BGEM3FlagModel

    return BGEM3FlagModel(str(demo_model_directory), use_fp16=False, devices="cpu")
