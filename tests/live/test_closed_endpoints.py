"""What Triton does for holders of its key alone, tried over HTTP and gRPC on a live server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import tritonclient.grpc as grpcclient
from live.raw import embed
from live_server import QUIET, live_triton
from tiny_model import write_tiny_model
from tritonclient.utils import InferenceServerException

from bgem3_client import AccessError, Client, UnavailableError
from bgem3_client.address import Address
from bgem3_client.triton_key import CLOSED_APIS, VARIABLE, key_file, key_headers
from bgem3_server.triton.addresses import Addresses

pytestmark = pytest.mark.live

GRPC_CALLS: dict[str, Callable[..., Any]] = {
    "models": lambda triton, **key: triton.get_model_repository_index(**key),
    "load": lambda triton, **key: triton.load_model("bge_m3_token_texts", **key),
    "unload": lambda triton, **key: triton.unload_model("nothing", **key),
    "regions": lambda triton, **key: triton.get_system_shared_memory_status(**key),
    "register": lambda triton, **key: triton.register_system_shared_memory("a", "b", 1, **key),
    "unregister": lambda triton, **key: triton.unregister_system_shared_memory(**key),
    "CUDA regions": lambda triton, **key: triton.get_cuda_shared_memory_status(**key),
    "register CUDA": lambda triton, **key: triton.register_cuda_shared_memory(
        "a", b"b" * 64, 0, 1, **key
    ),
    "unregister CUDA": lambda triton, **key: triton.unregister_cuda_shared_memory(**key),
    "traces": lambda triton, **key: triton.get_trace_settings(**key),
    "trace": lambda triton, **key: triton.update_trace_settings(settings={}, **key),
    "logs": lambda triton, **key: triton.get_log_settings(**key),
    "log": lambda triton, **key: triton.update_log_settings({"log_verbose_level": 0}, **key),
}
HTTP_CALLS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "models": ("POST", "repository/index", {}),
    "load": ("POST", "repository/models/bge_m3_token_texts/load", {}),
    "unload": ("POST", "repository/models/nothing/unload", {}),
    "regions": ("GET", "systemsharedmemory/status", {}),
    "a region": ("GET", "systemsharedmemory/region/a/status", {}),
    "register": (
        "POST",
        "systemsharedmemory/region/a/register",
        {"key": "b", "offset": 0, "byte_size": 1},
    ),
    "unregister": ("POST", "systemsharedmemory/unregister", {}),
    "CUDA regions": ("GET", "cudasharedmemory/status", {}),
    "register CUDA": (
        "POST",
        "cudasharedmemory/region/a/register",
        {"raw_handle": {"b64": "YQ=="}, "device_id": 0, "byte_size": 1},
    ),
    "unregister CUDA": ("POST", "cudasharedmemory/unregister", {}),
    "traces": ("GET", "trace/setting", {}),
    "traces of a model": ("GET", "models/bge_m3/trace/setting", {}),
    "trace": ("POST", "trace/setting", {}),
    "logs": ("GET", "logging", {}),
    "log": ("POST", "logging", {"log_verbose_level": 0}),
}
# With the key these are Triton's own to refuse: there is no such model, region or GPU.
REFUSED_FOR_ANOTHER_REASON = {"register", "a region", "CUDA regions", "register CUDA", "unload"}


def key(url: str) -> dict[str, str]:
    """The header that our own clients would send."""
    return key_headers(Address.parse(url))


@pytest.fixture(scope="module")
def http(triton: Addresses) -> Iterator[httpx.Client]:
    """A plain HTTP client."""
    with httpx.Client(base_url=f"{triton.http}/v2/") as client:
        yield client


@pytest.mark.parametrize("name", GRPC_CALLS)
def test_grpc_asks_for_the_key(
    triton: Addresses, connection: grpcclient.InferenceServerClient, name: str
) -> None:
    """Nothing is done without it, nor with a wrong one, nor with it in HTTP's header."""
    (header,) = key(triton.grpc)
    for wrong in ({}, {header: "wrong"}, {header: ""}, key(triton.http)):
        with pytest.raises(InferenceServerException, match="restricted") as caught:
            GRPC_CALLS[name](connection, headers=wrong)

        assert "StatusCode.UNAVAILABLE" == caught.value.status()
    call = partial(GRPC_CALLS[name], connection, headers=key(triton.grpc))
    if name not in ("register", "register CUDA"):
        call()
        return
    with pytest.raises(InferenceServerException) as caught:
        call()
    assert "restricted" not in caught.value.message()


