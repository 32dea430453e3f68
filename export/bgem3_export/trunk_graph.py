"""The trunk as an ONNX graph over packed tokens.

The graph is written node by node rather than traced from PyTorch: XLM-RoBERTa is small enough to
be read here in full, the weights go straight from the checkpoint to the external data file (one
tensor in memory at a time), and the precision of every value is chosen, not inherited.

Contract: ``input_ids`` INT32 [T] and ``lengths`` INT32 [N] in, ``dense`` FP32 [N, H] and
``hidden_states`` FP32 or FP16 [T, H] out, where T is the sum of the lengths and every length is at
least 1. All linear layers run on the T real tokens; only attention sees padding, and not even that
when there is a single text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from bgem3_backend.contract import DENSE, HIDDEN_STATES, INPUT_IDS, LENGTHS
from bgem3_export.checkpoint import Checkpoint

Precision = Literal["fp32", "fp16"]

GRAPH_FILE: Final = "model.onnx"
DATA_FILE: Final = "model.onnx.data"

# Opset 17 brings LayerNormalization. The oldest ONNX Runtime that has to read the graph is the one
# in Triton's container, so nothing newer is used without need.
OPSET: Final = 17
IR_VERSION: Final = 8
MICROSOFT_DOMAIN: Final = "com.microsoft"

# Pages are what an engine maps; an aligned tensor needs no copy.
_ALIGNMENT_BYTES: Final = 4096

# torch.nn.functional.normalize's epsilon. It underflows to 0 in FP16, hence the FP32 tail.
_NORMALIZE_EPSILON: Final = 1e-12

_ONNX_TYPES: Final = {"fp32": TensorProto.FLOAT, "fp16": TensorProto.FLOAT16}
_NUMPY_TYPES: Final = {"fp32": np.float32, "fp16": np.float16}


def write_trunk_graph(
    checkpoint: Checkpoint,
    directory: Path,
    precision: Precision,
    on_layer: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Write ``model.onnx`` and ``model.onnx.data`` for a checkpoint's trunk.

    Args:
        checkpoint: Where the weights come from.
        directory: An existing directory for the two files.
        precision: Of the weights, of the linear layers and of ``hidden_states``; ``dense`` is
            normalised and returned in FP32 in either.
        on_layer: Called with (layers written, layers in all).

    Returns:
        The path of ``model.onnx``.

    Raises:
        CheckpointError: A weight is missing or misshapen.
        OSError: The files cannot be written.
    """
    path = directory / GRAPH_FILE
    with (directory / DATA_FILE).open("wb") as data:
        model = _TrunkWriter(checkpoint, precision, data).model(on_layer)
    onnx.save_model(model, str(path))
    onnx.checker.check_model(str(path))
    return path


def graph_bytes(checkpoint: Checkpoint, precision: Precision) -> int:
    """Return about how many bytes the graph and its data will take."""
    config = checkpoint.config
    embeddings = (config.vocabulary_size + config.positions) * config.hidden_size
    layer = 4 * config.hidden_size**2 + 2 * config.hidden_size * config.intermediate_size
    return (embeddings + config.layers * layer) * np.dtype(_NUMPY_TYPES[precision]).itemsize


class _Nodes:
    """A list of nodes under construction: each call appends one and returns its output's name."""

    def __init__(self, prefix: str) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self._prefix = prefix

    def add(
        self,
        operator: str,
        inputs: Sequence[str],
        *,
        name: str | None = None,
        outputs: int = 1,
        domain: str = "",
        **attributes: Any,  # noqa: ANN401 - what a node takes depends on its operator
    ) -> list[str]:
        """Append a node with several outputs and return their names."""
        base = name or f"{self._prefix}{operator}_{len(self.nodes)}"
        names = [base] if outputs == 1 else [f"{base}_{index}" for index in range(outputs)]
        self.nodes.append(
            helper.make_node(operator, inputs, names, name=base, domain=domain, **attributes)
        )
        return names

    def __call__(self, operator: str, *inputs: str, **options: object) -> str:
        """Append a node with one output and return its name."""
        return self.add(operator, inputs, **options)[0]  # type: ignore[arg-type]


