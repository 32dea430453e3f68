"""NPZ and MessagePack, which readers of those formats read, and who gets them."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import msgpack
import numpy as np
import pytest
from numpy.typing import NDArray

from bgem3_server.gateway.serialization.each import Each
from bgem3_server.gateway.serialization.media_type import best_media_type
from bgem3_server.gateway.serialization.msgpack import msgpack_pieces
from bgem3_server.gateway.serialization.npz import npz_pieces

LARGEST_PIECE_BYTES = 256 * 1024
OFFERED = ("application/json", "application/x-npz", "application/msgpack")

ARRAYS: dict[str, NDArray[Any]] = {
    "large": np.random.default_rng(0).standard_normal((1000, 384)).astype(np.float32),
    "half": np.ones((3, 4), np.float16),
    "flags": np.array([True, False]),
    "offsets": np.array([0, 5], np.int64),
    "single": np.array("1"),
    "columns": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "empty": np.empty((0, 8), np.float32),
    "no_texts": np.array([], np.str_),
    "texts": np.array(["", "密码", "a"], np.str_),
}


def test_numpy_reads_the_archive() -> None:
    """Every array with its type and shape; the checksums are right."""
    archive = b"".join(npz_pieces(ARRAYS))

    with np.load(io.BytesIO(archive), allow_pickle=False) as read:
        arrays = dict(read)

    assert list(ARRAYS) == list(arrays)
    for name, array in ARRAYS.items():
        assert array.dtype == arrays[name].dtype
        assert np.array_equal(array, arrays[name])
    assert zipfile.ZipFile(io.BytesIO(archive)).testzip() is None


def test_an_archive_comes_in_small_pieces() -> None:
    """However large the arrays are."""
    largest = max(len(piece) for piece in npz_pieces({"a": np.zeros((8191, 1024), np.float32)}))

    assert largest <= LARGEST_PIECE_BYTES


def unpacked(value: Any) -> Any:
    """The arrays in what MessagePack read."""
    if isinstance(value, list):
        return [unpacked(item) for item in value]
    if isinstance(value, dict) and value.keys() == {"data", "shape", "dtype"}:
        return np.frombuffer(value["data"], value["dtype"]).reshape(value["shape"])
    if isinstance(value, dict):
        return {key: unpacked(item) for key, item in value.items()}
    return value


def test_messagepack_has_the_arrays_as_bytes() -> None:
    """Each where it stood, with its type and shape; all else as it was."""
    content = {
        "model": "m",
        "array": ARRAYS["large"],
        "list": [ARRAYS["half"], ARRAYS["empty"], ARRAYS["flags"]],
        "each": Each(range(3), lambda i: {"weights": {"a": np.float32(i)}, "i": np.full(2, i)}),
        "tokens": [["a", "密码"], []],
        "none": [],
        "usage": {"tokens": 3},
    }

    read = unpacked(msgpack.unpackb(b"".join(msgpack_pieces(content))))

    assert list(content) == list(read)
    assert np.array_equal(ARRAYS["large"], read["array"])
    assert np.dtype("<f4") == read["array"].dtype
    assert [array.dtype for array in content["list"]] == [array.dtype for array in read["list"]]
    assert [(3, 4), (0, 8), (2,)] == [array.shape for array in read["list"]]
    assert [{"a": 0.0}, {"a": 1.0}, {"a": 2.0}] == [item["weights"] for item in read["each"]]
    assert [2, 2] == read["each"][2]["i"].tolist()
    assert content["tokens"] == read["tokens"]
    assert [] == read["none"]
    assert {"tokens": 3} == read["usage"]


def test_messagepack_comes_in_small_pieces() -> None:
    """A text's token vectors may be 32 MiB."""
    content = {"a": [np.zeros((8191, 1024), np.float32)]}

    assert max(map(len, msgpack_pieces(content))) <= LARGEST_PIECE_BYTES


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("application/json; charset=utf-8", "application/json"),
        ("application/x-npz", "application/x-npz"),
        ("Application/X-NPZ", "application/x-npz"),
        ("application/msgpack;q=0.9, application/json;q=0.5", "application/msgpack"),
        ("application/json;q=0.5, application/msgpack ; Q=0.9", "application/msgpack"),
        ("application/x-npz, */*", "application/x-npz"),
        ("*/*, application/json;q=0", "application/x-npz"),
        ("application/*;q=0.2, application/json;q=0.1", "application/x-npz"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "application/json"),
        ("text/html, application/*", "application/json"),
        ("text/html", None),
        ("application/json;q=0", None),
        ("application/jso", None),
        ("*/json", None),
    ],
)
def test_the_accept_header(accept: str, expected: str | None) -> None:
    """Quality first, then what is named itself, then the server's own order."""
    assert expected == best_media_type(accept, OFFERED)
