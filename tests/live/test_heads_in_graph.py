"""The profile whose graph holds the heads, beside the one whose heads are in Python."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
from live.raw import embed, executions, infer
from live_server import QUIET, live_triton
from texts import load_texts, long_text
from tritonclient.utils import InferenceServerException

from bgem3_backend.contract import (
    COLBERT,
    COLBERT_HEAD,
    ENSEMBLE,
    SPARSE_MERGE,
    SPARSE_VALUES,
    TOKENIZER,
    TRUNK,
)
from bgem3_server.triton.addresses import Addresses

pytestmark = pytest.mark.live

ALL = [tensor.name for tensor in ENSEMBLE.outputs]
TEXTS = ["", "<mask>", "two words, two", *load_texts()[:48], long_text(700, "zh")]


@pytest.fixture(scope="module")
def fused(demo_repository: Path) -> Iterator[Addresses]:
    """A server with the heads in the graph."""
    settings = QUIET.model_copy(update={"profile": "cpu_heads"})
    with live_triton(demo_repository, settings=settings) as addresses:
        yield addresses


@pytest.fixture(scope="module")
def inside(fused: Addresses) -> Iterator[grpcclient.InferenceServerClient]:
    """A plain client of it."""
    with grpcclient.InferenceServerClient(fused.grpc) as connection:
        yield connection


def assert_same(expected: dict[str, Any], actual: dict[str, Any]) -> None:
    """Every output: what is counted is equal, what is computed to 1e-5, halves to their own."""
    for name, wanted in expected.items():
        found = actual[name]
        assert (wanted.shape, wanted.dtype) == (found.shape, found.dtype), name
        if wanted.dtype.kind == "f":
            tolerance = 1e-3 if wanted.dtype == np.float16 else 1e-5
            np.testing.assert_allclose(found, wanted, atol=tolerance, err_msg=name)
        else:
            np.testing.assert_array_equal(found, wanted, err_msg=name)


def test_every_output_is_what_the_python_heads_give(
    connection: grpcclient.InferenceServerClient, inside: grpcclient.InferenceServerClient
) -> None:
    """In one request of texts of all kinds: empty, of special tokens, repeated words, long."""
    assert_same(embed(connection, TEXTS, ALL), embed(inside, TEXTS, ALL))


def test_texts_of_the_first_token_alone_have_no_rows(
    connection: grpcclient.InferenceServerClient, inside: grpcclient.InferenceServerClient
) -> None:
    """Nobody's ColBERT rows, alone and beside others."""
    assert_same(
        embed(connection, ["a", "b"], ALL, max_length=1),
        embed(inside, ["a", "b"], ALL, max_length=1),
    )
    assert (1, 0, 384) == embed(inside, ["a"], [COLBERT.name], max_length=1)[COLBERT.name].shape


def test_every_subset_of_the_outputs_can_be_asked_for(
    inside: grpcclient.InferenceServerClient,
) -> None:
    """All of one and two outputs, all but one, and all."""
    texts = ["一段文字", "a text"]
    everything = embed(inside, texts, ALL)
    for size in (1, 2, len(ALL) - 1):
        for subset in itertools.combinations(ALL, size):
            answer = embed(inside, texts, subset)

            assert_same({name: everything[name] for name in subset}, answer)


