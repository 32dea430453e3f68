"""From a checkpoint to a published version of a model repository."""

from __future__ import annotations

import hashlib
import platform
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Final, Literal, Protocol

from safetensors.numpy import save

from bgem3_backend.contract import (
    COLBERT_HEAD,
    COLBERT_ROWS,
    COLUMNS,
    LONGEST,
    MAX_POSITIONS_TOKENS,
    MODELS,
    SPARSE,
    TOKEN_TEXTS,
    TOKENIZER,
    TRUNK,
    TRUNK_WITH_HEADS,
)
from bgem3_backend.text_tokenizer import TextTokenizer
from bgem3_backend.token_texts import TABLE_FILE, TokenTexts
from bgem3_export.checkpoint import TOKENIZER_FILE, Checkpoint, LinearHead
from bgem3_export.errors import DeviceError, RepositoryError
from bgem3_export.file_hash import file_sha256
from bgem3_export.int8.requirements import check_processor, int8_bytes
from bgem3_export.manifest import MANIFEST_FILE, EngineTarget, Manifest, ModelShape, Version
from bgem3_export.parity import Device, check_graph_contract, measure_parity
from bgem3_export.parity_report import ParityReport
from bgem3_export.publishing import check_free_space, exclusive, published
from bgem3_export.source import Source
from bgem3_export.templates import render_templates, templates_directory
from bgem3_export.tensorrt.length_mix import LengthMix, batch_shapes
from bgem3_export.tensorrt.plan import PlanBuilder
from bgem3_export.trunk_graph import (
    CUDA_GRAPH_FILE,
    CUDA_HEADS_GRAPH_FILE,
    GRAPH_FILE,
    HEADS_GRAPH_FILE,
    TENSORRT_GRAPH_FILE,
    Precision,
    graph_bytes,
    write_trunk_graph,
)

Engine = Literal["tensorrt"]

GRAPHS: Final = {
    GRAPH_FILE: (TRUNK.inputs, TRUNK.outputs),
    CUDA_GRAPH_FILE: (TRUNK.inputs, TRUNK.outputs),
    TENSORRT_GRAPH_FILE: ((*TRUNK.inputs, COLUMNS, LONGEST), TRUNK.outputs),
    HEADS_GRAPH_FILE: (TRUNK.inputs, TRUNK_WITH_HEADS.outputs),
    CUDA_HEADS_GRAPH_FILE: ((*TRUNK.inputs, COLBERT_ROWS), TRUNK_WITH_HEADS.outputs),
}
"""What each graph takes, and what it gives."""

_TOOLS = ("bgem3-triton", "onnx", "onnxruntime", "onnxruntime-gpu", "torch", "transformers")

# Tokenizer, heads and configurations, generously.
_OTHER_FILES_BYTES = 64 * 2**20


class ExportProgress(Protocol):
    """What an export tells while it is at work."""

    def step(self, name: str, total: int) -> None:
        """A step begins; it has ``total`` parts."""

    def part(self, done: int, total: int) -> None:
        """So many parts of the step are done."""


@dataclass(frozen=True)
class ExportSummary:
    """What was published, or found to be there already."""

    repository: Path
    version: str
    manifest: Manifest
    reused: bool

    @property
    def parity(self) -> ParityReport:
        """The comparison with the checkpoint."""
        return self.manifest.versions[self.version].parity


