"""What random tensors have found, one by one: bytes that no Triton client library would send."""

from __future__ import annotations

import re
from collections.abc import Iterator

import grpc
import numpy as np
import pytest
from live.raw_cases import Case, RawTensor, write_texts
from live.test_raw_tensors import CANARY, Server, assert_same

from bgem3_backend.contract import COLBERT_HEAD, ENSEMBLE, TOKEN_TEXTS, TOKENIZER, TRUNK, Model
from bgem3_server.triton.addresses import Addresses

pytestmark = pytest.mark.live


def ids(*values: int) -> bytes:
    return np.array(values, np.int32).tobytes()


def text(model: Model, shape: tuple[int, ...], content: bytes) -> Case:
    return Case(model, (RawTensor("text", "BYTES", shape, content),), ("token_lengths",), ())


def tokens(shape: tuple[int, ...], content: bytes) -> Case:
    return Case(TOKEN_TEXTS, (RawTensor("input_ids", "INT32", shape, content),), (), ())


def states(shape: tuple[int, ...], content: bytes, lengths: bytes) -> Case:
    tensors = (
        RawTensor("lengths", "INT32", (1, len(lengths) // 4), lengths),
        RawTensor("hidden_states", "FP32", shape, content),
    )
    return Case(COLBERT_HEAD, tensors, ("colbert",), ())


@pytest.fixture(scope="module")
def server(tiny_triton: Addresses) -> Iterator[Server]:
    """A server of a model that takes no time; afterwards all its processes are still there."""
    server = Server(tiny_triton)
    yield server
    assert server.processes == server.model_processes()
    server.close()


@pytest.mark.parametrize(
    ("case", "message"),
    [
        # No rows: Triton hands over the rest without its leading dimension.
        (text(TOKENIZER, (0, 1), write_texts([b"a"])), r"'text' has shape \[1\]; it must have 2"),
        (tokens((0, 2), ids(0, 2)), r"'input_ids' has shape \[2\]; it must have 2 dimensions"),
        (text(ENSEMBLE, (0, 0), b""), "'text' is empty"),
        # Batch sizes have 32 bits in it, and a sign here and none there.
        (tokens((-1, 0), b""), "batch size 4294967295 .* max allowed is 64"),
        (tokens((2**31, 0), b""), "batch size 2147483648 .* max allowed is 64"),
        (tokens((65, 1), ids(*range(65))), "batch-size must be <= 64"),
        (tokens((1, 2**62), ids(0, 2)), "'input_ids'"),
        (tokens((1, -1), ids(0, 2)), "All input dimensions should be specified"),
        (tokens((2,), ids(0, 2)), r"Expected \[-1,-1\], got \[2\]"),
        # Fewer and more bytes than the shape says.
        (tokens((1, 2), ids(0)), "Expected 8, got 4"),
        (tokens((1, 2), ids(0, 5, 2)), "Expected 8, got 12"),
        (states((1, 20, 32), b"", ids(20)), "Expected 2560, got 0"),
        (states((0, 20, 32), b"", ids(20)), "Expected 2560, got 0"),
        (states((2**32, 20, 32), b"", ids(20)), "Expected 2560, got 0"),
        (states((1, 2**58, 32), bytes(128), ids(1)), "'hidden_states'"),
        # Texts whose lengths do not fit.
        (text(TOKENIZER, (1, 1), b"ab"), "incomplete string length indicator"),
        (text(ENSEMBLE, (1, 1), write_texts([b"a", b"b"])), "unexpected number of string elements"),
        (text(ENSEMBLE, (1, 1_000_000), bytes(4_000_000)), "1000000 texts; at most 2048"),
        (text(ENSEMBLE, (1, 1), write_texts([b"x" * 100_000_000])), "100000000 bytes of text"),
    ],
)
def test_it_is_refused_and_changes_nothing(server: Server, case: Case, message: str) -> None:
    """With the reason, by Triton or by the model; a request beside it gets its own answer."""
    before, refused, after = server.send([CANARY, case, CANARY])

    assert isinstance(refused, grpc.RpcError)
    assert re.search(message, refused.details())
    assert_same(server.canary, before)
    assert_same(server.canary, after)
    assert server.processes == server.model_processes()


def test_numbers_that_fill_no_row_are_the_senders_own(server: Server) -> None:
    """Of a leading dimension of 0 Triton takes the rest as a row: what was sent, and no more."""
    rows = np.arange(1, 641, dtype=np.float32).tobytes()
    (whole,) = server.send([states((1, 20, 32), rows, ids(20))])
    (odd,) = server.send([states((0, 20, 32), rows, ids(20))])

    assert isinstance(whole, dict)
    assert whole == odd


@pytest.mark.parametrize("model", [TOKENIZER, ENSEMBLE])
def test_a_text_that_ends_early_does_no_lasting_harm(server: Server, model: Model) -> None:
    """Triton 24.10 refuses what it is batched with too, and gives nobody another's answer."""
    bad = text(model, (1, 2), write_texts([b"a"]) + b"\xff\x00\x00\x00b")
    answers = [*server.send([CANARY, bad, CANARY]), *server.send([CANARY])]

    assert isinstance(answers[1], grpc.RpcError)
    for answer in answers:
        if isinstance(answer, grpc.RpcError):
            assert grpc.StatusCode.INVALID_ARGUMENT is answer.code()
            assert "expecting string of length 255 but only 1 bytes" in answer.details()
        else:
            assert_same(server.canary, answer)
    assert isinstance(answers[-1], dict)


@pytest.mark.parametrize(
    "case",
    [
        text(TOKENIZER, (0, 0), b""),
        tokens((0, 0), b""),
        tokens((2**32, 0), b""),
        Case(
            TRUNK,
            (
                RawTensor("input_ids", "INT32", (0, 0), b""),
                RawTensor("lengths", "INT32", (0, 0), b""),
            ),
            ("dense",),
            (),
        ),
    ],
)
def test_a_request_that_triton_forgets_is_nobody_elses_loss(server: Server, case: Case) -> None:
    """Triton 24.10 never answers it; the model goes on, and so does a stop (see the fixture)."""
    forgotten = server.send_and_forget(case)
    for _ in range(3):
        assert_same(server.canary, server.send([CANARY])[0])

    assert not forgotten.done()
