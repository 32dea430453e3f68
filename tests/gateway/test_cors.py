"""What browsers are told about pages of other origins."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from bgem3_client import FakeTransport, InvalidInputError
from bgem3_server.gateway.app import create_app
from bgem3_server.gateway.settings import GatewaySettings

ORIGIN = "https://app.example.com"
PREFLIGHT = {
    "Origin": ORIGIN,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type,x-priority",
}


def service(**settings: str) -> TestClient:
    return TestClient(create_app(GatewaySettings(**settings), FakeTransport()))


def allowed(response) -> str | None:
    return response.headers.get("access-control-allow-origin")


def test_no_origin_is_allowed_by_default():
    """A browser then keeps answers from pages of others."""
    client = service()

    assert allowed(client.options("/embed", headers=PREFLIGHT)) is None
    assert allowed(client.get("/health/live", headers={"Origin": ORIGIN})) is None


def test_preflight_needs_no_key():
    """Browsers ask without one; then they send it, as the answer allows."""
    client = service(cors_origins=f"{ORIGIN}, http://localhost:3000", api_keys="right")
    response = client.options("/embed", headers=PREFLIGHT)

    assert 200 == response.status_code
    assert ORIGIN == allowed(response)
    assert "authorization" in response.headers["access-control-allow-headers"]
    assert "POST" in response.headers["access-control-allow-methods"]


@pytest.mark.parametrize(
    ("path", "key", "status"),
    [("/health/live", "right", 200), ("/nothing", "right", 404), ("/nothing", "wrong", 401)],
)
def test_errors_can_be_read_too(path, key, status):
    """Or a page could not tell its user what is wrong, nor show the request's id."""
    client = service(cors_origins=ORIGIN, api_keys="right")
    response = client.get(path, headers={"Origin": ORIGIN, "Authorization": f"Bearer {key}"})

    assert status == response.status_code
    assert ORIGIN == allowed(response)
    assert "X-Request-Id" in response.headers["access-control-expose-headers"]
    assert "Origin" in response.headers["vary"]


def test_other_origins_are_not_allowed():
    """Neither before nor with a request."""
    client = service(cors_origins=ORIGIN)
    foreign = {"Origin": "https://evil.example.com"}

    assert allowed(client.options("/embed", headers=PREFLIGHT | foreign)) is None
    assert allowed(client.get("/health/live", headers=foreign)) is None


def test_all_origins():
    """For those who want that."""
    response = service(cors_origins="*").get("/health/live", headers={"Origin": ORIGIN})

    assert "*" == allowed(response)


@pytest.mark.parametrize("origin", ["app.example.com", "https://app.example.com/", "https://"])
def test_what_no_browser_sends_is_refused(origin):
    """It would never match, and nobody would know why."""
    with pytest.raises(InvalidInputError, match="is not an origin"):
        service(cors_origins=origin)
