"""What the bodies have in common: the steps of XLM-RoBERTa's forward pass over packed tokens."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from bgem3_backend.contract import DENSE, HIDDEN_STATES, INPUT_IDS, LENGTHS
from bgem3_export.checkpoint import Checkpoint
from bgem3_export.trunk_graph.nodes import MICROSOFT_DOMAIN, Nodes
from bgem3_export.trunk_graph.precision import NUMPY_TYPES, ONNX_TYPES, Precision
from bgem3_export.trunk_graph.weights import Weights

# Opset 17 brings LayerNormalization. The oldest ONNX Runtime that has to read the graph is the one
# in Triton's container, so nothing newer is used without need.
OPSET: Final = 17
IR_VERSION: Final = 8

# torch.nn.functional.normalize's epsilon. It underflows to 0 in FP16, hence the FP32 tail.
_NORMALIZE_EPSILON: Final = 1e-12


class Body(ABC):
    """Writes one graph; the steps of :meth:`model` are the steps of the forward pass."""

    file: ClassVar[str]

    def __init__(self, checkpoint: Checkpoint, precision: Precision, weights: Weights) -> None:
        """Begin an empty graph.

        Args:
            checkpoint: Where the weights come from.
            precision: Of the weights, of the linear layers and of ``hidden_states``.
            weights: The data file, which the graphs of a trunk share.
        """
        self._checkpoint = checkpoint
        self._config = checkpoint.config
        self._type = ONNX_TYPES[precision]
        self._numpy_type = NUMPY_TYPES[precision]
        self._weights = weights
        self._initializers: dict[str, onnx.TensorProto] = {}
        self._nodes = Nodes("")

    def model(
        self, on_layer: Callable[[int, int], None] = lambda done, total: None
    ) -> onnx.ModelProto:
        """Return the whole model; its large initializers are in the data file.

        Args:
            on_layer: Called with (layers written, layers in all).

        Raises:
            CheckpointError: A weight is missing or misshapen.
        """
        self._layout()
        hidden = self._embeddings(self._position_ids())
        for layer in range(self._config.layers):
            hidden = self._layer(layer, hidden)
            on_layer(layer + 1, self._config.layers)
        outputs = self._outputs(hidden)
        graph = helper.make_graph(
            self._nodes.nodes,
            "bge_m3_trunk",
            self._inputs(),
            outputs,
            list(self._initializers.values()),
        )
        opsets = [helper.make_opsetid("", OPSET)]
        if any(node.domain == MICROSOFT_DOMAIN for node in self._nodes.nodes):
            opsets.append(helper.make_opsetid(MICROSOFT_DOMAIN, 1))
        return helper.make_model(
            graph,
            producer_name="bgem3-triton",
            ir_version=IR_VERSION,
            opset_imports=opsets,
        )

    def _inputs(self) -> list[onnx.ValueInfoProto]:
        return [
            helper.make_tensor_value_info(INPUT_IDS.name, TensorProto.INT32, ["tokens"]),
            helper.make_tensor_value_info(LENGTHS.name, TensorProto.INT32, ["texts"]),
        ]

    def _outputs(self, hidden: str) -> list[onnx.ValueInfoProto]:
        """What the graph gives, from the hidden states of the last layer, [T, H]."""
        size = self._config.hidden_size
        self._dense(self._nodes.rename_last(hidden, HIDDEN_STATES.name))
        return [
            helper.make_tensor_value_info(DENSE.name, TensorProto.FLOAT, ["texts", size]),
            helper.make_tensor_value_info(HIDDEN_STATES.name, self._type, ["tokens", size]),
        ]

    @abstractmethod
    def _layout(self) -> None:
        """Where each text begins, as ``starts``, and whatever else this body has to know."""

    @abstractmethod
    def _position_ids(self) -> str:
        """The position of each token, [T], as transformers counts them.

        That is ``create_position_ids_from_input_ids``: counted over tokens that are not padding,
        and the padding position itself for a ``<pad>`` written in a text.
        """

    def _embeddings(self, position_ids: str) -> str:
        """Word, position and type embeddings, normalised: [T, H]."""
        n = self._nodes
        config, size = self._config, self._config.hidden_size
        words = self._weight(
            "word_embeddings",
            lambda: self._tensor("embeddings.word_embeddings.weight", config.vocabulary_size, size),
        )
        # The type embedding is one row that every token gets: it joins the positions here.
        types = "embeddings.token_type_embeddings.weight"
        positions = self._weight(
            "position_embeddings",
            lambda: (
                self._tensor("embeddings.position_embeddings.weight", config.positions, size)
                + self._tensor(types, config.token_types, size)[:1]
            ),
        )
        words = n("Gather", words, INPUT_IDS.name, axis=0, name="words")
        positions = n("Gather", positions, position_ids, axis=0, name="positions")
        return self._add_and_normalize(
            [words, positions], "embeddings", "embeddings.LayerNorm", "embeddings_normalized"
        )

    def _layer(self, layer: int, hidden: str) -> str:
        """One encoder layer: [T, H] to [T, H]."""
        size, inner_size = self._config.hidden_size, self._config.intermediate_size
        source = f"encoder.layer.{layer}"
        prefix = f"layer_{layer}_"
        query_key_value = [f"{source}.attention.self.{part}" for part in ("query", "key", "value")]
        context = self._attention(prefix, hidden, query_key_value)
        attended = self._linear_add_and_normalize(
            context, hidden, f"{source}.attention.output", f"{prefix}attention_", size
        )
        inner = self._linear_and_gelu(
            attended, f"{source}.intermediate.dense", prefix, size, inner_size
        )
        return self._linear_add_and_normalize(
            inner, attended, f"{source}.output", prefix, inner_size
        )

    @abstractmethod
    def _attention(self, prefix: str, hidden: str, sources: Sequence[str]) -> str:
        """Attention of each token to those of its own text: [T, H], before the output layer."""

    @abstractmethod
    def _linear_add_and_normalize(
        self, value: str, residual: str, source: str, prefix: str, inputs: int
    ) -> str:
        """``LayerNorm(linear(value) + residual)``: [T, inputs] to [T, H]."""

    @abstractmethod
    def _linear_and_gelu(
        self, value: str, source: str, prefix: str, inputs: int, outputs: int
    ) -> str:
        """``gelu(linear(value))``, with the exact error function: [T, inputs] to [T, outputs]."""

    @abstractmethod
    def _add_and_normalize(
        self, values: Sequence[str], sum_name: str, source: str, name: str
    ) -> str:
        """``LayerNorm(a + b)``: [T, H]."""

    def _dense(self, hidden: str) -> None:
        """The CLS row of each text, L2-normalised in FP32 whatever the trunk's precision."""
        n = self._nodes
        n("Gather", hidden, "starts", axis=0, name="cls")
        n("Cast", "cls", to=TensorProto.FLOAT, name="cls_fp32")
        self._normalized("cls_fp32", "", DENSE.name)

    def _normalized(self, vectors: str, prefix: str, name: str) -> str:
        """Rows of FP32, brought to length 1 as PyTorch does."""
        n = self._nodes
        epsilon = self._constant("epsilon", np.array(_NORMALIZE_EPSILON, np.float32))
        norm = n("ReduceL2", vectors, axes=[1], keepdims=1, name=f"{prefix}norm")
        safe_norm = n("Max", norm, epsilon, name=f"{prefix}safe_norm")
        return n("Div", vectors, safe_norm, name=name)

    def _linear_weights(
        self, sources: Sequence[str], name: str, inputs: int, outputs: int
    ) -> tuple[str, str]:
        """Weight [inputs, outputs] and bias; several sources are one matrix, side by side."""
        weight = self._weight(
            f"{name}_weight",
            lambda: (
                np.concatenate(
                    [self._tensor(f"{source}.weight", outputs, inputs) for source in sources]
                ).T
            ),
        )
        bias = self._weight(
            f"{name}_bias",
            lambda: np.concatenate([self._tensor(f"{source}.bias", outputs) for source in sources]),
        )
        return weight, bias

    def _linear(
        self, value: str, sources: Sequence[str], name: str, inputs: int, outputs: int
    ) -> str:
        """``value @ W + b``."""
        weight, bias = self._linear_weights(sources, name, inputs, outputs)
        # Not a Gemm: ONNX Runtime makes one of the two itself, and OpenVINO is faster without.
        product = self._nodes("MatMul", value, weight, name=f"{name}_product")
        return self._nodes("Add", product, bias, name=name)

    def _norm_weights(self, source: str, name: str) -> tuple[str, str]:
        """Scale and shift of a layer norm."""
        size = self._config.hidden_size
        weight = self._weight(f"{name}_weight", lambda: self._tensor(f"{source}.weight", size))
        bias = self._weight(f"{name}_bias", lambda: self._tensor(f"{source}.bias", size))
        return weight, bias

    def _tensor(self, name: str, *shape: int) -> npt.NDArray[np.float32]:
        return self._checkpoint.tensor(name, shape)

    def _constant(self, name: str, value: npt.NDArray[np.generic]) -> str:
        """A small initializer, kept in the graph itself."""
        if name not in self._initializers:
            self._initializers[name] = onnx.numpy_helper.from_array(value, name)
        return name

    def _weight(self, name: str, read: Callable[[], npt.NDArray[np.float32]]) -> str:
        """A weight in the graph's precision, in the data file."""
        self._initializers[name] = self._weights.stored(name, read)
        return name
