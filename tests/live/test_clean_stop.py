"""Requests that failed do not outlive their answer: a stop that follows has nothing to wait for.

Triton 24.10 never ends a request to an ensemble of which two steps failed at once.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import tritonclient.grpc as grpcclient
from live.raw import embed
from live_server import QUIET, live_triton
from tritonclient.utils import InferenceServerException

from bgem3_backend.contract import ENSEMBLE
from bgem3_server.triton.events import Event

pytestmark = pytest.mark.live

EVERYTHING = [tensor.name for tensor in ENSEMBLE.outputs]
REFUSED: list[tuple[list[str | bytes], dict[str, Any]]] = [
    ([], {}),
    ([b"\xff"], {}),
    (["text"], {"max_length": 0}),
    (["a longer text than this is not needed"], {"max_length": 4, "truncate": False}),
]


def test_requests_refused_with_all_outputs_are_ended(demo_repository: Path) -> None:
    """Their senders hear of it, and Triton has nothing to wait for."""
    events: list[Event] = []
    # The threads are outside: one that gets no answer has one when Triton is gone.
    with ThreadPoolExecutor() as threads, live_triton(demo_repository, events.append) as addresses:
        connection = grpcclient.InferenceServerClient(addresses.grpc)
        for texts, parameters in REFUSED:
            refused = threads.submit(embed, connection, texts, EVERYTHING, **parameters)
            error = refused.exception(timeout=10)

            assert isinstance(error, InferenceServerException)
            assert error.status() == "StatusCode.INVALID_ARGUMENT"
        connection.close()
        begin = time.monotonic()
    seconds = time.monotonic() - begin

    assert not any("by force" in str(event) for event in events)
    assert seconds < QUIET.stop_timeout_seconds / 3
