"""Deadlines that pass while Triton is at work: the caller gets an error, Triton gets no harm.

Triton 24.10 dies of a request that is cancelled while both heads are at work on it.
"""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from live_server import live_triton
from texts import load_texts

from bgem3_client import Client, DeadlineError, InvalidInputError, Limits
from bgem3_server.triton.events import Event, Ready

pytestmark = pytest.mark.live

ALL = {"dense", "sparse", "colbert"}


def test_late_and_failed_calls_leave_triton_alone(demo_repository: Path) -> None:
    """Calls given up by deadline or by a bad text, from many threads: no crash, a clean stop."""
    events: list[Event] = []
    texts = [text for text in load_texts() if len(text) < 80]

    def give_up(number: int) -> int:
        chance = random.Random(number)
        late = 0
        with Client(address, limits=Limits(max_texts_per_request=1)) as client:
            for _ in range(8):
                chosen = [*chance.sample(texts, 6), "x " * 50]
                try:
                    client.encode(
                        chosen,
                        ALL,
                        max_length=chance.choice([40, 8192]),
                        truncate=False,
                        timeout_seconds=chance.uniform(0.005, 0.3),
                    )
                except DeadlineError:
                    late += 1
                except InvalidInputError:
                    continue  # the rest of the call was given up
        return late

    with live_triton(demo_repository, events.append) as addresses:
        address = addresses.grpc
        with ThreadPoolExecutor(4) as pool:
            late = sum(pool.map(give_up, range(4)))
        with Client(address) as client:
            after = client.encode(["still here"], ALL)

    assert late > 5
    assert len(after) == 1
    assert sum(isinstance(event, Ready) for event in events) == 1
    assert not any("by force" in str(event) for event in events)
