"""Holds an exported version to its contract and to the checkpoint it was made from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, Literal

import numpy as np
import onnx
import torch

from bgem3_backend.colbert import ColbertHead
from bgem3_backend.contract import (
    COLBERT,
    COLBERT_LENGTHS,
    DENSE,
    TOKEN_STATES,
    TOKEN_WEIGHTS,
    TRUNK,
    TRUNK_WITH_HEADS,
    Tensor,
)
from bgem3_backend.heads import LinearHead
from bgem3_backend.packed_texts import PackedTexts
from bgem3_backend.settings import BackendSettings
from bgem3_backend.sparse import SparseHead
from bgem3_backend.sparse_merge import SparseMerge
from bgem3_backend.text_tokenizer import TextTokenizer, Truncation
from bgem3_backend.trunk import Trunk
from bgem3_backend.trunk.engine import TrunkEngine
from bgem3_backend.trunk.onnx_engine import OnnxEngine
from bgem3_export.checkpoint import Checkpoint
from bgem3_export.errors import ParityError
from bgem3_export.parity_report import OutputParity, ParityReport, Tolerance
from bgem3_export.reference import FloatArray, Reference, Representations
from bgem3_export.reference_texts import REFERENCE_TEXTS, long_reference_text
from bgem3_export.trunk_graph import (
    CUDA_GRAPH_FILE,
    CUDA_HEADS_GRAPH_FILE,
    GRAPH_FILE,
    HEADS_GRAPH_FILE,
    Precision,
)

Device = Literal["cpu", "cuda"]

# What serves there.
_GRAPHS: Final[dict[Device, str]] = {"cpu": GRAPH_FILE, "cuda": CUDA_GRAPH_FILE}
_HEADS_GRAPHS: Final[dict[Device, str]] = {
    "cpu": HEADS_GRAPH_FILE,
    "cuda": CUDA_HEADS_GRAPH_FILE,
}

# Long enough for any error of positions or of attention's padding to show, short enough to be
# computed twice while somebody waits.
_LONG_TEXT_TOKENS: Final = 2048


TOLERANCES: Final[dict[Precision, dict[str, Tolerance]]] = {
    "fp32": {
        "dense": Tolerance(smallest_cosine=0.99999, largest_difference=1e-4),
        "hidden_states": Tolerance(smallest_cosine=0.99999, largest_difference=None),
        "sparse": Tolerance(smallest_cosine=0.99999, largest_difference=1e-4),
        "colbert": Tolerance(smallest_cosine=0.99999, largest_difference=1e-3),
    },
    "fp16": {
        "dense": Tolerance(smallest_cosine=0.999, largest_difference=1e-2),
        "hidden_states": Tolerance(smallest_cosine=0.999, largest_difference=None),
        "sparse": Tolerance(smallest_cosine=0.999, largest_difference=2e-2),
        "colbert": Tolerance(smallest_cosine=0.999, largest_difference=2e-2),
    },
}


def check_graph_contract(
    graph: Path,
    hidden_size: int,
    precision: Precision,
    inputs: Sequence[Tensor] = TRUNK.inputs,
    outputs: Sequence[Tensor] = TRUNK.outputs,
    colbert_size: int | None = None,
) -> None:
    """Hold a graph's inputs and outputs to the contract: names, types, dynamic axes, widths.

    Args:
        graph: The file.
        hidden_size: Of the checkpoint.
        precision: Of the hidden states.
        inputs: What this graph takes.
        outputs: What it gives.
        colbert_size: Of the checkpoint, where the graph gives ColBERT vectors.

    Raises:
        ParityError: The graph's interface is another one.
    """
    model = onnx.load_model(str(graph), load_external_data=False)
    element = {"INT32": "int32", "FP32": "float", "FP16": "float16"}
    hidden: Literal["FP32", "FP16"] = "FP32" if precision == "fp32" else "FP16"

    def described(tensor: Tensor) -> tuple[str, list[str]]:
        kind = hidden if tensor.datatype == "HIDDEN" else tensor.datatype
        axes = {
            "N": "texts",
            "T": "tokens",
            "L": tensor.name,
            "C": "rows",
            "H": str(hidden_size),
            "D": str(colbert_size),
        }
        return f"{tensor.name}: {element[kind]}", [axes[dim] for dim in tensor.dims]

    def found(value: onnx.ValueInfoProto) -> tuple[str, list[str]]:
        tensor = value.type.tensor_type
        name = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
        return f"{value.name}: {name}", [
            str(dim.dim_value) if dim.HasField("dim_value") else dim.dim_param
            for dim in tensor.shape.dim
        ]

    def fits(actual: tuple[str, list[str]], expected: tuple[str, list[str]]) -> bool:
        """A dynamic axis may go without a name."""
        return (
            actual[0] == expected[0]
            and len(actual[1]) == len(expected[1])
            and all(
                axis == wanted or not (axis or wanted.isdecimal())
                for axis, wanted in zip(actual[1], expected[1], strict=True)
            )
        )

    def written(interface: Sequence[tuple[str, list[str]]]) -> str:
        return "; ".join(f"{name} [{', '.join(axes)}]" for name, axes in interface)

    expected = [described(tensor) for tensor in (*inputs, *outputs)]
    actual = [found(value) for value in (*model.graph.input, *model.graph.output)]
    if len(actual) != len(expected) or not all(map(fits, actual, expected)):
        raise ParityError(
            f"the interface of {graph.name} is {written(actual)}, and must be {written(expected)}"
        )


def measure_parity(
    checkpoint: Checkpoint,
    trunk_directory: Path,
    tokenizer_file: Path,
    heads: dict[str, Path],
    precision: Precision,
    device: Device,
    on_text: Callable[[int, int], None] = lambda done, total: None,
) -> ParityReport:
    """Compare the exported files with the checkpoint on the reference texts.

    The exported side is what will serve: the same tokenizer, trunk runner and heads, all texts in
    one mixed batch; once with the heads in Python and once with those in the graph. The other side
    is PyTorch, each text alone.

    Args:
        checkpoint: What the export was made from.
        trunk_directory: Holds the graphs.
        tokenizer_file: The exported one.
        heads: The exported files of "sparse" and "colbert".
        precision: Selects the tolerances.
        device: Where both sides run.
        on_text: Called with (texts compared, texts in all).

    Returns:
        The figures of whichever of the two is further off, not yet judged: see
        :meth:`ParityReport.check`.
    """
    packed = packed_reference_texts(checkpoint, tokenizer_file)

    def engine(graphs: dict[Device, str]) -> OnnxEngine:
        return OnnxEngine(trunk_directory / graphs[device], BackendSettings().trunk_threads, device)

    # One after the other: each engine may hold a copy of the weights.
    exported = (
        list(exported_representations(engine(_GRAPHS), checkpoint, packed, heads, device)),
        list(representations_of_one_graph(engine(_HEADS_GRAPHS), checkpoint, packed)),
    )
    reference = Reference(checkpoint, device)
    differences = Differences()
    for number, both in enumerate(zip(*exported, strict=True)):
        start = packed.starts[number]
        expected = reference(packed.input_ids[start : start + packed.lengths[number]])
        for actual in both:
            differences.add(expected, actual)
        on_text(number + 1, packed.lengths.size)
    return ParityReport(
        texts=packed.lengths.size,
        tokens=int(packed.input_ids.size),
        outputs=differences.outputs(TOLERANCES[precision]),
    )


def packed_reference_texts(checkpoint: Checkpoint, tokenizer_file: Path) -> PackedTexts:
    """Return the texts that an export is judged by, a long one last, as the checkpoint's tokens."""
    texts = [*REFERENCE_TEXTS, long_reference_text(_LONG_TEXT_TOKENS)]
    tokenizer = TextTokenizer(tokenizer_file)
    limit = min(_LONG_TEXT_TOKENS, checkpoint.config.max_length_tokens)
    return tokenizer.pack(tokenizer.encode(texts), Truncation(limit)).texts


