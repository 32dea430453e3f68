"""``model.int8.onnx``: the portable graph with some linear layers in INT8."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from bgem3_backend.trunk.int8 import GATE_PROPERTY, INT8_GRAPH_FILE
from bgem3_export.int8.quantized_linear import ACTIVATION_STEPS, SMALLEST_RANGE, QuantizedLinear
from bgem3_export.trunk_graph import GRAPH_FILE
from bgem3_export.trunk_graph.nodes import Nodes

INT8_DATA_FILE: Final = "model.int8.onnx.data"

# Shared by all layers.
_STEP: Final = "int8_step"
_ZERO: Final = "int8_zero"
_SMALLEST_RANGE: Final = "int8_smallest_range"

# Smaller tensors stay in the graph itself.
_SMALLEST_EXTERNAL_BYTES: Final = 4096


def write_int8_graph(directory: Path, layers: Mapping[str, QuantizedLinear]) -> Path:
    """Write ``model.int8.onnx`` and its data beside ``model.onnx``, in place of earlier ones.

    The rounding is written as pairs of QuantizeLinear and DequantizeLinear. OpenVINO makes INT8
    multiplications of them, ONNX Runtime too.

    Args:
        directory: Holds ``model.onnx``, in FP32.
        layers: By the names of their outputs in the graph; all others stay as they are.

    Returns:
        The path of ``model.int8.onnx``.
    """
    model = onnx.load_model(str(directory / GRAPH_FILE), load_external_data=False)
    initializers: dict[str, npt.NDArray[Any]] = {
        _STEP: np.array(1 / ACTIVATION_STEPS, np.float32),
        _ZERO: np.array(0, np.uint8),
        _SMALLEST_RANGE: np.array(SMALLEST_RANGE, np.float32),
    }
    replaced: set[str] = set()
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        layer = layers.get(node.name.removesuffix("_product"))
        if node.op_type == "MatMul" and layer is not None:
            name = node.name.removesuffix("_product")
            replaced.update((node.input[1], f"{name}_bias"))
            initializers.update(_initializers(name, layer))
            nodes.extend(_nodes(name, node.input[0], node.output[0]))
        else:
            nodes.append(node)
    assert len(replaced) == 2 * len(layers), "a layer is not in the graph"

    kept = [tensor for tensor in model.graph.initializer if tensor.name not in replaced]
    added = [numpy_helper.from_array(value, name) for name, value in initializers.items()]
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend([*kept, *added])
    return _save(model, directory)


def mark_as_passed(graph: Path, report: str) -> None:
    """Write into a graph what the gate found, without which no engine loads it."""
    model = onnx.load_model(str(graph), load_external_data=False)
    onnx.helper.set_model_props(model, {GATE_PROPERTY: report})
    onnx.save_model(model, str(graph))


def remove_int8_graph(directory: Path) -> None:
    """Remove what :func:`write_int8_graph` wrote."""
    for file in (INT8_GRAPH_FILE, INT8_DATA_FILE):
        (directory / file).unlink(missing_ok=True)


def _save(model: onnx.ModelProto, directory: Path) -> Path:
    # onnx appends to a data file that is there.
    remove_int8_graph(directory)
    path = directory / INT8_GRAPH_FILE
    onnx.save_model(
        model,
        str(path),
        save_as_external_data=True,
        location=INT8_DATA_FILE,
        size_threshold=_SMALLEST_EXTERNAL_BYTES,
    )
    onnx.checker.check_model(str(path))
    return path


def _initializers(name: str, layer: QuantizedLinear) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    yield f"{name}_smoothing", layer.smoothing
    yield f"{name}_int8_weight", layer.weight
    yield f"{name}_int8_scale", layer.scale
    yield f"{name}_int8_zero", np.zeros(layer.scale.shape, np.int8)
    yield f"{name}_kept", layer.kept
    yield f"{name}_kept_weight", np.concatenate([layer.kept_weight, layer.weight_sums[None]])
    yield f"{name}_bias", layer.bias


def _nodes(name: str, value: str, output: str) -> list[onnx.NodeProto]:
    """The nodes in place of one MatMul: see :class:`QuantizedLinear`; the bias is added behind."""
    n = Nodes(f"{name}_int8_")
    smoothed = n("Mul", value, f"{name}_smoothing")
    high = n("ReduceMax", smoothed, axes=[1], keepdims=1)
    low = n("ReduceMin", smoothed, axes=[1], keepdims=1)
    span = n("Max", n("Sub", high, low), _SMALLEST_RANGE)
    # One division a token, not one a value.
    unit = n("Mul", n("Sub", smoothed, low), n("Reciprocal", span))
    rounded = n("QuantizeLinear", unit, _STEP, _ZERO)
    unit = n("DequantizeLinear", rounded, _STEP, _ZERO)
    weight = n(
        "DequantizeLinear",
        f"{name}_int8_weight",
        f"{name}_int8_scale",
        f"{name}_int8_zero",
        axis=1,
    )
    product = n("Mul", n("MatMul", unit, weight), span)
    kept = n("Concat", n("Gather", value, f"{name}_kept", axis=1), low, axis=1)
    n("Add", product, n("MatMul", kept, f"{name}_kept_weight"), name=output)
    return n.nodes
