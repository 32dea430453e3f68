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
from typing import Protocol

from safetensors.numpy import save

from bgem3_backend.contract import (
    COLBERT_HEAD,
    MAX_POSITIONS_TOKENS,
    MODELS,
    SPARSE,
    TOKEN_TEXTS,
    TOKENIZER,
    TRUNK,
)
from bgem3_backend.text_tokenizer import TextTokenizer
from bgem3_backend.token_texts import TABLE_FILE, TokenTexts
from bgem3_export.checkpoint import TOKENIZER_FILE, Checkpoint, LinearHead
from bgem3_export.errors import DeviceError, RepositoryError
from bgem3_export.manifest import MANIFEST_FILE, Manifest, ModelShape, Version
from bgem3_export.parity import Device, check_graph_contract, measure_parity
from bgem3_export.parity_report import ParityReport
from bgem3_export.publishing import check_free_space, exclusive, published
from bgem3_export.source import Source, file_sha256
from bgem3_export.templates import render_templates, templates_directory
from bgem3_export.trunk_graph import Precision, graph_bytes, write_trunk_graph

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

    Raises:
        CheckpointError: The checkpoint is incomplete, misshapen or of another architecture.
        RepositoryError: The folder holds something else.
        DeviceError: The device cannot be used here.
        DiskSpaceError: There is no room.
        ParityError: The export differs from the checkpoint; nothing was published.
    """
    checkpoint = Checkpoint(source.directory)
    shape = _shape(checkpoint, precision)
    existing = _existing(repository, shape)
    if reuse and existing is not None and _is_current(existing, source):
        return ExportSummary(repository, existing.newest, existing, reused=True)
    _check_device(device)
    check_free_space(repository, graph_bytes(checkpoint, precision) + _OTHER_FILES_BYTES)

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
        graph = write_trunk_graph(checkpoint, trunk_directory, precision, progress.part)

        progress.step("comparing with the checkpoint", 1)
        check_graph_contract(graph, shape.hidden_size, precision)
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
    for path in [*sorted(package.glob("*.py")), *sorted(templates_directory().rglob("*"))]:
        if path.is_file() and path.suffix in (".py", ".pbtxt"):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _shape(checkpoint: Checkpoint, precision: Precision) -> ModelShape:
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


def _is_current(manifest: Manifest, source: Source) -> bool:
    newest = manifest.versions[manifest.newest]
    return (newest.source, newest.revision, newest.exporter) == (
        source.name,
        source.revision,
        exporter_hash(),
    )


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