def exported_representations(
    engine: TrunkEngine,
    checkpoint: Checkpoint,
    packed: PackedTexts,
    heads: dict[str, Path],
    device: Device,
) -> Iterator[Representations]:
    """Run what will serve on all texts at once, and take the answers apart again."""
    trunk = Trunk(engine, BackendSettings().microbatch_tokens)
    ((_, output),) = trunk.run([packed], lambda tokens, padded_tokens: None)

    place = torch.device(device)
    states = torch.from_numpy(output.hidden_states).to(place)
    ids = torch.from_numpy(packed.input_ids).to(place).long()
    lengths = torch.from_numpy(packed.lengths).to(place).long()
    sparse_head = SparseHead(
        LinearHead.load(heads["sparse"], place),
        checkpoint.special_token_ids(),
        checkpoint.config.vocabulary_size,
    )
    sparse = sparse_head(states, ids, lengths)
    colbert = ColbertHead(LinearHead.load(heads["colbert"], place))(states, lengths)

    by_text = zip(
        output.dense,
        np.split(output.hidden_states, packed.starts[1:]),
        torch.split(sparse.indices.cpu(), sparse.lengths.tolist()),
        torch.split(sparse.values.cpu(), sparse.lengths.tolist()),
        torch.split(colbert.vectors.cpu(), colbert.lengths.tolist()),
        strict=True,
    )
    for dense, hidden_states, indices, values, vectors in by_text:
        yield Representations(
            dense=dense,
            hidden_states=hidden_states.astype(np.float32),
            sparse=dict(zip(indices.tolist(), values.tolist(), strict=True)),
            colbert=vectors.numpy(),
        )


