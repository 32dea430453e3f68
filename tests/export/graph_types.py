"""The element types of what goes into and comes out of each node of a graph."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import onnx
from onnx import TensorProto, helper, shape_inference
from onnxruntime.capi import _pybind_state

MICROSOFT = "com.microsoft"


@dataclass(frozen=True)
class TypedNode:
    """A node, and the element type of each constraint and parameter of its operator."""

    node: onnx.NodeProto
    types: dict[str, str]

    @property
    def operator(self) -> str:
        """``domain:operator``."""
        return f"{self.node.domain or 'ai.onnx'}:{self.node.op_type}"


def typed_nodes(model: onnx.ModelProto, element_type: int) -> list[TypedNode]:
    """Return the nodes of a graph without branches.

    Args:
        model: Its operators of Microsoft's domain give the trunk's precision, all of them.
        element_type: The trunk's precision.
    """
    model = onnx.ModelProto.FromString(model.SerializeToString())
    for node in model.graph.node:
        if node.domain == MICROSOFT:
            # ONNX does not know them, and infers nothing behind a value of an unknown type.
            model.graph.value_info.extend(
                helper.make_tensor_value_info(name, element_type, None) for name in node.output
            )
    inferred = shape_inference.infer_shapes(model, strict_mode=True).graph
    types = {tensor.name: tensor.data_type for tensor in inferred.initializer}
    for value in (*inferred.input, *inferred.output, *inferred.value_info):
        types[value.name] = value.type.tensor_type.elem_type
    return [TypedNode(node, _bound_types(node, types)) for node in inferred.node]


def _bound_types(node: onnx.NodeProto, types: dict[str, int]) -> dict[str, str]:
    inputs, outputs = _parameters(node.domain, node.op_type)
    bound: dict[str, str] = {}
    for names, parameters in ((node.input, inputs), (node.output, outputs)):
        for index, name in enumerate(names):
            if name:
                parameter, constraint = parameters[min(index, len(parameters) - 1)]
                kind = TensorProto.DataType.Name(types[name]).lower()
                assert bound.setdefault(constraint, kind) == kind, (node.name, constraint)
                bound[parameter] = kind
    return bound


@cache
def _parameters(domain: str, operator: str) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """(name, type constraint) of each input and output of an operator."""
    if domain == "":
        schema: Any = onnx.defs.get_schema(operator, 17, "")
        return (
            [(formal.name, formal.type_str) for formal in schema.inputs],
            [(formal.name, formal.type_str) for formal in schema.outputs],
        )
    (schema,) = [
        schema
        for schema in _pybind_state.get_all_operator_schema()
        if (schema.domain, schema.name) == (domain, operator)
    ]
    return (
        [(formal.name, formal.typeStr) for formal in schema.inputs],
        [(formal.name, formal.typeStr) for formal in schema.outputs],
    )
