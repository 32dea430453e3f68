"""The shapes of every value in a graph, for given lengths of the texts.

A graph over packed tokens computes most of its shapes: where texts begin, how long the longest is.
That part depends on the lengths alone and is computed here for real; the shapes of all others
follow from ONNX's own inference, and for Microsoft's operators from a table.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, shape_inference
from onnx.reference import ReferenceEvaluator

from bgem3_backend.contract import INPUT_IDS, LENGTHS
from bgem3_export.errors import UnknownOperatorError

Array = npt.NDArray[Any]

Dim = int | str | None
"""A size, the name of one, or nothing where not even that is known."""

Shape = tuple[Dim, ...]


@dataclass(frozen=True)
class TensorType:
    """An element type of ``TensorProto``, and a shape."""

    element: int
    shape: Shape

    @property
    def item_bytes(self) -> int:
        """Bytes of one element."""
        return int(helper.tensor_dtype_to_np_dtype(self.element).itemsize)

    @property
    def dims(self) -> tuple[int, ...]:
        """The shape, all of whose sizes are known."""
        assert all(isinstance(dim, int) for dim in self.shape)
        return self.shape  # type: ignore[return-value]

    @property
    def size_bytes(self) -> int:
        """Bytes of the whole tensor, all of whose sizes are known."""
        return math.prod(self.dims) * self.item_bytes

    @property
    def is_known(self) -> bool:
        """Whether each size is one, or has a name."""
        return None not in self.shape


@dataclass(frozen=True)
class ShapedNode:
    """One node that runs; of an ``If`` only the branch that is taken is here.

    Attributes:
        inputs: Names; the empty name is an input left out.
        outer_inputs: Of an ``If``: the values from outside that its branch takes.
        branch: Of an ``If``: the nodes of the branch.
        branch_outputs: Of an ``If``: what its outputs are called in the branch.
    """

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    outer_inputs: tuple[str, ...] = ()
    branch: tuple[ShapedNode, ...] = ()
    branch_outputs: tuple[str, ...] = ()


@dataclass(frozen=True)
class ShapedGraph:
    """A graph whose shapes are known.

    Attributes:
        nodes: In the order of the file.
        types: Of every value, those in branches included.
        load_types: The same as far as they are known when the graph is loaded.
        outputs: Names of the graph's outputs.
    """

    nodes: tuple[ShapedNode, ...]
    types: Mapping[str, TensorType]
    load_types: Mapping[str, TensorType]
    outputs: tuple[str, ...]


class GraphShapes:
    """Tells the shapes in a trunk's graph for any batch."""

    def __init__(self, model: onnx.ModelProto) -> None:
        """Take a graph.

        Args:
            model: Read without its external data.

        Raises:
            UnknownOperatorError: It has an operator that there is no rule for.
        """
        self._model = model
        self._initializers = {tensor.name: tensor for tensor in model.graph.initializer}
        self._load_types = _load_types(model)

    @property
    def weights_bytes(self) -> int:
        """Bytes of all initializers."""
        return sum(
            TensorType(tensor.data_type, tuple(tensor.dims)).size_bytes
            for tensor in self._initializers.values()
        )

    def weight_bytes(self, name: str) -> int:
        """Bytes of one initializer; 0 when there is none of that name."""
        tensor = self._initializers.get(name)
        return TensorType(tensor.data_type, tuple(tensor.dims)).size_bytes if tensor else 0

    def shaped(self, lengths: Sequence[int]) -> ShapedGraph:
        """Return the graph with its shapes for a batch.

        Args:
            lengths: Tokens of each text.

        Raises:
            UnknownOperatorError: A shape does not follow from the lengths.
        """
        return _Shaping(self._model, np.asarray(lengths, np.int32)).graph(self._load_types)