@pytest.mark.parametrize("name", HTTP_CALLS)
def test_http_asks_for_the_key(triton: Addresses, http: httpx.Client, name: str) -> None:
    """Nothing is done without it, nor with a wrong one, nor with it in gRPC's header."""
    method, path, body = HTTP_CALLS[name]
    (header,) = key(triton.http)
    json = body if method == "POST" else None
    for wrong in ({}, {header: "wrong"}, {header: ""}, key(triton.grpc)):
        answer = http.request(method, path, json=json, headers=wrong)

        assert 403 == answer.status_code
        assert "restricted" in answer.json()["error"]
    answer = http.request(method, path, json=json, headers=key(triton.http))

    assert 200 == answer.status_code or name in REFUSED_FOR_ANOTHER_REASON
    assert 403 != answer.status_code


def test_what_clients_need_is_open(
    triton: Addresses, http: httpx.Client, connection: grpcclient.InferenceServerClient
) -> None:
    """Answers, health, metadata, limits and statistics take no key."""
    embed(connection, ["a text"])
    for path in ("health/ready", "models/bge_m3", "models/bge_m3/config", "models/stats"):
        assert 200 == http.get(path).status_code


def test_the_key_is_for_its_user_alone(triton: Addresses) -> None:
    """A file with the rights of one user, and the other users' view of processes without it."""
    (secret,) = key(triton.grpc).values()
    for port in (triton.grpc_port, triton.http_port):
        assert 0o600 == key_file(port).stat().st_mode & 0o777
        assert 0o700 == key_file(port).parent.stat().st_mode & 0o777
    seen = [
        argument
        for process in psutil.process_iter(["cmdline"])
        for argument in process.info["cmdline"] or ()
    ]

    assert any(argument.startswith("--grpc-restricted-protocol=") for argument in seen)
    assert not any(secret in argument for argument in seen)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_our_client_has_the_key_of_its_own_users_triton(
    triton: Addresses, monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    """And is refused as anybody where it has another."""
    url = triton.grpc if protocol == "grpc" else triton.http
    with Client(url, shared_memory_bytes=2**20) as client:
        assert 1 == len(client.encode(["a text"], {"colbert"}))
    monkeypatch.setenv(VARIABLE, "another-key-than-its-own")
    with (
        Client(url, shared_memory_bytes=2**20) as stranger,
        pytest.raises((AccessError, UnavailableError), match=f"one {VARIABLE}"),
    ):
        stranger.encode(["a text"], {"colbert"})


def test_a_key_is_only_for_this_machine() -> None:
    """One that is kept here is not told to a server elsewhere that has the same port."""
    file = key_file(7)
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file.write_text("kept\n")
    try:
        assert ["kept"] * 4 == [
            *key("localhost:7").values(),
            *key("127.0.0.1:7").values(),
            *key("http://[::1]:7/behind/a/path").values(),
            *key("grpcs://127.0.0.2:7").values(),
        ]
        assert {} == key("example.com:7") | key("http://192.168.0.1:7") | key("localhost:8")
    finally:
        file.unlink()


def test_the_key_of_the_environment_and_no_key_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key of one's own is Triton's at each start; without closed endpoints it asks for none."""
    write_tiny_model(tmp_path)
    monkeypatch.setenv(VARIABLE, "0123456789abcdef")
    settings = QUIET.model_validate({**QUIET.model_dump(), "triton_key": "0123456789abcdef"})
    with live_triton(tmp_path, settings=settings) as addresses:
        index = f"{addresses.http}/v2/repository/index"
        assert 403 == httpx.post(index).status_code
        assert 200 == httpx.post(index, headers={"bgem3-key": "0123456789abcdef"}).status_code
        assert 200 == httpx.post(index, headers=key(addresses.http)).status_code
    assert not key_file(addresses.grpc_port).exists()
    opened = settings.model_copy(update={"closed_endpoints": False})
    with live_triton(tmp_path, settings=opened) as addresses:
        assert 200 == httpx.post(f"{addresses.http}/v2/repository/index").status_code
        assert not key_file(addresses.grpc_port).exists()


def test_every_closed_api_is_tried() -> None:
    """Whoever closes one more adds the calls to it above."""
    assert ("model-repository", "shared-memory", "trace", "logging") == CLOSED_APIS
