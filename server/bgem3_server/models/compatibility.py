"""Whether an export can take the place of what is served."""

from __future__ import annotations

from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from bgem3_backend.contract import ENSEMBLE, Model
from bgem3_export.errors import RepositoryError
from bgem3_export.file_hash import file_sha256
from bgem3_export.manifest import Manifest, ModelShape
from bgem3_server.models.errors import IncompatibleModelError
from bgem3_server.models.folders import STEPS

_SAME: tuple[str, ...] = ("hidden_size", "colbert_size", "vocabulary_size")
"""What callers see of a model: vectors of other sizes, or of other tokens, do not compare."""


def read_export(directory: Path) -> Manifest:
    """Read an export, and hold its newest version to its manifest and to the tensor contract.

    Raises:
        RepositoryError: It is no export, or of another format.
        IncompatibleModelError: A file is missing or differs, or its models take or give something
            else than this release's.
    """
    manifest = Manifest.read(directory)
    for name, expected in manifest.versions[manifest.newest].files.items():
        path = directory / name
        try:
            found = file_sha256(path)
        except OSError as error:
            raise IncompatibleModelError(
                f"{path} cannot be read: {error.strerror}; copy the export again"
            ) from error
        if found != expected:
            raise IncompatibleModelError(
                f"{path} is damaged: its SHA-256 is {found}, and the manifest says {expected}; "
                "copy the export again"
            )
    _check_tensors(directory, ENSEMBLE)
    for model in STEPS:
        _check_tensors(directory, model)
    return manifest


def check_replaces(served: ModelShape, export: ModelShape, directory: Path) -> None:
    """Refuse an export whose vectors cannot stand beside those that callers have stored.

    Raises:
        IncompatibleModelError: Its sizes or its vocabulary differ.
    """
    differing = [
        f"{name} {getattr(export, name)} in place of {getattr(served, name)}"
        for name in _SAME
        if getattr(export, name) != getattr(served, name)
    ]
    if differing:
        raise IncompatibleModelError(
            f"{directory} is another model than the one that is served: {', '.join(differing)}. "
            "To serve both, load it with --keep-serving, or start a 'bgem3 serve' of its own"
        )


def _check_tensors(directory: Path, model: Model) -> None:
    """Hold one model's inputs and outputs, those of its main configuration, to the contract."""
    path = directory / model.name / "config.pbtxt"
    try:
        config = text_format.Parse(
            path.read_text(encoding="utf-8"),
            model_config_pb2.ModelConfig(),
            allow_unknown_field=True,
        )
    except FileNotFoundError as error:
        raise IncompatibleModelError(
            f"{directory} has no {model.name}: it was exported by another release; export again "
            "with this one"
        ) from error
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise RepositoryError(f"{path} is damaged: {error}; export again") from error
    for kind, there, here in (
        ("takes", config.input, model.inputs),
        ("gives", config.output, model.outputs),
    ):
        names = {tensor.name for tensor in there}
        wanted = {tensor.name for tensor in here}
        if names != wanted:
            raise IncompatibleModelError(
                f"{model.name} of {directory} {kind} {', '.join(sorted(names))}, and this release "
                f"expects {', '.join(sorted(wanted))}: export again with this release"
            )