def export_checkpoint(
    source: Source,
    repository: Path,
    precision: Precision,
    device: Device,
    progress: ExportProgress,
    *,
    reuse: bool = False,
    length_mix: LengthMix = "passages",
    engine: Engine | None = None,
    int8: bool = False,
) -> ExportSummary:
    """Export a checkpoint as the next version of a repository.

    Args:
        source: The checkpoint.
        repository: A new folder, or a repository of the same shape and precision, which gets one
            more version.
        precision: Of the trunk.
        device: Where the export is compared with the checkpoint.
        progress: Is told how far it is.
        reuse: Whether to leave things as they are when the newest version was made from the same
            checkpoint by the same exporter.
        length_mix: What the profiles for TensorRT are planned for.
        engine: Whether an engine is built too, for the GPU of this machine.
        int8: Whether an INT8 trunk for CPUs is made too; ``precision`` is then "fp32".

    Raises:
        CheckpointError: The checkpoint is incomplete, misshapen or of another architecture.
        RepositoryError: The folder holds something else.
        DeviceError: The device cannot be used here.
        EngineError: The engine cannot be built here.
        DiskSpaceError: There is no room.
        ParityError: The export differs from the checkpoint; nothing was published.
        QuantizationError: The INT8 trunk does; nothing was published.
    """
    assert precision == "fp32" or not int8
    checkpoint = Checkpoint(source.directory)
    shape = _shape(checkpoint, precision, length_mix)
    existing = _existing(repository, shape)
    builder = PlanBuilder.here() if engine == "tensorrt" else None
    target = builder.target if builder else None
    if reuse and existing is not None and _is_current(existing, source, target, int8):
        return ExportSummary(repository, existing.newest, existing, reused=True)
    _check_device(device)
    weights_bytes = graph_bytes(checkpoint, precision)
    # A plan has its own copy of the weights.
    needed_bytes = weights_bytes * (1 if builder is None else 2) + _OTHER_FILES_BYTES
    if int8:
        check_processor()
        needed_bytes += int8_bytes(checkpoint.config)
    check_free_space(repository, needed_bytes)

    with exclusive(repository), published(repository) as build:
        # Again, now that nobody else can add a version.
        existing = _existing(repository, shape)
        number = str(int(existing.newest) + 1 if existing else 1)
        render_templates(shape, build, number)
        tokenizer_file = build / TOKENIZER.name / number / TOKENIZER_FILE
        shutil.copyfile(checkpoint.tokenizer_file, tokenizer_file)
        token_texts = TextTokenizer(tokenizer_file).token_texts(shape.vocabulary_size)
        TokenTexts(token_texts).write(build / TOKEN_TEXTS.name / number / TABLE_FILE)
        heads = {
            "sparse": _write_head(
                checkpoint.sparse_head, build / SPARSE.name / number / "sparse_linear.safetensors"
            ),
            "colbert": _write_head(
                checkpoint.colbert_head,
                build / COLBERT_HEAD.name / number / "colbert_linear.safetensors",
            ),
        }
        trunk_directory = build / TRUNK.name / number
        progress.step("writing the graph", checkpoint.config.layers)
        write_trunk_graph(checkpoint, trunk_directory, precision, progress.part)

        progress.step("comparing with the checkpoint", 1)
        for file, (inputs, outputs) in GRAPHS.items():
            check_graph_contract(
                trunk_directory / file,
                shape.hidden_size,
                precision,
                inputs,
                outputs,
                shape.colbert_size,
            )
        parity = measure_parity(
            checkpoint,
            trunk_directory,
            tokenizer_file,
            heads,
            precision,
            device,
            progress.part,
        )
        parity.check()
        if builder is not None:
            progress.step("building the engine, which takes minutes", 1)
            shapes = batch_shapes(length_mix, shape.max_length_tokens)
            builder.write(trunk_directory / TENSORRT_GRAPH_FILE, shapes, precision)
        quantization = None
        if int8:
            # Imported here: it needs OpenVINO, and nothing else does.
            from bgem3_export.int8.quantize import quantize_trunk

            quantization = quantize_trunk(
                checkpoint, trunk_directory, tokenizer_file, heads, progress
            )

        progress.step("writing the manifest", 1)
        versions = dict(existing.versions) if existing else {}
        versions[number] = Version(
            source=source.name,
            revision=source.revision,
            demo=source.is_demo,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            checked_on=device,
            exporter=exporter_hash(),
            tools=_tool_versions(),
            files=_file_hashes(build, number),
            parity=parity,
            engine=target,
            quantization=quantization,
        )
        manifest = Manifest(model=shape, versions=versions)
        (build / MANIFEST_FILE).unlink(missing_ok=True)
        manifest.write(build)
        progress.part(1, 1)
    return ExportSummary(repository, number, manifest, reused=False)