class _Shaping:
    """Walks a graph once, for one batch."""

    def __init__(self, model: onnx.ModelProto, lengths: npt.NDArray[np.int32]) -> None:
        self._model = model
        self._inference = _Inference(model)
        self._types: dict[str, TensorType] = {}
        # Inputs beside those two are as long as the longest text, and only their size counts.
        self._values: dict[str, Array] = {
            value.name: np.zeros(int(lengths.max()), np.int32) for value in model.graph.input
        }
        self._values[INPUT_IDS.name] = np.zeros(int(lengths.sum()), np.int32)
        self._values[LENGTHS.name] = lengths
        self._constants = {""}
        for tensor in model.graph.initializer:
            self._add_initializer(tensor)

    def graph(self, load_types: Mapping[str, TensorType]) -> ShapedGraph:
        self._compute_layout()
        for name, value in self._values.items():
            element = helper.np_dtype_to_tensor_dtype(value.dtype)
            self._types.setdefault(name, TensorType(element, value.shape))
        nodes = tuple(self._nodes(self._model.graph.node))
        outputs = tuple(output.name for output in self._model.graph.output)
        return ShapedGraph(nodes, self._types, load_types, outputs)

    def _add_initializer(self, tensor: onnx.TensorProto) -> None:
        self._constants.add(tensor.name)
        self._types[tensor.name] = TensorType(tensor.data_type, tuple(tensor.dims))
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            self._values[tensor.name] = onnx.numpy_helper.to_array(tensor)

    def _compute_layout(self) -> None:
        """Compute, for real, all that depends on nothing but the inputs."""
        inputs = {value.name for value in self._model.graph.input}
        known = set(self._values)
        nodes = []
        for node in self._model.graph.node:
            if not node.domain and node.op_type != "If" and set(node.input) <= known | {""}:
                nodes.append(node)
                known |= set(node.output)
        outputs = [name for node in nodes for name in node.output]
        graph = helper.make_graph(
            nodes,
            "layout",
            [helper.make_tensor_value_info(name, onnx.TensorProto.INT32, None) for name in inputs],
            [helper.make_value_info(name, onnx.TypeProto()) for name in outputs],
            [
                tensor
                for tensor in self._model.graph.initializer
                if tensor.data_location != onnx.TensorProto.EXTERNAL
            ],
        )
        layout = helper.make_model(graph, opset_imports=self._model.opset_import)
        found = ReferenceEvaluator(layout).run(None, {name: self._values[name] for name in inputs})
        assert isinstance(found, list)
        for name, value in zip(outputs, found, strict=True):
            self._values[name] = np.asarray(value)

    def _nodes(self, nodes: Sequence[onnx.NodeProto]) -> Iterator[ShapedNode]:
        for node in nodes:
            if node.op_type == "If":
                yield self._if(node)
                continue
            if not all(name in self._types for name in node.output):
                inferred = self._inference.outputs(node, self._types, self._values)
                for name, kind in inferred.items():
                    if not all(isinstance(dim, int) for dim in kind.shape):
                        raise UnknownOperatorError(
                            f"the shape of '{name}' ({node.op_type}) does not follow from the "
                            "lengths of the texts, so its memory cannot be told"
                        )
                self._types |= inferred
            if node.input and set(node.input) <= self._constants:
                # ONNX Runtime computes it once, while it loads the graph.
                self._constants |= set(node.output)
                continue
            attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
            yield ShapedNode(node.op_type, tuple(node.input), tuple(node.output), attributes)

    def _if(self, node: onnx.NodeProto) -> ShapedNode:
        if node.input[0] not in self._values:
            raise UnknownOperatorError(
                f"which branch of the If '{node.name}' is taken depends on more than the lengths "
                "of the texts, so its memory cannot be told"
            )
        branches = {item.name: item.g for item in node.attribute}
        taken = branches["then_branch" if self._values[node.input[0]].all() else "else_branch"]
        for tensor in taken.initializer:
            self._add_initializer(tensor)
        inside = tuple(self._nodes(taken.node))
        made = {name for child in inside for name in child.outputs}
        used = {name for child in inside for name in (*child.inputs, *child.outer_inputs) if name}
        outputs = tuple(output.name for output in taken.output)
        for outer, inner in zip(node.output, outputs, strict=True):
            self._types[outer] = self._types[inner]
        return ShapedNode(
            "If",
            tuple(node.input),
            tuple(node.output),
            {},
            outer_inputs=tuple(sorted(used - made)),
            branch=inside,
            branch_outputs=outputs,
        )