def test_concurrent_requests_are_computed_together_and_get_their_own(
    connection: grpcclient.InferenceServerClient, inside: grpcclient.InferenceServerClient
) -> None:
    """Requests of unlike lengths and for unlike outputs, in fewer runs than there are requests."""
    wanted = [ALL, ["dense"], ["token_states", "colbert"], ["sparse_values", "colbert_fp16"]]
    jobs = [(TEXTS[i : i + 1 + i % 3], wanted[i % 4]) for i in range(48)]
    requests_before, batches_before = executions(inside, TRUNK.name)
    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda job: embed(inside, *job), jobs))
    requests, batches = executions(inside, TRUNK.name)

    for job, answer in zip(jobs, answers, strict=True):
        assert_same(embed(connection, *job), answer)
    # The token states take a run of their own: with another output that is a second request.
    assert 48 + 2 * 12 == requests - requests_before
    assert batches - batches_before < 48


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        (["token_lengths"], (1, 0, 0)),
        (["dense"], (1, 1, 0)),
        (["colbert", "colbert_lengths", "colbert_fp16"], (1, 1, 0)),
        (["dense", "sparse_values", "colbert"], (1, 1, 1)),
        (["token_states"], (1, 1, 0)),
        (["dense", "token_states"], (1, 2, 0)),
    ],
)
def test_one_run_gives_all_three_representations(
    inside: grpcclient.InferenceServerClient, outputs: list[str], expected: tuple[int, ...]
) -> None:
    """Seen in Triton's own statistics: tokenizer, trunk, and the merge where it is needed."""
    steps = (TOKENIZER.name, TRUNK.name, SPARSE_MERGE.name)
    before = [executions(inside, step)[0] for step in steps]
    embed(inside, ["one text", "another"], outputs)

    assert list(expected) == [
        executions(inside, step)[0] - count for step, count in zip(steps, before, strict=True)
    ]


def test_the_colbert_heads_process_is_not_there(
    inside: grpcclient.InferenceServerClient,
) -> None:
    """Nothing loads torch for a head that the graph holds."""
    assert not inside.is_model_ready(COLBERT_HEAD.name)


def integers(*values: int) -> np.ndarray[Any, Any]:
    return np.array([values], np.int32)


@pytest.mark.parametrize(
    ("model", "inputs", "message"),
    [
        (TRUNK.name, {"input_ids": integers(0, 5, 2), "lengths": integers(2)}, "adds up to 2"),
        (TRUNK.name, {"input_ids": integers(0, -1, 2), "lengths": integers(3)}, "holds -1"),
        (
            SPARSE_MERGE.name,
            {
                "token_weights": np.ones((1, 2), np.float32),
                "input_ids": integers(0, 5, 2),
                "lengths": integers(3),
            },
            "adds up to 3 tokens, but 2",
        ),
        (
            SPARSE_MERGE.name,
            {
                "token_weights": np.ones((1, 3), np.float32),
                "input_ids": integers(0, 300000, 2),
                "lengths": integers(3),
            },
            "holds 300000",
        ),
    ],
)
def test_a_bad_request_fails_alone(
    inside: grpcclient.InferenceServerClient,
    model: str,
    inputs: dict[str, np.ndarray[Any, Any]],
    message: str,
) -> None:
    """Sent raw, among good requests that are batched with it."""
    names = ["dense", "sparse_values", "colbert"]
    outputs = ["colbert"] if model == TRUNK.name else [SPARSE_VALUES.name]
    expected = embed(inside, ["neighbour"], names)
    with ThreadPoolExecutor(16) as pool:
        good = [pool.submit(embed, inside, ["neighbour"], names) for _ in range(8)]
        bad = [pool.submit(infer, inside, model, inputs, outputs) for _ in range(3)]
        good += [pool.submit(embed, inside, ["neighbour"], names) for _ in range(5)]

        for future in bad:
            error = future.exception()
            assert isinstance(error, InferenceServerException)
            assert "StatusCode.INVALID_ARGUMENT" == error.status()
            assert message in error.message()
        for future in good:
            assert_same(expected, future.result())


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_weights_that_are_not_finite_are_never_answered(
    inside: grpcclient.InferenceServerClient, value: float
) -> None:
    """An error of the server, never a weight left out."""
    inputs = {
        "token_weights": np.full((1, 3), value, np.float32),
        "input_ids": integers(0, 5, 2),
        "lengths": integers(3),
    }
    with pytest.raises(InferenceServerException, match="not finite") as caught:
        infer(inside, SPARSE_MERGE.name, inputs, [SPARSE_VALUES.name])

    assert "StatusCode.INTERNAL" == caught.value.status()
