"""Arrays of numbers as JSON holds them: as numbers, or in base64."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bgem3_client.errors import InvalidInputError
from bgem3_server.gateway.serialization.float_text import row_texts
from bgem3_server.gateway.serialization.pieces import array_pieces

EncodingFormat: TypeAlias = Literal["float", "base64", "base64_float16"]
"""Numbers; or base64 of little-endian float32; or of little-endian float16."""

_PIECE_BYTES: Final = 3 * 64 * 1024
"""A multiple of three: base64 without padding."""


@dataclass(frozen=True, eq=False)
class Base64:
    """An array that becomes a base64 string when it is written.

    Attributes:
        array: Of any shape, its numbers as they are to be sent; base64 says nothing of the shape.
    """

    array: NDArray[Any]

    def pieces(self) -> Iterator[bytes]:
        """Give the string, without quotes, piece by piece."""
        return map(base64.b64encode, array_pieces(self.array, _PIECE_BYTES))


@dataclass(frozen=True, slots=True)
class JsonText:
    """A value that is JSON already."""

    text: bytes


def vector(array: NDArray[Any], encoding_format: EncodingFormat) -> NDArray[Any] | Base64:
    """Return an array as JSON is to have it; for :func:`json_response`, which knows both.

    Args:
        array: Of any shape.
        encoding_format: See :data:`EncodingFormat`.
    """
    return array if encoding_format == "float" else Base64(as_sent(array, encoding_format))


def vectors(
    matrix: NDArray[np.float32], encoding_format: EncodingFormat
) -> Iterator[JsonText | Base64]:
    """Give each row of a matrix as :func:`vector` does; many are faster so than one by one.

    Args:
        matrix: float32 [rows, columns].
        encoding_format: See :data:`EncodingFormat`.
    """
    if encoding_format == "float":
        yield from map(JsonText, row_texts(matrix))
    else:
        yield from (Base64(row) for row in as_sent(matrix, encoding_format))


def as_sent(array: NDArray[Any], encoding_format: EncodingFormat) -> NDArray[Any]:
    """Return an array in the type that is sent: float16 for ``base64_float16``, else as it is.

    Raises:
        InvalidInputError: A number is too large for float16; those of length 1 never are.
    """
    if encoding_format != "base64_float16" or array.dtype == np.float16:
        return array
    with np.errstate(over="ignore"):
        half = array.astype(np.float16)
    if not np.isfinite(half).all():
        raise InvalidInputError(
            "the vectors have numbers above 65504, too large for float16: send encoding_format "
            "'base64' or 'float'"
        )
    return half
