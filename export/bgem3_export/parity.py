"""Holds an exported version to its contract and to the checkpoint it was made from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Literal

import numpy as np
import onnx
import torch

from bgem3_backend.colbert import ColbertHead
from bgem3_backend.contract import TRUNK, Tensor
from bgem3_backend.heads import LinearHead
from bgem3_backend.onnx_trunk import OnnxTrunk
from bgem3_backend.packed_texts import PackedTexts
from bgem3_backend.settings import BackendSettings
from bgem3_backend.sparse import SparseHead
from bgem3_backend.text_tokenizer import TextTokenizer, Truncation
from bgem3_export.checkpoint import Checkpoint
from bgem3_export.errors import ParityError
from bgem3_export.parity_report import OutputParity, ParityReport, Tolerance
from bgem3_export.reference import FloatArray, Reference, Representations
from bgem3_export.reference_texts import REFERENCE_TEXTS, long_reference_text
from bgem3_export.trunk_graph import GRAPH_FILE, Precision

Device = Literal["cpu", "cuda"]

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


def check_graph_contract(graph: Path, hidden_size: int, precision: Precision) -> None:
    """Hold the graph's inputs and outputs to the contract: names, types, dynamic axes, widths.

    Raises:
        ParityError: The graph's interface is another one.
    """
    model = onnx.load_model(str(graph), load_external_data=False)
    element = {"INT32": "int32", "FP32": "float", "FP16": "float16"}
    hidden: Literal["FP32", "FP16"] = "FP32" if precision == "fp32" else "FP16"

    def described(tensor: Tensor) -> str:
        kind = hidden if tensor.datatype == "HIDDEN" else tensor.datatype
        axes = {"N": "texts", "T": "tokens", "H": str(hidden_size)}
        return f"{tensor.name}: {element[kind]} [{', '.join(axes[dim] for dim in tensor.dims)}]"

    def found(value: onnx.ValueInfoProto) -> str:
        tensor = value.type.tensor_type
        name = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
        dims = ", ".join(dim.dim_param or str(dim.dim_value) for dim in tensor.shape.dim)
        return f"{value.name}: {name} [{dims}]"

    expected = [described(tensor) for tensor in (*TRUNK.inputs, *TRUNK.outputs)]
    actual = [found(value) for value in (*model.graph.input, *model.graph.output)]
    if expected != actual:
        raise ParityError(
            f"the graph's interface is {'; '.join(actual)}, and must be {'; '.join(expected)}"
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
    one mixed batch. The other side is PyTorch, each text alone.

    Args:
        checkpoint: What the export was made from.
        trunk_directory: Holds the graph.
        tokenizer_file: The exported one.
        heads: The exported files of "sparse" and "colbert".
        precision: Selects the tolerances.
        device: Where both sides run.
        on_text: Called with (texts compared, texts in all).

    Returns:
        The figures, not yet judged: see :meth:`ParityReport.check`.
    """
    texts = [*REFERENCE_TEXTS, long_reference_text(_LONG_TEXT_TOKENS)]
    tokenizer = TextTokenizer(tokenizer_file)
    limit = min(_LONG_TEXT_TOKENS, checkpoint.config.max_length_tokens)
    packed = tokenizer.pack(tokenizer.encode(texts), Truncation(limit)).texts

    exported = _exported(checkpoint, packed, trunk_directory / GRAPH_FILE, heads, device)
    reference = Reference(checkpoint, device)
    differences = _Differences()
    for number, actual in enumerate(exported):
        start = packed.starts[number]
        differences.add(reference(packed.input_ids[start : start + packed.lengths[number]]), actual)
        on_text(number + 1, len(texts))
    return ParityReport(
        texts=len(texts),
        tokens=int(packed.input_ids.size),
        outputs=differences.outputs(TOLERANCES[precision]),
    )


def _exported(
    checkpoint: Checkpoint, packed: PackedTexts, graph: Path, heads: dict[str, Path], device: Device
) -> Iterator[Representations]:
    """Run what will serve on all texts at once, and take the answers apart again."""
    settings = BackendSettings()
    trunk = OnnxTrunk(
        graph,
        threads=settings.trunk_threads,
        microbatch_tokens=settings.microbatch_tokens,
        device=device,
    )
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


class _Differences:
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

    def outputs(self, tolerances: dict[str, Tolerance]) -> dict[str, OutputParity]:
        """Return the extremes; NaN anywhere stays NaN."""
        return {
            name: OutputParity(
                smallest_cosine=float(np.min(self._cosines[name])),
                largest_difference=float(np.max(self._differences[name])),
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