def exporter_hash() -> str:
    """Return a SHA-256 over everything that decides what an export writes."""
    package = Path(__file__).parent
    digest = hashlib.sha256()
    for path in [
        *sorted(package.glob("*.py")),
        *sorted((package / "int8").rglob("*.py")),
        *sorted((package / "tensorrt").rglob("*.py")),
        *sorted((package / "trunk_graph").rglob("*.py")),
        *sorted(templates_directory().rglob("*")),
    ]:
        if path.is_file() and path.suffix in (".py", ".pbtxt"):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _shape(checkpoint: Checkpoint, precision: Precision, length_mix: LengthMix) -> ModelShape:
    config = checkpoint.config
    # Heads first: a checkpoint without them fails here, before any work is done.
    colbert_size = checkpoint.colbert_head.weight.shape[0]
    assert checkpoint.sparse_head.weight.shape[0] == 1
    return ModelShape(
        hidden_size=config.hidden_size,
        colbert_size=colbert_size,
        vocabulary_size=config.vocabulary_size,
        max_length_tokens=min(MAX_POSITIONS_TOKENS, config.max_length_tokens),
        ignored_token_ids=checkpoint.special_token_ids(),
        precision=precision,
        length_mix=length_mix,
    )


def _existing(repository: Path, shape: ModelShape) -> Manifest | None:
    """Return the manifest of a repository that can take another version of this shape."""
    if not repository.exists() or (repository.is_dir() and not any(repository.iterdir())):
        return None
    if not repository.is_dir():
        raise RepositoryError(f"{repository} is a file; choose a folder for --output")
    manifest = Manifest.read(repository)
    differing = [
        f"{name} {getattr(manifest.model, name)} (there) and {getattr(shape, name)} (new)"
        for name in ModelShape.model_fields
        if getattr(manifest.model, name) != getattr(shape, name)
    ]
    if differing:
        raise RepositoryError(
            f"{repository} holds another model: {'; '.join(differing)}. All versions of a "
            "repository share their shape and precision: choose another folder for --output"
        )
    return manifest


def _is_current(
    manifest: Manifest, source: Source, target: EngineTarget | None, int8: bool
) -> bool:
    newest = manifest.versions[manifest.newest]
    return (newest.source, newest.revision, newest.exporter) == (
        source.name,
        source.revision,
        exporter_hash(),
    ) and (target in (None, newest.engine) and (not int8 or newest.quantization is not None))


def _check_device(device: Device) -> None:
    if device == "cpu":
        return
    import onnxruntime
    import torch

    if not torch.cuda.is_available():
        raise DeviceError(
            "--device cuda: PyTorch sees no NVIDIA GPU here; check the driver with nvidia-smi, "
            "or use --device cpu (the repository serves on GPUs all the same)"
        )
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        raise DeviceError(
            "--device cuda: this ONNX Runtime is for CPUs; install onnxruntime-gpu in place of "
            "onnxruntime, or use --device cpu (the repository serves on GPUs all the same)"
        )


def _write_head(head: LinearHead, path: Path) -> Path:
    # Not with save_file, which makes the file private, and a full disk an error of its own kind.
    path.write_bytes(save({"weight": head.weight, "bias": head.bias}))
    return path


def _file_hashes(repository: Path, version: str) -> dict[str, str]:
    return {
        str(path.relative_to(repository)): file_sha256(path)
        for model in MODELS
        for path in sorted((repository / model.name / version).rglob("*"))
        if path.is_file()
    }


def _tool_versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for tool in _TOOLS:
        try:
            versions[tool] = package_version(tool)
        except PackageNotFoundError:
            continue
    return versions
