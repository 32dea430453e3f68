"""JSON: float32 numbers are exact, arrays may be anywhere, and large answers come in pieces."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_strategies
from numpy.typing import NDArray

from bgem3_client.errors import InvalidInputError
from bgem3_server.gateway.serialization.each import Each
from bgem3_server.gateway.serialization.float_text import matrix_pieces, row_texts
from bgem3_server.gateway.serialization.json import json_pieces, json_response
from bgem3_server.gateway.serialization.pieces import PiecesResponse
from bgem3_server.gateway.serialization.vectors import Base64, vector, vectors

LARGEST_PIECE_BYTES = 512 * 1024

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


def unit_rows(rows: int, columns: int, seed: int = 0) -> NDArray[np.float32]:
    """Rows of length 1, as the model gives them."""
    matrix = np.random.default_rng(seed).standard_normal((rows, columns), dtype=np.float32)
    normalized: NDArray[np.float32] = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    return normalized


def written(content: Any) -> Any:
    """What a reader of the JSON gets."""
    return json.loads(b"".join(json_pieces(content)))


def bits(numbers: Any) -> list[int]:
    """The bits of float32 numbers, so that -0.0 is not 0.0."""
    unsigned: list[int] = np.asarray(numbers, np.float32).view(np.uint32).tolist()
    return unsigned


@given(
    numpy_strategies.arrays(
        np.float32,
        numpy_strategies.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=20),
        elements=st.one_of(FLOATS, st.floats(-1, 1, width=32)),
    )
)
def test_any_matrix_reads_back_as_the_same_numbers(matrix: NDArray[np.float32]) -> None:
    """Whatever the numbers: zeros with their signs, subnormal ones, the largest."""
    read = json.loads(b"".join(matrix_pieces(matrix)))
    rows = [json.loads(text) for text in row_texts(matrix)]

    assert bits(matrix) == bits(np.array(read, np.float32).reshape(matrix.shape))
    assert rows == read


def test_every_magnitude_is_exact() -> None:
    """Among ordinary numbers, so that the exceptions of the fast way are tried and not its end."""
    powers = np.ldexp(np.float32(1), np.arange(-149, 128))
    awkward = np.concatenate([powers, np.nextafter(powers, np.float32(0)), -powers])
    matrix = unit_rows(len(awkward), 1024)
    matrix[:, 100] = awkward

    read = json.loads(b"".join(matrix_pieces(matrix)))

    assert bits(matrix) == bits(read)


def test_a_million_vector_numbers_are_exact() -> None:
    """Through all digits; a wrong last digit would show in some of them."""
    matrix = unit_rows(1024, 1024)

    read = json.loads(b"".join(matrix_pieces(matrix)))

    assert np.array_equal(matrix, np.array(read, np.float32))


def test_ordinary_numbers_have_one_width() -> None:
    """This is what makes it fast; the comma is in front."""
    text = b"".join(matrix_pieces(np.array([[0.03125, -0.5, 0.0], [1e-6, 0.25, 0.75]], "f4")))
    ordinary = b"".join(matrix_pieces(np.full((1, 128), -0.5, np.float32)))

    assert [[0.03125, -0.5, 0.0], [1e-6, 0.25, 0.75]] == json.loads(text)
    assert ordinary.startswith(b"[[-0.500000000000,-0.500000000000")


@pytest.mark.parametrize(
    "dtype", [np.int32, np.int64, np.float16, np.float32, np.float64, np.bool_]
)
@pytest.mark.parametrize("shape", [(0,), (3,), (5000,), (0, 4), (3, 4), (70, 100), (3, 50, 60)])
def test_arrays_of_any_type_and_shape(dtype: Any, shape: tuple[int, ...]) -> None:
    """Small and large ones."""
    array = (np.random.default_rng(1).standard_normal(shape) * 3).astype(dtype)

    read = np.array(written({"a": [array], "b": array})["b"]).astype(dtype)

    assert array.tolist() == read.reshape(shape).tolist()
    assert array.tolist() == np.array(written([array])[0], dtype).reshape(shape).tolist()


def test_arrays_in_lists_iterators_and_sequences() -> None:
    """Large ones beside small ones, at any depth."""
    large, small = unit_rows(10, 1024), unit_rows(1, 3)
    content = {
        "list": [small, large, small],
        "iterator": iter([{"x": large}, {"x": small, "text": "ä\n"}, None, 3]),
        "each": Each([small, large], lambda array: {"rows": array, "n": len(array)}),
        "empty": iter([]),
        "deep": [[{"x": [large]}]],
        "numbers": {"a": 0.5, "b": np.float32(0.1)},
    }

    read = written(content)

    assert [small.tolist(), large.tolist(), small.tolist()] == [
        np.array(rows, np.float32).tolist() for rows in read["list"]
    ]
    assert bits(large) == bits(read["iterator"][0]["x"])
    assert "ä\n" == read["iterator"][1]["text"]
    assert [None, 3] == read["iterator"][2:]
    assert [1, 10] == [item["n"] for item in read["each"]]
    assert bits(large) == bits(read["each"][1]["rows"])
    assert [] == read["empty"]
    assert bits(large) == bits(read["deep"][0][0]["x"][0])
    assert {"a": 0.5, "b": 0.1} == read["numbers"]


@pytest.mark.parametrize("shape", [(3,), (4, 8), (700, 1024)])
def test_base64_is_of_the_numbers(shape: tuple[int, ...]) -> None:
    """Of float32 and float16, little-endian; written at once and in pieces."""
    array = np.random.default_rng(2).standard_normal(shape).astype(np.float32)

    single = base64.b64decode(written({"a": vector(array, "base64")})["a"])
    half = base64.b64decode(written({"a": vector(array, "base64_float16")})["a"])

    assert array.astype("<f4").tobytes() == single
    assert array.astype("<f2").tobytes() == half


@pytest.mark.parametrize("rows", [1, 3, 64])
def test_the_rows_of_a_matrix(rows: int) -> None:
    """As numbers and in base64, each in an item of its own."""
    matrix = unit_rows(rows, 1024)

    numbers = written({"data": ({"v": v} for v in vectors(matrix, "float"))})["data"]
    strings = written({"data": [{"v": v} for v in vectors(matrix, "base64")]})["data"]

    assert bits(matrix) == bits([item["v"] for item in numbers])
    assert matrix.tobytes() == b"".join(base64.b64decode(item["v"]) for item in strings)


def test_a_number_too_large_for_float16_is_not_sent_as_infinity() -> None:
    """The caller is told what to ask for instead."""
    with pytest.raises(InvalidInputError, match="encoding_format 'base64'"):
        vector(np.array([70_000.0], np.float32), "base64_float16")


def test_what_is_no_json_is_refused() -> None:
    """Not written in some other form."""
    with pytest.raises(TypeError, match="not JSON serializable: object"):
        written({"a": object()})


@pytest.mark.parametrize(
    "content",
    [
        unit_rows(2048, 1024),
        unit_rows(2048, 1024) * 1000,  # not the fast way
        {"a": [Base64(unit_rows(4096, 1024))]},
        [unit_rows(8191, 384)] * 3,
        Each(range(64), lambda i: {"weights": {str(n): n / 7 + i for n in range(3000)}}),
        {"tokens": [["token"] * 8192] * 32},
        np.arange(500_000),
    ],
    ids=["dense", "raw", "base64", "colbert", "sparse", "tokens", "ids"],
)
def test_no_piece_of_a_large_answer_is_large(content: Any) -> None:
    """The event loop waits while one is made, and memory holds one."""
    largest = max(len(piece) for piece in json_pieces(content))

    assert largest <= LARGEST_PIECE_BYTES


def test_small_answers_are_whole_and_large_ones_in_pieces() -> None:
    """A small one says its length."""
    small = json_response({"embeddings": unit_rows(1, 1024)}, 201)
    large = json_response({"embeddings": unit_rows(64, 1024)})

    assert str(len(small.body)) == small.headers["content-length"]
    assert 201 == small.status_code
    assert "application/json" == small.headers["content-type"]
    assert isinstance(large, PiecesResponse)
    assert "content-length" not in large.headers
