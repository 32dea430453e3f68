"""A request that the server has no memory for fails by its own type, and the server goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import tritonclient.grpc as grpcclient
from live.raw import infer
from live_server import live_triton
from texts import long_text
from tritonclient.utils import InferenceServerException

from bgem3_backend.contract import (
    COLBERT,
    COLBERT_HEAD,
    HIDDEN_STATES,
    LENGTHS,
    OUT_OF_MEMORY_MARK,
    TRUNK,
)
from bgem3_client import Client, ServerOutOfMemoryError
from bgem3_server.triton.addresses import Addresses

pytestmark = pytest.mark.live

ALL = {"dense", "sparse", "colbert"}
LONG_TEXT = long_text(9_000, "zh")


@pytest.fixture(scope="module")
def own_triton(demo_repository: Path) -> Iterator[Addresses]:
    """A server that no other test minds about."""
    with live_triton(demo_repository) as addresses:
        yield addresses


def model_process(grpc_port: int, model: str) -> psutil.Process:
    """Return the process in which a Python model of the server at this port runs."""
    (server,) = {
        connection.pid
        for connection in psutil.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == grpc_port
    }
    (process,) = [
        child
        for child in psutil.Process(server).children(recursive=True)
        if any(f"/{model}/" in argument for argument in child.cmdline())
    ]
    return process


@contextmanager
def little_memory(process: psutil.Process, free_bytes: int) -> Iterator[None]:
    """Let a process take no more than ``free_bytes`` beside what it has.

    Of its own memory: what it shares with Triton does not count.
    """
    limits = process.rlimit(psutil.RLIMIT_DATA)
    process.rlimit(psutil.RLIMIT_DATA, (process.memory_info().data + free_bytes, limits[1]))
    try:
        yield
    finally:
        process.rlimit(psutil.RLIMIT_DATA, limits)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_text_too_long_for_the_memory_is_told_with_what_to_do(
    own_triton: Addresses, protocol: str
) -> None:
    """The engine gets no memory in the trunk; the next request is answered as before.

    Once there is memory again: OpenVINO's graph is compiled anew.
    """
    process = model_process(own_triton.grpc_port, TRUNK.name)
    with Client(own_triton.grpc if protocol == "grpc" else own_triton.http) as client:
        expected = client.encode(["still here"], ALL)

        with (
            little_memory(process, 60 * 2**20),
            pytest.raises(ServerOutOfMemoryError) as caught,
        ):
            client.encode([LONG_TEXT], ALL, timeout_seconds=60)
        following = client.encode(["still here"], ALL, timeout_seconds=60)

    assert (
        "the server had not enough memory for this request: send fewer or shorter texts at once "
        "(number of texts: 1, tokens: about 8,192 at most)"
    ) == str(caught.value)
    np.testing.assert_array_equal(expected.dense, following.dense)
    np.testing.assert_array_equal(expected.colbert.vectors, following.colbert.vectors)


def test_a_head_without_memory_says_so(own_triton: Addresses) -> None:
    """PyTorch gets none: the answer begins with the contract's mark, and the next one is right."""
    process = model_process(own_triton.grpc_port, COLBERT_HEAD.name)

    def ask(texts: int) -> np.ndarray[Any, Any]:
        inputs = {
            HIDDEN_STATES.name: np.ones((1, texts * 4096, 384), np.float32),
            LENGTHS.name: np.full((1, texts), 4096, np.int32),
        }
        return infer(connection, COLBERT_HEAD.name, inputs, [COLBERT.name])[COLBERT.name]

    with grpcclient.InferenceServerClient(own_triton.grpc) as connection:
        expected = ask(1)
        # Room for the 50 MB of hidden states, which Triton's side of the process copies and would
        # die without, and not for the head's own copies.
        with little_memory(process, 80 * 2**20):
            with pytest.raises(InferenceServerException) as caught:
                ask(8)
            following = ask(1)

    assert "StatusCode.INTERNAL" == caught.value.status()
    assert caught.value.message().startswith(OUT_OF_MEMORY_MARK)
    np.testing.assert_array_equal(expected, following)
