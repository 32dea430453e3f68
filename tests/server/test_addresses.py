"""Ports and addresses."""

from __future__ import annotations

import socket

import pytest

from bgem3_server.errors import PortInUseError
from bgem3_server.settings import ServeSettings
from bgem3_server.triton.addresses import Addresses, pick_addresses


def settings(**ports: int | str) -> ServeSettings:
    """Settings with free ports, but for those given."""
    return ServeSettings(**{"grpc_port": 0, "http_port": 0, "metrics_port": 0, **ports})


def test_zero_picks_free_ports():
    """Three different ones, none of them 0."""
    picked = pick_addresses(settings())

    assert len({picked.grpc_port, picked.http_port, picked.metrics_port} - {0}) == 3


def test_a_port_that_is_asked_for_twice_is_in_use():
    """Found before the models are loaded, not after."""
    free = pick_addresses(settings()).grpc_port

    with pytest.raises(PortInUseError, match=f"port {free}.*--http-port"):
        pick_addresses(settings(grpc_port=free, http_port=free))


def test_an_address_of_another_machine_is_refused():
    """192.0.2.0/24 is nobody's."""
    with pytest.raises(PortInUseError, match=r"cannot listen on 192\.0\.2\.1"):
        pick_addresses(settings(address="192.0.2.1"))


def test_a_port_just_closed_can_be_taken_again():
    """A restart does not wait for the connections of the server before."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _ = server.accept()
        accepted.close()  # this end waits for the last packets, in TIME_WAIT
        client.close()

    assert port == pick_addresses(settings(grpc_port=port)).grpc_port


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", "127.0.0.1:1"),
        ("0.0.0.0", "127.0.0.1:1"),
        ("::", "[::1]:1"),
        ("::1", "[::1]:1"),
        ("server.example", "server.example:1"),
    ],
)
def test_addresses_can_be_connected_to(host, expected):
    """What is printed works on this machine: 0.0.0.0 is for listening only."""
    addresses = Addresses(host, grpc_port=1, http_port=2, metrics_port=3)

    assert expected == addresses.grpc
    assert f"http://{expected[:-1]}2" == addresses.http
    assert f"http://{expected[:-1]}3/metrics" == addresses.metrics
