"""The service does what its OpenAPI document says, whatever it is sent."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from live_service import live_service
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from bgem3_client import FakeTransport
from bgem3_server.gateway.app import create_app
from bgem3_server.gateway.settings import GatewaySettings

# A longer search: `make fuzz`.
EXAMPLES: Final = int(os.environ.get("BGEM3_FUZZ_EXAMPLES", "15"))
CHECKS: Final = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


SETTINGS: Final = GatewaySettings(ready_interval_seconds=0, max_texts=8, max_body_bytes=65_536)

# Its tests have one name for all routes, of which two processes would run one.
pytestmark = pytest.mark.live

schema = schemathesis.openapi.from_dict(create_app(SETTINGS, FakeTransport()).openapi())


@pytest.fixture(scope="module")
def url(demo_model_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service with a tokenizer and a store and without a Triton, over real connections."""
    parts = {
        "tokenizer": demo_model_directory / "tokenizer.json",
        "store": str(tmp_path_factory.mktemp("store")),
    }
    with live_service(SETTINGS.model_copy(update=parts), FakeTransport()) as url:
        yield url


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    derandomize=EXAMPLES < 100,  # the same in every run, unless it is a search
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_as_documented(case: Case, url: str) -> None:
    """No server error, no status, type, header or body that the document does not know."""
    response = case.call(base_url=url, timeout=30)
    case.validate_response(response, checks=CHECKS)


@pytest.mark.parametrize(("method", "path"), [("DELETE", "/embed"), ("TRACE", "/embed")])
def test_wrong_method_is_told_the_right_ones(method: str, path: str, url: str) -> None:
    """In the header that HTTP has for it."""
    response = httpx.request(method, f"{url}{path}")

    assert (405, "POST") == (response.status_code, response.headers["allow"])
