"""NumPy's NPZ, written without seeking back."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray
from starlette.responses import Response

from bgem3_server.gateway.serialization.pieces import array_pieces, response_of

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

NPZ: Final = "application/x-npz"


def npz_response(arrays: Mapping[str, NDArray[Any]]) -> Response:
    """Return named arrays as an answer that ``np.load`` reads, in pieces where it is large."""
    return response_of(npz_pieces(arrays), NPZ)


def npz_pieces(arrays: Mapping[str, NDArray[Any]]) -> Iterator[bytes]:
    """Give named arrays, none of objects, as an NPZ archive piece by piece."""
    written = _Written()
    with zipfile.ZipFile(written, "w") as archive:
        for name, given in arrays.items():
            array = np.require(given, requirements="C")
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                header = npy.header_data_from_array_1_0(array)  # type: ignore[no-untyped-call]
                npy.write_array_header_1_0(member, header)  # type: ignore[no-untyped-call]
                for piece in array_pieces(array):
                    member.write(piece)
                    yield written.take()
    yield written.take()


class _Written(io.RawIOBase):
    """A stream that cannot seek and holds what was written until it is taken."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer) -> int:
        part = bytes(data)
        self._parts.append(part)
        return len(part)

    def take(self) -> bytes:
        taken = b"".join(self._parts)
        self._parts.clear()
        return taken
