"""From a checkpoint to the graphs and the data file of one version."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx

from bgem3_export.checkpoint import Checkpoint
from bgem3_export.trunk_graph.bodies.cuda import CudaBody
from bgem3_export.trunk_graph.bodies.heads import CudaHeadsBody, PortableHeadsBody
from bgem3_export.trunk_graph.bodies.portable import PortableBody
from bgem3_export.trunk_graph.bodies.tensorrt import TensorRTBody
from bgem3_export.trunk_graph.files import DATA_FILE
from bgem3_export.trunk_graph.precision import NUMPY_TYPES, Precision
from bgem3_export.trunk_graph.weights import Weights


def write_trunk_graph(
    checkpoint: Checkpoint,
    directory: Path,
    precision: Precision,
    on_layer: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Write the graphs of a checkpoint's trunk and the weights that they share.

    Args:
        checkpoint: Where the weights come from.
        directory: An existing directory for ``model.onnx``, ``model.cuda.onnx``,
            ``model.tensorrt.onnx``, the first two with heads, and ``model.onnx.data``.
        precision: Of the weights, of the linear layers and of ``hidden_states``; ``dense`` and
            what the heads give are computed and returned in FP32 in either.
        on_layer: Called with (layers written, layers in all).

    Returns:
        The path of ``model.onnx``.

    Raises:
        CheckpointError: A weight or a head is missing or misshapen.
        OSError: The files cannot be written.
    """
    with (directory / DATA_FILE).open("wb") as data:
        weights = Weights(data, precision)
        portable = PortableBody(checkpoint, precision, weights)
        # The first body reads every weight of the trunk; the others find them in the file.
        models = {portable.file: portable.model(on_layer)}
        for body in (
            CudaBody(checkpoint, precision, weights),
            TensorRTBody(checkpoint, precision, weights),
            PortableHeadsBody(checkpoint, precision, weights),
            CudaHeadsBody(checkpoint, precision, weights),
        ):
            models[body.file] = body.model()
    for file, model in models.items():
        path = directory / file
        onnx.save_model(model, str(path))
        onnx.checker.check_model(str(path))
    return directory / portable.file


def graph_bytes(checkpoint: Checkpoint, precision: Precision) -> int:
    """Return about how many bytes the graphs and their data will take."""
    config = checkpoint.config
    embeddings = (config.vocabulary_size + config.positions) * config.hidden_size
    layer = 4 * config.hidden_size**2 + 2 * config.hidden_size * config.intermediate_size
    return (embeddings + config.layers * layer) * np.dtype(NUMPY_TYPES[precision]).itemsize
