"""The templates in ``model_repository/``, and how they become a model repository."""

from __future__ import annotations

import shutil
import string
from pathlib import Path

from bgem3_backend.contract import ENSEMBLE, MODELS
from bgem3_export.manifest import ModelShape

_HIDDEN_TYPES = {"fp32": "TYPE_FP32", "fp16": "TYPE_FP16"}

# The one version folder that the templates have.
_TEMPLATE_VERSION = "1"


def templates_directory() -> Path:
    """Return the folder of the templates: inside the installed package, or in a checkout."""
    installed = Path(__file__).parent / "model_repository"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "model_repository"


def render_templates(shape: ModelShape, repository: Path, version: str) -> None:
    """Write every ``config.pbtxt``, every profile and the Python files of one version.

    Args:
        shape: Fills the placeholders.
        repository: An existing folder; configurations in it are replaced.
        version: The version folder to make in each model.
    """
    values = {
        "hidden_size": shape.hidden_size,
        "colbert_size": shape.colbert_size,
        "hidden_type": _HIDDEN_TYPES[shape.precision],
        "max_length_tokens": shape.max_length_tokens,
        "vocabulary_size": shape.vocabulary_size,
        "ignored_token_ids": ",".join(map(str, shape.ignored_token_ids)),
    }
    for model in MODELS:
        source = templates_directory() / model.name
        for config in source.rglob("*.pbtxt"):
            target = repository / model.name / config.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            text = string.Template(config.read_text(encoding="utf-8")).substitute(values)
            # A new file, not new content: the old one may be linked to a published repository.
            target.unlink(missing_ok=True)
            target.write_text(text, encoding="utf-8")
        version_directory = repository / model.name / version
        if model is ENSEMBLE:
            # Triton wants the folder of a version, also where there is nothing to put in it.
            version_directory.mkdir(parents=True)
        else:
            shutil.copytree(
                source / _TEMPLATE_VERSION,
                version_directory,
                ignore=shutil.ignore_patterns("__pycache__"),
            )