class _TrunkWriter:
    """Writes one graph; the steps of :meth:`model` are the steps of the forward pass."""

    def __init__(self, checkpoint: Checkpoint, precision: Precision, data: BinaryIO) -> None:
        self._checkpoint = checkpoint
        self._config = checkpoint.config
        self._type = _ONNX_TYPES[precision]
        self._numpy_type = _NUMPY_TYPES[precision]
        self._data = data
        self._initializers: list[onnx.TensorProto] = []
        self._nodes = _Nodes("")

    def model(self, on_layer: Callable[[int, int], None]) -> onnx.ModelProto:
        """Return the whole model; its large initializers are in the data file."""
        self._layout()
        hidden = self._embeddings()
        for layer in range(self._config.layers):
            hidden = self._layer(layer, hidden)
            on_layer(layer + 1, self._config.layers)
        self._nodes("Identity", hidden, name=HIDDEN_STATES.name)
        self._dense(hidden)

        size = self._config.hidden_size
        graph = helper.make_graph(
            self._nodes.nodes,
            "bge_m3_trunk",
            [
                helper.make_tensor_value_info(INPUT_IDS.name, TensorProto.INT32, ["tokens"]),
                helper.make_tensor_value_info(LENGTHS.name, TensorProto.INT32, ["texts"]),
            ],
            [
                helper.make_tensor_value_info(DENSE.name, TensorProto.FLOAT, ["texts", size]),
                helper.make_tensor_value_info(HIDDEN_STATES.name, self._type, ["tokens", size]),
            ],
            self._initializers,
        )
        return helper.make_model(
            graph,
            producer_name="bgem3-triton",
            ir_version=IR_VERSION,
            opset_imports=[
                helper.make_opsetid("", OPSET),
                helper.make_opsetid(MICROSOFT_DOMAIN, 1),
            ],
        )

    def _layout(self) -> None:
        """Where each text begins, and the indices to and from the padded form of attention."""
        n = self._nodes
        self._constant("axis_0", np.array([0], np.int64))
        self._constant("axis_1", np.array([1], np.int64))
        self._constant("scalar_0", np.array(0, np.int64))
        self._constant("scalar_1", np.array(1, np.int64))
        self._constant("one", np.array([1], np.int64))
        self._constant("flat", np.array([-1, self._config.hidden_size], np.int64))

        n("Cast", LENGTHS.name, to=TensorProto.INT64, name="lengths_64")
        n("CumSum", "lengths_64", "scalar_0", name="ends")
        n("Sub", "ends", "lengths_64", name="starts")
        n("Shape", INPUT_IDS.name, name="token_count")
        n("Squeeze", "token_count", "axis_0", name="token_count_scalar")
        n("Range", "scalar_0", "token_count_scalar", "scalar_1", name="token_index")

        # The text of each token: a running count of the starts behind the first one.
        n(
            "ConstantOfShape",
            "token_count",
            value=helper.make_tensor("zero", TensorProto.INT64, [1], [0]),
            name="no_starts",
        )
        self._constant("infinite", np.array([np.iinfo(np.int64).max], np.int64))
        n("Slice", "starts", "one", "infinite", "axis_0", name="later_starts")
        n("Shape", "later_starts", name="later_starts_shape")
        n(
            "ConstantOfShape",
            "later_starts_shape",
            value=helper.make_tensor("one_value", TensorProto.INT64, [1], [1]),
            name="ones",
        )
        n("ScatterElements", "no_starts", "later_starts", "ones", axis=0, name="marks")
        n("CumSum", "marks", "scalar_0", name="text_index")
        n("Gather", "starts", "text_index", name="text_start", axis=0)
        n("Sub", "token_index", "text_start", name="position")

        # [N, L] of token indices; what lies behind a text's end repeats its last token, masked.
        n("ReduceMax", "lengths_64", keepdims=0, name="longest")
        n("Range", "scalar_0", "longest", "scalar_1", name="columns")
        n("Sub", "lengths_64", "one", name="last")
        n("Unsqueeze", "last", "axis_1", name="last_column")
        n("Min", "columns", "last_column", name="offset")
        n("Unsqueeze", "starts", "axis_1", name="starts_column")
        n("Add", "starts_column", "offset", name="padded_index")
        n("Mul", "text_index", "longest", name="row_start")
        n("Add", "row_start", "position", name="packed_index")

        n("Shape", LENGTHS.name, name="text_count")
        n("Equal", "text_count", "one", name="single_as_vector")
        n("Squeeze", "single_as_vector", "axis_0", name="single_text")

    def _embeddings(self) -> str:
        """Word, position and type embeddings, normalised: [T, H].

        Positions as transformers' ``create_position_ids_from_input_ids``: counted over tokens that
        are not padding, and the padding position itself for a ``<pad>`` written in a text.
        """
        n = self._nodes
        pad = self._config.pad_token_id
        self._constant("pad_id", np.array(pad, np.int32))
        self._constant("pad_position", np.array(pad, np.int64))
        n("Equal", INPUT_IDS.name, "pad_id", name="is_pad")
        n("Not", "is_pad", name="is_real")
        n("Cast", "is_real", to=TensorProto.INT64, name="real")
        n("CumSum", "real", "scalar_0", name="real_so_far")
        n("Sub", "real_so_far", "real", name="real_before")
        n("Gather", "real_before", "starts", axis=0, name="real_before_text")
        n("Gather", "real_before_text", "text_index", axis=0, name="real_before_own_text")
        n("Sub", "real_so_far", "real_before_own_text", name="real_in_text")
        n("Mul", "real_in_text", "real", name="counted")
        n("Add", "counted", "pad_position", name="position_ids")

        config, size = self._config, self._config.hidden_size
        self._weight(
            "word_embeddings",
            self._tensor("embeddings.word_embeddings.weight", config.vocabulary_size, size),
        )
        # The type embedding is one row that every token gets: it joins the positions here.
        self._weight(
            "position_embeddings",
            self._tensor("embeddings.position_embeddings.weight", config.positions, size)
            + self._tensor("embeddings.token_type_embeddings.weight", config.token_types, size)[:1],
        )
        n("Gather", "word_embeddings", INPUT_IDS.name, axis=0, name="words")
        n("Gather", "position_embeddings", "position_ids", axis=0, name="positions")
        n("Add", "words", "positions", name="embeddings")
        return self._layer_norm("embeddings", "embeddings.LayerNorm", "embeddings_normalized")

    def _layer(self, layer: int, hidden: str) -> str:
        """One encoder layer: [T, H] to [T, H]."""
        n = self._nodes
        size, inner_size = self._config.hidden_size, self._config.intermediate_size
        source = f"encoder.layer.{layer}"
        prefix = f"layer_{layer}_"
        query_key_value = [f"{source}.attention.self.{part}" for part in ("query", "key", "value")]
        packed = self._linear(hidden, query_key_value, f"{prefix}query_key_value", size, size)
        parts = n.add(
            "Split", [packed, self._split_sizes()], axis=1, outputs=3, name=f"{prefix}part"
        )
        context = n(
            "If",
            "single_text",
            then_branch=self._attention_of_one(prefix, parts),
            else_branch=self._attention_of_many(prefix, parts),
            name=f"{prefix}context",
        )
        attended = self._linear(
            context,
            [f"{source}.attention.output.dense"],
            f"{prefix}attention_output",
            size,
            size,
        )
        summed = n("Add", attended, hidden, name=f"{prefix}attention_sum")
        attended = self._layer_norm(
            summed, f"{source}.attention.output.LayerNorm", f"{prefix}attention_normalized"
        )
        inner = self._linear(
            attended, [f"{source}.intermediate.dense"], f"{prefix}intermediate", size, inner_size
        )
        inner = n("Gelu", inner, domain=MICROSOFT_DOMAIN, name=f"{prefix}activated")
        inner = self._linear(inner, [f"{source}.output.dense"], f"{prefix}output", inner_size, size)
        summed = n("Add", inner, attended, name=f"{prefix}sum")
        return self._layer_norm(summed, f"{source}.output.LayerNorm", f"{prefix}normalized")

    def _attention_of_one(self, prefix: str, parts: Sequence[str]) -> onnx.GraphProto:
        """Attention when the batch is one text: no padding, no mask, and memory linear in L."""
        n = _Nodes(f"{prefix}one_")
        rows = [n("Unsqueeze", part, "axis_0") for part in parts]
        attended = self._multi_head_attention(n, rows)
        return self._branch(n, n("Squeeze", attended, "axis_0"), f"{prefix}one")

    def _attention_of_many(self, prefix: str, parts: Sequence[str]) -> onnx.GraphProto:
        """Attention over [N, L], gathered from the packed tokens and brought back."""
        n = _Nodes(f"{prefix}many_")
        rows = [n("Gather", part, "padded_index", axis=0) for part in parts]
        attended = self._multi_head_attention(n, [*rows, "", LENGTHS.name])
        attended = n("Reshape", attended, "flat")
        return self._branch(n, n("Gather", attended, "packed_index", axis=0), f"{prefix}many")

    def _multi_head_attention(self, nodes: _Nodes, inputs: Sequence[str]) -> str:
        return nodes.add(
            "MultiHeadAttention",
            inputs,
            domain=MICROSOFT_DOMAIN,
            num_heads=self._config.heads,
        )[0]

    def _branch(self, nodes: _Nodes, output: str, name: str) -> onnx.GraphProto:
        size = self._config.hidden_size
        value = helper.make_tensor_value_info(output, self._type, ["tokens", size])
        return helper.make_graph(nodes.nodes, name, [], [value])

    def _dense(self, hidden: str) -> None:
        """The CLS row of each text, L2-normalised in FP32 whatever the trunk's precision."""
        n = self._nodes
        self._constant("epsilon", np.array(_NORMALIZE_EPSILON, np.float32))
        n("Gather", hidden, "starts", axis=0, name="cls")
        n("Cast", "cls", to=TensorProto.FLOAT, name="cls_fp32")
        n("ReduceL2", "cls_fp32", axes=[1], keepdims=1, name="norm")
        n("Max", "norm", "epsilon", name="safe_norm")
        n("Div", "cls_fp32", "safe_norm", name=DENSE.name)

    def _linear(
        self, value: str, sources: Sequence[str], name: str, inputs: int, outputs: int
    ) -> str:
        """``value @ W.T + b``; several sources are one matrix, side by side."""
        weights = [self._tensor(f"{source}.weight", outputs, inputs) for source in sources]
        biases = [self._tensor(f"{source}.bias", outputs) for source in sources]
        self._weight(f"{name}_weight", np.concatenate(weights).T)
        self._weight(f"{name}_bias", np.concatenate(biases))
        return self._nodes("Gemm", value, f"{name}_weight", f"{name}_bias", name=name)

    def _layer_norm(self, value: str, source: str, name: str) -> str:
        for part in ("weight", "bias"):
            self._weight(
                f"{name}_{part}", self._tensor(f"{source}.{part}", self._config.hidden_size)
            )
        return self._nodes(
            "LayerNormalization",
            value,
            f"{name}_weight",
            f"{name}_bias",
            axis=-1,
            epsilon=self._config.layer_norm_epsilon,
            name=name,
        )

    def _split_sizes(self) -> str:
        if not any(tensor.name == "thirds" for tensor in self._initializers):
            self._constant("thirds", np.array([self._config.hidden_size] * 3, np.int64))
        return "thirds"

    def _tensor(self, name: str, *shape: int) -> npt.NDArray[np.float32]:
        return self._checkpoint.tensor(name, shape)

    def _constant(self, name: str, value: npt.NDArray[np.generic]) -> None:
        """A small initializer, kept in the graph itself."""
        self._initializers.append(onnx.numpy_helper.from_array(value, name))

    def _weight(self, name: str, value: npt.NDArray[np.float32]) -> None:
        """A weight in the graph's precision, appended to the external data file."""
        converted = np.ascontiguousarray(value, dtype=self._numpy_type)
        self._data.write(b"\0" * (-self._data.tell() % _ALIGNMENT_BYTES))
        tensor = TensorProto(
            name=name,
            data_type=self._type,
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
        self._initializers.append(tensor)
