"""Float32 numbers as decimal text, many at once, and exact.

A number becomes 16 bytes, ``, 0.031250000000`` or ``,-0.031250000000``: four 32-bit words, three
of which are looked up in a table of all groups of four digits. Twelve decimals tell apart all
float32 numbers of [2**-16, 1), so whoever reads the text as float32 has the same number. The few
that are smaller, or not below 1, are written with nine significant digits and an exponent, which
is exact for every float32 and fits into the same 16 bytes: ``,-1.15178855e-05``.

A shortest-digits printer takes one number after the other. This takes thousands with each NumPy
call, and half the time, for text that is a third longer (``benchmarks/json_vectors.py``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

BLOCK_NUMBERS: Final = 16_384
"""Numbers that are written at once: 256 KiB of text, in about 0.2 ms."""

NUMBER_BYTES: Final = 16
"""Text of a number."""

_WORDS: Final = NUMBER_BYTES // 4
_GROUPS: Final = np.frombuffer("".join(f"{group:04}" for group in range(10_000)).encode(), "u4")
_SIGNS: Final = np.frombuffer(b", 0.,-0.", "u4")
_ROW_END: Final = np.frombuffer(b"],  ", "u4")[0]
_ROW_PADDING_BYTES: Final = len(",  ")
_HALF_OF_LAST_DIGIT: Final = 0.5e-12
# The bits of positive floats, taken for integers, have the order of the floats.
_LEAST: Final = np.float32(2**-16).view(np.uint32)
_RANGE: Final = np.float32(1).view(np.uint32) - _LEAST
_WITHOUT_SIGN: Final = np.uint32(0x7FFF_FFFF)
# One takes some 0.4 µs; with more of them, a shortest-digits printer is as fast.
_MOST_EXCEPTIONS: Final = 1 / 64


def matrix_pieces(matrix: NDArray[np.float32]) -> Iterator[bytes]:
    """Give a matrix as a JSON array of arrays, piece by piece.

    Args:
        matrix: float32 [rows, columns], finite; `BLOCK_NUMBERS` bounds a piece of several rows.
    """
    yield b"["
    blocks = list(_blocks(matrix))
    for block in blocks:
        text = _row_bytes(block)
        if text is None:
            yield b",".join(_one_by_one(block))
            yield b"" if block is blocks[-1] else b","
        else:
            if block is blocks[-1]:
                text[-1, -_ROW_PADDING_BYTES] = ord(" ")
            yield text.tobytes()
    yield b"]"


def row_texts(matrix: NDArray[np.float32]) -> Iterator[bytes]:
    """Give each row of a matrix as a JSON array.

    Args:
        matrix: float32 [rows, columns], finite.
    """
    for block in _blocks(matrix):
        text = _row_bytes(block)
        if text is None:
            yield from _one_by_one(block)
        else:
            for row in text[:, :-_ROW_PADDING_BYTES]:
                yield row.tobytes()


def _blocks(matrix: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    rows, columns = matrix.shape
    step = max(BLOCK_NUMBERS // max(columns, 1), 1)
    for start in range(0, rows, step):
        yield np.ascontiguousarray(matrix[start : start + step])


def _one_by_one(rows: NDArray[np.float32]) -> list[bytes]:
    return [orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY) for row in rows]


def _row_bytes(rows: NDArray[np.float32]) -> NDArray[np.uint8] | None:
    """Return rows as text of one length, each a JSON array, a comma, and spaces.

    Returns:
        uint8 [rows, bytes]; None where too many numbers do not fit the scheme.
    """
    numbers = rows.reshape(-1)
    bits = numbers.view(np.uint32) & _WITHOUT_SIGN
    # Unsigned: what is below the least wraps round to far above the range.
    exceptions = np.flatnonzero(((bits - _LEAST) >= _RANGE) & (bits != 0))
    if not len(numbers) or len(exceptions) > len(numbers) * _MOST_EXCEPTIONS:
        return None
    bits[exceptions] = 0
    words = np.empty((len(rows), rows.shape[1] * _WORDS + 1), np.uint32)
    slots = words[:, :-1].reshape(*rows.shape, _WORDS)
    _write_digits(np.signbit(numbers), bits.view(np.float32), slots)
    for index in exceptions.tolist():
        text = f",{numbers[index]:>15.8e}".encode()
        slots[divmod(index, rows.shape[1])] = np.frombuffer(text, np.uint32)
    words[:, -1] = _ROW_END
    text_bytes = words.view(np.uint8)
    text_bytes[:, 0] = ord("[")
    return text_bytes


def _write_digits(
    negative: NDArray[np.bool_], absolutes: NDArray[np.float32], slots: NDArray[Any]
) -> None:
    """Fill the 16 bytes of each number: sign and point, then four digits three times.

    Arrays are made once and written to again, since fresh memory costs more than the arithmetic;
    ``take`` needs ``mode="clip"`` to write straight into its ``out``.
    """
    shape = slots.shape[:2]
    group = negative.astype(np.intp)
    word = np.empty(len(group), np.uint32)
    _SIGNS.take(group, out=word, mode="clip")
    slots[:, :, 0] = word.reshape(shape)
    digits = absolutes.astype(np.float64)
    digits += _HALF_OF_LAST_DIGIT
    whole = np.empty_like(digits)
    for place in range(1, _WORDS):
        digits *= 10_000
        np.floor(digits, out=whole)
        np.copyto(group, whole, casting="unsafe")
        _GROUPS.take(group, out=word, mode="clip")
        slots[:, :, place] = word.reshape(shape)
        digits -= whole
