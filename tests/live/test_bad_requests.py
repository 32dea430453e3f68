"""A request that cannot be answered gets INVALID_ARGUMENT and a message that helps; others live."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
from live.raw import embed, infer
from tritonclient.utils import InferenceServerException

from bgem3_backend.contract import (
    COLBERT,
    COLBERT_HEAD,
    DENSE,
    SPARSE,
    SPARSE_VALUES,
    TOKEN_STATES,
    TOKEN_TEXTS,
    TOKENS,
    TRUNK,
    Model,
    Tensor,
)

pytestmark = pytest.mark.live

INVALID = "StatusCode.INVALID_ARGUMENT"


def ids(*values: int) -> np.ndarray[Any, Any]:
    return np.array([values], np.int32)


def states(rows: int, width: int = 384, value: float = 1.0) -> np.ndarray[Any, Any]:
    return np.full((1, rows, width), value, np.float32)


@pytest.mark.parametrize(
    ("texts", "parameters", "message"),
    [
        ([], {}, "'text' is empty"),
        (["fine", b"\xff\xfe"], {}, "[index=1] the text is not UTF-8: byte 0xff at position 0"),
        (["fine", b"\xed\xa0\x80"], {}, "[index=1] the text is not UTF-8"),
        (["text"], {"max_length": 0}, "'max_length' is 0; it must be from 1 to 8192"),
        (["text"], {"max_length": 8193}, "'max_length' is 8193; it must be from 1 to 8192"),
        (["text"], {"max_length": "100"}, "'max_length' is '100'; send an integer"),
        (["text"], {"max_length": True}, "'max_length' is True; send an integer"),
        (["text"], {"truncate": 0}, "'truncate' is 0; send the boolean"),
        (
            ["short", "a longer text than this is not needed"],
            {"max_length": 4, "truncate": False},
            "[index=1] the text has",
        ),
        (["x"] * 2049, {}, "the request holds 2049 texts; at most 2048"),
        (["x" * 1000] * 2048 + [""], {}, "the request holds 2049 texts"),
        (["x " * 5_000_000] * 2, {}, "the request holds 20000000 bytes of text; at most 16777216"),
        (["x " * 9000] * 5, {}, "the request holds 40960 tokens; at most 32768"),
    ],
)
def test_a_bad_text_request_is_refused(
    connection: grpcclient.InferenceServerClient,
    texts: list[str | bytes],
    parameters: dict[str, Any],
    message: str,
) -> None:
    with pytest.raises(InferenceServerException) as caught:
        embed(connection, texts, **parameters)

    assert caught.value.status() == INVALID
    assert message in caught.value.message()


def test_the_number_of_tokens_is_said(connection: grpcclient.InferenceServerClient) -> None:
    """An over-long text with truncate=false: how many tokens it has."""
    lengths = embed(connection, ["a b c d e f"], ["token_lengths"])["token_lengths"]
    with pytest.raises(InferenceServerException) as caught:
        embed(connection, ["a b c d e f"], max_length=3, truncate=False)

    assert f"has {lengths[0, 0]} tokens, and 'max_length' is 3" in caught.value.message()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("text", np.array([[1, 2]], np.int32)),
        ("text", np.array([[b"a"], [b"b"]], np.object_)),
        ("text", np.array([b"a"], np.object_)),
        ("words", np.array([[b"a"]], np.object_)),
    ],
)
def test_wrong_types_and_shapes_are_refused(
    connection: grpcclient.InferenceServerClient, name: str, value: np.ndarray[Any, Any]
) -> None:
    with pytest.raises(InferenceServerException) as caught:
        infer(connection, "bge_m3", {name: value}, ["dense"])

    assert caught.value.status() == INVALID


BAD_INNER_REQUESTS = [
    (TOKEN_TEXTS.name, {"input_ids": ids(0, 250002, 2)}, "'input_ids' holds 250002"),
    (TOKEN_TEXTS.name, {"input_ids": ids(0, -1, 2)}, "'input_ids' holds -1"),
    (TOKEN_TEXTS.name, {"input_ids": ids()}, "'input_ids' is empty"),
    (TOKEN_TEXTS.name, {"input_ids": ids(*[5] * 40960)}, "holds 40960 tokens"),
    (
        TOKEN_TEXTS.name,
        {"input_ids": np.array([[0, 2], [0, 2]], np.int32)},
        "'input_ids' has shape [2, 2]; it must have 2 dimensions, and the leading one must be 1",
    ),
    (TRUNK.name, {"input_ids": ids(0, 5, 2), "lengths": ids(2)}, "adds up to 2 tokens, but 3"),
    (TRUNK.name, {"input_ids": ids(0, 5, 2), "lengths": ids(3, 0)}, "[index=1] 'lengths' says 0"),
    (TRUNK.name, {"input_ids": ids(0, 5, 2), "lengths": ids(5, -2)}, "[index=1] 'lengths' says -2"),
    (TRUNK.name, {"input_ids": ids(0, 250002, 2), "lengths": ids(3)}, "holds 250002"),
    (TRUNK.name, {"input_ids": ids(0, -1, 2), "lengths": ids(3)}, "holds -1"),
    (TRUNK.name, {"input_ids": ids(), "lengths": ids()}, "'lengths' is empty"),
    (TRUNK.name, {"input_ids": ids(*[5] * 8193), "lengths": ids(8193)}, "says 8193 tokens"),
    (
        TRUNK.name,
        {"input_ids": ids(*[5] * 40960), "lengths": ids(*[8192] * 5)},
        "holds 40960 tokens",
    ),
    (
        SPARSE.name,
        {"hidden_states": states(3), "input_ids": ids(0, 5), "lengths": ids(3)},
        "adds up to 3 tokens, but 2",
    ),
    (
        SPARSE.name,
        {"hidden_states": states(3), "input_ids": ids(0, 5, 300000), "lengths": ids(3)},
        "holds 300000",
    ),
    (
        SPARSE.name,
        {"hidden_states": states(2), "input_ids": ids(0, 5, 2), "lengths": ids(3)},
        "adds up to 3 tokens, but 2",
    ),
    (COLBERT_HEAD.name, {"hidden_states": states(3), "lengths": ids(2)}, "adds up to 2 tokens"),
    (
        COLBERT_HEAD.name,
        {"hidden_states": states(3), "lengths": ids(2, 2, -1)},
        "[index=2] 'lengths' says -1",
    ),
]


OUTPUTS = {
    TOKEN_TEXTS.name: [TOKENS.name],
    TRUNK.name: [DENSE.name],
    SPARSE.name: [SPARSE_VALUES.name],
    COLBERT_HEAD.name: [COLBERT.name],
}


@pytest.mark.parametrize(("model", "inputs", "message"), BAD_INNER_REQUESTS)
def test_a_bad_request_to_an_inner_step_fails_alone(
    connection: grpcclient.InferenceServerClient,
    model: str,
    inputs: dict[str, np.ndarray[Any, Any]],
    message: str,
) -> None:
    """Sent raw, among good requests that are batched with it: those are answered, and rightly."""
    names = ["dense", "sparse_values", "colbert", "token_ids"]
    expected = embed(connection, ["neighbour"], names)
    outputs = OUTPUTS[model]
    with ThreadPoolExecutor(24) as pool:
        good = [pool.submit(embed, connection, ["neighbour"], names) for _ in range(12)]
        bad = [pool.submit(infer, connection, model, inputs, outputs) for _ in range(4)]
        good += [pool.submit(embed, connection, ["neighbour"], names) for _ in range(8)]

        for future in bad:
            error = future.exception()
            assert isinstance(error, InferenceServerException)
            assert error.status() == INVALID
            assert message in error.message()
        for future in good:
            for name, value in future.result().items():
                np.testing.assert_allclose(value, expected[name], atol=1e-5)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    ("model", "output"),
    [(SPARSE, SPARSE_VALUES), (COLBERT_HEAD, COLBERT), (COLBERT_HEAD, TOKEN_STATES)],
)
def test_values_that_are_not_finite_are_never_answered(
    connection: grpcclient.InferenceServerClient, model: Model, output: Tensor, value: float
) -> None:
    """Hidden states that hold NaN or infinity: an error of the server, never a vector."""
    inputs = {"hidden_states": states(3, value=value), "lengths": ids(3)}
    if model is SPARSE:
        inputs["input_ids"] = ids(0, 5, 2)
    with pytest.raises(InferenceServerException) as caught:
        infer(connection, model.name, inputs, [output.name])

    assert caught.value.status() == "StatusCode.INTERNAL"
    assert "not finite" in caught.value.message()


def test_the_server_survived(connection: grpcclient.InferenceServerClient) -> None:
    """After all of the above every step still answers."""
    answer = embed(connection, ["still here"], ["dense", "sparse_values", "colbert"])

    assert answer["dense"].shape == (1, 1, 384)