def representations_of_one_graph(
    engine: TrunkEngine, checkpoint: Checkpoint, packed: PackedTexts
) -> Iterator[Representations]:
    """Run a graph that holds the heads on all texts at once, and take the answers apart again."""
    trunk = Trunk(engine, BackendSettings().microbatch_tokens)
    outputs = TRUNK_WITH_HEADS.outputs
    ((_, output),) = trunk.run([packed], lambda tokens, padded_tokens: None, outputs)
    arrays = output.arrays
    merge = SparseMerge(checkpoint.special_token_ids(), checkpoint.config.vocabulary_size)
    sparse = merge(arrays[TOKEN_WEIGHTS.name], packed)
    by_text = zip(
        arrays[DENSE.name],
        np.split(arrays[TOKEN_STATES.name], packed.starts[1:]),
        np.split(sparse.indices, np.cumsum(sparse.lengths)[:-1]),
        np.split(sparse.values, np.cumsum(sparse.lengths)[:-1]),
        np.split(arrays[COLBERT.name], np.cumsum(arrays[COLBERT_LENGTHS.name])[:-1]),
        strict=True,
    )
    for dense, hidden_states, indices, values, vectors in by_text:
        yield Representations(
            dense=dense,
            hidden_states=hidden_states,
            sparse=dict(zip(indices.tolist(), values.tolist(), strict=True)),
            colbert=vectors,
        )


class Differences:
    """The largest difference and the smallest cosine of each output, text by text."""

    def __init__(self) -> None:
        self._cosines: dict[str, list[float]] = {}
        self._differences: dict[str, list[float]] = {}

    def add(self, expected: Representations, actual: Representations) -> None:
        """Compare one text."""
        self._add("dense", expected.dense[None], actual.dense[None])
        self._add("hidden_states", expected.hidden_states, actual.hidden_states)
        self._add("colbert", expected.colbert, actual.colbert)
        # An id that one side lacks has weight 0 there; two texts without any are equal.
        ids = sorted(expected.sparse.keys() | actual.sparse.keys()) or [0]
        self._add(
            "sparse",
            np.array([[expected.sparse.get(i, 0.0) for i in ids]], np.float32),
            np.array([[actual.sparse.get(i, 0.0) for i in ids]], np.float32),
        )

    def smallest_cosine(self, output: str) -> float:
        """Of all rows that were compared; NaN anywhere stays NaN."""
        return float(np.min(self._cosines[output]))

    def largest_difference(self, output: str) -> float:
        """Between any two numbers; NaN anywhere stays NaN."""
        return float(np.max(self._differences[output]))

    def outputs(self, tolerances: dict[str, Tolerance]) -> dict[str, OutputParity]:
        """Return the extremes of each output."""
        return {
            name: OutputParity(
                smallest_cosine=self.smallest_cosine(name),
                largest_difference=self.largest_difference(name),
                tolerance=tolerances[name],
            )
            for name in self._cosines
        }

    def _add(self, name: str, expected: FloatArray, actual: FloatArray) -> None:
        """Compare rows with rows: [n, width]."""
        expected, actual = expected.astype(np.float64), actual.astype(np.float64)
        norms = np.linalg.norm(expected, axis=1) * np.linalg.norm(actual, axis=1)
        cosines = (expected * actual).sum(axis=1) / np.maximum(norms, np.finfo(np.float64).tiny)
        # Two rows of zeros have no direction to differ in.
        cosines[~expected.any(axis=1) & ~actual.any(axis=1)] = 1.0
        self._cosines.setdefault(name, []).append(float(cosines.min()))
        self._differences.setdefault(name, []).append(float(np.abs(expected - actual).max()))
