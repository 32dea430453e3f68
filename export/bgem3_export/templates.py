"""The templates in ``model_repository/``, and how they become a model repository."""

from __future__ import annotations

import shutil
import string
from pathlib import Path

from bgem3_backend.contract import COLBERT_ROWS, COLUMNS, ENSEMBLE, MODELS, TOKENIZER, Model, Tensor
from bgem3_export.manifest import ModelShape
from bgem3_export.tensorrt.length_mix import BATCH_REQUESTS, batch_shapes

_HIDDEN_TYPES = {"fp32": "TYPE_FP32", "fp16": "TYPE_FP16"}

TENSORRT_PROFILES = ("tensorrt", "tensorrt_plan")
"""By ONNX Runtime's TensorRT provider, and as a plan in Triton's TensorRT backend."""

HEADS_PROFILES = ("cpu_heads", "gpu_heads")
"""With the heads in the trunk's graph."""

# Written once, for both of them.
_HEADS_TEMPLATE = Path("configs/heads.pbtxt")

# For TensorRT the tokenizer also says how long the longest text is, and lets in what the engine
# takes; otherwise these two are as ever.
_OTHERWISE_FOR_TENSORRT = (ENSEMBLE, TOKENIZER)

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
    for model in MODELS:
        source = templates_directory() / model.name
        for template in source.rglob("*.pbtxt"):
            for place in _places(model, template.relative_to(source)):
                _render(template, repository / model.name / place, _values(shape, place.stem))
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


def _places(model: Model, template: Path) -> list[Path]:
    """Return the files that a template becomes, in the model's folder."""
    if template == _HEADS_TEMPLATE:
        return [template.with_stem(profile) for profile in HEADS_PROFILES]
    if template.stem == "config" and model in _OTHERWISE_FOR_TENSORRT:
        return [template, *(Path("configs", f"{profile}.pbtxt") for profile in TENSORRT_PROFILES)]
    return [template]


def _render(template: Path, target: Path, values: dict[str, object]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    text = string.Template(template.read_text(encoding="utf-8")).substitute(values)
    # A new file, not new content: the old one may be linked to a published repository.
    target.unlink(missing_ok=True)
    target.write_text(text, encoding="utf-8")


def _values(shape: ModelShape, profile: str) -> dict[str, object]:
    """What the placeholders of a profile stand for."""
    batches = batch_shapes(shape.length_mix, shape.max_length_tokens)
    values: dict[str, object] = {
        "hidden_size": shape.hidden_size,
        "colbert_size": shape.colbert_size,
        "hidden_type": _HIDDEN_TYPES[shape.precision],
        "max_length_tokens": shape.max_length_tokens,
        "vocabulary_size": shape.vocabulary_size,
        "ignored_token_ids": ",".join(map(str, shape.ignored_token_ids)),
        "max_text_tokens": shape.max_length_tokens,
        "request_limits": "",
        "columns_made": "",
        "columns_taken": "",
        "rows_made": "",
        "rows_taken": "",
        "batch_requests": BATCH_REQUESTS,
        "tensorrt_precision": shape.precision.upper(),
        "length_mix": shape.length_mix,
        "smallest_shapes": _shapes({name: size.minimum for name, size in batches.inputs.items()}),
        "usual_shapes": _shapes({name: size.usual for name, size in batches.inputs.items()}),
        "largest_shapes": _shapes({name: size.maximum for name, size in batches.inputs.items()}),
    }
    if profile in TENSORRT_PROFILES:
        limits = {
            "max_texts_per_request": batches.request_texts,
            "max_request_tokens": batches.request_tokens,
        }
        values |= {
            "max_text_tokens": batches.longest.maximum,
            "request_limits": "".join(
                f'\nparameters {{ key: "{name}" value: {{ string_value: "{limit}" }} }}'
                for name, limit in limits.items()
            ),
            "columns_made": _made(COLUMNS),
            "columns_taken": _taken(COLUMNS),
        }
    # On a CPU a Python model gives each request its rows.
    if profile == "gpu_heads":
        values |= {"rows_made": _made(COLBERT_ROWS), "rows_taken": _taken(COLBERT_ROWS)}
    return values


def _made(tensor: Tensor) -> str:
    """A line of the step that gives a tensor to other steps."""
    return f'\n      output_map {{ key: "{tensor.name}" value: "_{tensor.name}" }}'


def _taken(tensor: Tensor) -> str:
    """A line of a step that takes it."""
    return f'\n      input_map {{ key: "{tensor.name}" value: "_{tensor.name}" }}'


def _shapes(sizes: dict[str, int]) -> str:
    """As ONNX Runtime's TensorRT provider reads them: ``input_ids:1,lengths:1``."""
    return ",".join(f"{name}:{size}" for name, size in sizes.items())
