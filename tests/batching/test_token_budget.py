"""A live Triton's batches hold as many tokens as they may, and no more."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
from batching_models import BUDGET_TOKENS, COMPUTING_SECONDS, write_model
from live_server import live_triton
from tiny_model import write_tiny_model

from bgem3_backend.contract import TRUNK
from bgem3_export.batching.library import copy_library
from bgem3_server.errors import ModelLoadError
from bgem3_server.triton.addresses import Addresses

pytestmark = pytest.mark.live


class Batch(NamedTuple):
    """A batch that a model was given."""

    number: int
    requests: int
    tokens: int


Lengths = Sequence[int]
Send = Callable[[str, Sequence[Lengths]], list[Batch]]


@pytest.fixture(scope="module")
def send(batching_triton: Addresses) -> Iterator[Send]:
    """Send requests one after the other while a model computes, and return their batches."""
    with (
        grpcclient.InferenceServerClient(batching_triton.grpc) as connection,
        ThreadPoolExecutor(32) as pool,
    ):

        def infer(model: str, lengths: Lengths) -> Batch:
            values = {
                "input_ids": np.zeros((1, sum(lengths)), np.int32),
                "lengths": np.array([lengths], np.int32),
            }
            inputs = [
                grpcclient.InferInput(key, value.shape, "INT32") for key, value in values.items()
            ]
            for tensor, value in zip(inputs, values.values(), strict=True):
                tensor.set_data_from_numpy(value)
            return Batch(*connection.infer(model, inputs).as_numpy("batch")[0].tolist())

        def send(model: str, requests: Sequence[Lengths]) -> list[Batch]:
            first = pool.submit(infer, model, [1])
            time.sleep(COMPUTING_SECONDS / 4)
            sent: list[Future[Batch]] = []
            for lengths in requests:
                sent.append(pool.submit(infer, model, lengths))
                # Each is in the queue before the next, and the batch that waits has taken it.
                time.sleep(COMPUTING_SECONDS / 4 / len(requests))
            first.result()
            return [future.result() for future in sent]

        yield send


def sizes(batches: list[Batch]) -> list[tuple[int, int]]:
    """Requests and tokens of the batches, in their order."""
    return [(batch.requests, batch.tokens) for batch in sorted(set(batches))]


def test_requests_that_come_one_by_one_are_batched_up_to_the_budget(send):
    """A batch that waits goes on taking requests, and its tokens are not forgotten meanwhile."""
    assert [(3, 900), (3, 900), (1, 300)] == sizes(send(TRUNK.name, [[300]] * 7))


def test_a_batch_may_be_as_large_as_the_budget(send):
    assert [(4, 1000), (1, 1)] == sizes(send(TRUNK.name, [[250]] * 4 + [[1]]))


def test_small_requests_run_together(send):
    assert [(8, 160)] == sizes(send(TRUNK.name, [[20]] * 8))


def test_a_request_above_the_budget_is_a_batch_of_its_own(send):
    """It waits neither for ever nor beside others."""
    began = time.monotonic()
    batches = send(TRUNK.name, [[10], [3000], [10], [10]])

    # Refused by an empty batch, it would be let in when the library loses its patience.
    assert time.monotonic() - began < 20
    assert [(1, 10), (1, 3000), (2, 20)] == sizes(batches)


def test_every_request_is_answered_once_whatever_their_sizes(send):
    requests = [[size] for size in (900, 10, 200, 10, 1500, 1000, 1, 999, 400, 600, 3)]
    batches = send(TRUNK.name, requests)

    assert all(batch.tokens <= BUDGET_TOKENS for batch in batches if batch.requests > 1)
    assert len(requests) == sum(count for count, _ in sizes(batches))


def test_many_texts_of_a_request_count_together(send):
    assert [(1, 600), (1, 600)] == sizes(send(TRUNK.name, [[100] * 6, [300, 300]]))


def test_a_padded_budget_counts_texts_times_the_longest(send):
    """Four texts of 20 tokens and one of 200 are 280 tokens, and padded 1,000."""
    batches = send("padded", [[20, 20], [20, 20], [200], [20], [20]])

    assert [(3, 280), (2, 40)] == sizes(batches)


def test_a_padded_budget_lets_like_lengths_together(send):
    assert [(5, 1000)] == sizes(send("padded", [[100, 100]] * 5))


def test_without_a_budget_the_library_changes_nothing(send):
    assert [(7, 21_000)] == sizes(send("unlimited", [[3000]] * 7))


BUDGET = "max_batch_tokens"
WRONG = {
    "zero": ({BUDGET: "0"}, "", "max_batch_tokens of config.pbtxt is '0', and must be a number"),
    "word": ({BUDGET: "many"}, "", "max_batch_tokens of config.pbtxt is 'many'"),
    "negative": ({BUDGET: "-5"}, "", "max_batch_tokens of config.pbtxt is '-5'"),
    "not_whole": ({BUDGET: "1e9"}, "", "max_batch_tokens of config.pbtxt is '1e9'"),
    "too_large": ({BUDGET: "9" * 30}, "", "max_batch_tokens of config.pbtxt is '999"),
    "another_cost": (
        {BUDGET: "9", "batch_cost": "bytes"},
        "",
        "batch_cost of config.pbtxt is 'bytes', and must be tokens or padded",
    ),
    "delay": (
        {BUDGET: "9"},
        "max_queue_delay_microseconds: 100",
        "max_batch_tokens cannot be kept with max_queue_delay_microseconds",
    ),
}


@pytest.fixture(scope="module")
def reasons(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Why Triton refuses each of the models above; all of them in one start."""
    repository = tmp_path_factory.mktemp("wrong") / "repository"
    write_tiny_model(repository)
    for name, (parameters, batching, _) in WRONG.items():
        copy_library(write_model(repository, name, parameters, batching))
    with pytest.raises(ModelLoadError) as error, live_triton(repository):
        pass
    return error.value.reasons


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_setting_is_an_error_when_the_model_is_loaded(name, reasons):
    assert WRONG[name][-1] in reasons[name]
