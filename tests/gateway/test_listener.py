"""Where the service listens, and whether everybody can reach it."""

from __future__ import annotations

import pytest

from bgem3_server.gateway.process.listener import service_listener
from bgem3_server.gateway.settings import GatewaySettings


@pytest.mark.parametrize(
    ("host", "keys", "warned"),
    [("0.0.0.0", "", True), ("0.0.0.0", "secret", False), ("127.0.0.1", "", False)],
)
def test_open_service_is_said_to_be_open(
    host: str, keys: str, warned: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever starts it without keys for the whole network is told what to do."""
    listener, address = service_listener(GatewaySettings(host=host, port=0, api_keys=keys))
    listener.close()

    complained = capsys.readouterr().err
    assert warned == ("open to the network without keys" in complained)
    assert "secret" not in complained
    assert address.bound.startswith(f"http://{host}:")