class _Inference:
    """The shapes of a node's outputs from those of its inputs."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._opsets = list(model.opset_import)
        self._versions = {opset.domain: opset.version for opset in model.opset_import}

    def outputs(
        self, node: onnx.NodeProto, types: Mapping[str, TensorType], values: Mapping[str, Array]
    ) -> dict[str, TensorType]:
        """Return the types of the outputs of one node.

        Args:
            node: Any but an ``If``.
            types: Of its inputs.
            values: Of those of its inputs whose values are known.

        Raises:
            UnknownOperatorError: There is no rule for it.
        """
        if node.domain:
            return self._microsoft(node, types)
        operator = _SHAPED_LIKE.get(node.op_type, node.op_type)
        inferred = shape_inference.infer_node_outputs(
            onnx.defs.get_schema(operator, self._versions[""], ""),
            node,
            {
                name: helper.make_tensor_type_proto(types[name].element, types[name].shape)
                for name in node.input
                if name
            },
            {
                name: onnx.numpy_helper.from_array(values[name], name)
                for name in node.input
                if name in values
            },
            opset_imports=self._opsets,
        )
        return {name: _type_of(kind) for name, kind in inferred.items()}

    @staticmethod
    def _microsoft(node: onnx.NodeProto, types: Mapping[str, TensorType]) -> dict[str, TensorType]:
        rule = _MICROSOFT.get(node.op_type)
        if rule is None:
            raise UnknownOperatorError(
                f"the graph has the operator {node.domain}.{node.op_type} ('{node.name}'), and "
                "there is no rule for how much memory it takes"
            )
        first = types[node.input[0]]
        return {node.output[0]: TensorType(first.element, rule(first.shape))}


def _load_types(model: onnx.ModelProto) -> dict[str, TensorType]:
    """Return what is known of all types when nothing but the graph is."""
    inference = _Inference(model)
    types: dict[str, TensorType] = {}
    values: dict[str, Array] = {}

    def walk(graph: onnx.GraphProto) -> None:
        for tensor in graph.initializer:
            types[tensor.name] = TensorType(tensor.data_type, tuple(tensor.dims))
            if tensor.data_location != onnx.TensorProto.EXTERNAL:
                values[tensor.name] = onnx.numpy_helper.to_array(tensor)
        for node in graph.node:
            if node.op_type != "If":
                types.update(inference.outputs(node, types, values))
                continue
            for branch in (item.g for item in node.attribute):
                walk(branch)
                for name, output in zip(node.output, branch.output, strict=True):
                    types[name] = _type_of(output.type)

    for value in model.graph.input:
        types[value.name] = _type_of(value.type)
    walk(model.graph)
    return types


def _type_of(kind: onnx.TypeProto) -> TensorType:
    tensor = kind.tensor_type
    return TensorType(
        tensor.elem_type,
        tuple(
            dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None
            for dim in tensor.shape.dim
        ),
    )


def _same(shape: Shape) -> Shape:
    return shape


def _multi_head_attention(shape: Shape) -> Shape:
    """[B, S, H]; of queries, keys and values in one, [B, S, heads, 3, head]."""
    if len(shape) == 3:
        return shape
    batch, length, heads, _, head = shape
    assert isinstance(heads, int)
    assert isinstance(head, int)
    return (batch, length, heads * head)


def _packed_multi_head_attention(shape: Shape) -> Shape:
    """[T, H]; of queries, keys and values in one, [T, heads, 3, head]."""
    if len(shape) == 2:
        return shape
    tokens, heads, _, head = shape
    assert isinstance(heads, int)
    assert isinstance(head, int)
    return (tokens, heads * head)


# Functions of other operators, for which ONNX infers nothing node by node.
_SHAPED_LIKE: Final = {"GreaterOrEqual": "Greater", "LessOrEqual": "Less"}

# The shape of the first output from that of the first input:
# https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
_MICROSOFT: Final[Mapping[str, Callable[[Shape], Shape]]] = {
    "BiasGelu": _same,
    "FastGelu": _same,
    "Gelu": _same,
    "MultiHeadAttention": _multi_head_attention,
    "PackedMultiHeadAttention": _packed_multi_head_attention,
    "QuickGelu": _same,
    "SkipLayerNormalization": _same,
}
