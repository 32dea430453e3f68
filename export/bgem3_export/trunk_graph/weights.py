"""The weights of all graphs of a trunk: each is in the data file once."""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO, Final

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from bgem3_export.trunk_graph.files import DATA_FILE
from bgem3_export.trunk_graph.precision import NUMPY_TYPES, ONNX_TYPES, Precision

# Pages are what an engine maps; an aligned tensor needs no copy.
_ALIGNMENT_BYTES: Final = 4096


class Weights:
    """Appends weights to the data file, and remembers where they are."""

    def __init__(self, data: BinaryIO, precision: Precision) -> None:
        """Begin with an empty data file.

        Args:
            data: The open data file.
            precision: What the weights are converted to.
        """
        self._data = data
        self._precision = precision
        self._stored: dict[str, TensorProto] = {}

    def stored(
        self,
        name: str,
        read: Callable[[], npt.NDArray[np.float32]],
        precision: Precision | None = None,
    ) -> TensorProto:
        """Return the initializer that refers to a weight.

        Args:
            name: Of the weight; the same in every graph.
            read: Gives its values; called only for a weight that is not in the file yet.
            precision: Of this weight, where it is not that of the others.
        """
        if name not in self._stored:
            self._stored[name] = self._append(name, read(), precision or self._precision)
        return self._stored[name]

    def _append(
        self, name: str, value: npt.NDArray[np.float32], precision: Precision
    ) -> TensorProto:
        converted = np.ascontiguousarray(value, dtype=NUMPY_TYPES[precision])
        self._data.write(b"\0" * (-self._data.tell() % _ALIGNMENT_BYTES))
        tensor = TensorProto(
            name=name,
            data_type=ONNX_TYPES[precision],
            dims=converted.shape,
            data_location=TensorProto.EXTERNAL,
        )
        for key, entry in (
            ("location", DATA_FILE),
            ("offset", str(self._data.tell())),
            ("length", str(converted.nbytes)),
        ):
            tensor.external_data.add(key=key, value=entry)
        self._data.write(converted.data)
        return tensor
