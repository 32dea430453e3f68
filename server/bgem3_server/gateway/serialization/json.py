"""JSON with NumPy arrays inside."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray
from starlette.responses import Response

from bgem3_server.gateway.serialization.float_text import NUMBER_BYTES, matrix_pieces
from bgem3_server.gateway.serialization.pieces import Piece, response_of
from bgem3_server.gateway.serialization.vectors import Base64, JsonText

# Below this, orjson writes it in a part of a millisecond, and an array as fast as we do.
_LARGE: Final = 4096
_PLAIN: Final = frozenset({str, int, float, bool, type(None)})
# orjson would write our own dataclasses as objects.
_OPTIONS: Final = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_PASSTHROUGH_DATACLASS


def json_response(content: object, status: int = 200) -> Response:
    """Return ``content`` as a JSON answer, in pieces where it is large.

    Args:
        content: What JSON knows; NumPy arrays; what :func:`vector` and :func:`vectors` return; and
            for a large array an iterator over its items, which are then made one by one as
            the caller reads them.
        status: HTTP status.
    """
    return response_of(json_pieces(content), "application/json", status)


def json_pieces(content: object) -> Iterator[Piece]:
    """Give ``content`` as JSON, none of the pieces large; see :func:`json_response`."""
    if _weight(content) < _LARGE:
        yield _dumps(content)
    elif isinstance(content, np.ndarray):
        yield from _array_pieces(content)
    elif isinstance(content, Base64):
        yield b'"'
        yield from content.pieces()
        yield b'"'
    elif isinstance(content, JsonText):
        yield content.text
    elif isinstance(content, dict):
        yield from _dict_pieces(content)
    else:
        assert isinstance(content, Iterable)
        yield from _list_pieces(content)


def _array_pieces(array: NDArray[Any]) -> Iterator[Piece]:
    if array.ndim == 2 and array.dtype == np.float32:
        yield from matrix_pieces(array)
    elif array.ndim > 1:
        yield from _list_pieces(array)
    else:
        separator = b"["
        for start in range(0, len(array), _LARGE):
            yield separator
            yield _without_brackets(array[start : start + _LARGE])
            separator = b","
        yield b"]"


def _dict_pieces(content: dict[str, object]) -> Iterator[Piece]:
    separator = b"{"
    for key, value in content.items():
        yield separator + orjson.dumps(key) + b":"
        yield from json_pieces(value)
        separator = b","
    yield b"}"


def _list_pieces(items: Iterable[object]) -> Iterator[Piece]:
    """Write large items by themselves, and small ones together."""
    separator = b"["
    small: list[object] = []
    weight = 0
    for item in items:
        item_weight = _weight(item)
        if small and weight + item_weight >= _LARGE:
            yield separator
            yield _without_brackets(small)
            separator, small, weight = b",", [], 0
        if item_weight >= _LARGE:
            yield separator
            yield from json_pieces(item)
            separator = b","
        else:
            small.append(item)
            weight += item_weight
    if small:
        yield separator
        yield _without_brackets(small)
        separator = b","
    yield b"]" if separator == b"," else b"[]"


def _weight(value: object) -> int:
    """About how many plain values there are; what is made on demand counts as large.

    The items of a list are alike, so the first one tells whether to look into them; and a dict
    that begins with a number holds nothing but numbers, like lexical weights.
    """
    if type(value) in _PLAIN:
        return 1
    if isinstance(value, JsonText):
        return len(value.text) // NUMBER_BYTES
    if isinstance(value, np.ndarray):
        return value.size
    if isinstance(value, Base64):
        return value.array.size
    if isinstance(value, dict):
        if isinstance(next(iter(value.values()), None), float | np.floating):
            return len(value)
        return sum(map(_weight, value.values()))
    if isinstance(value, list | tuple):
        nested = value and isinstance(value[0], dict | list | tuple | np.ndarray | Base64)
        return sum(map(_weight, value)) if nested else len(value)
    if isinstance(value, Iterator | Sequence) and not isinstance(value, str):
        return _LARGE
    return 1


def _without_brackets(items: object) -> memoryview:
    return memoryview(_dumps(items))[1:-1]  # no copy


def _dumps(value: object) -> bytes:
    return orjson.dumps(value, _default, _OPTIONS)


def _default(value: object) -> object:
    if isinstance(value, JsonText):
        return orjson.Fragment(value.text)
    if isinstance(value, Base64):
        return orjson.Fragment(b'"' + b"".join(value.pieces()) + b'"')
    raise TypeError(f"{type(value).__name__} is not for JSON")
