"""A checkpoint of BGE-M3's true shape with random weights: its memory and speed, not its meaning.

``python -m bgem3_bench.true_shape_checkpoint DIR`` writes 2.3 GB. The layout is BAAI/bge-m3's, the
tokenizer the demo model's; the same seed gives the same bytes.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.progress import Progress

from bgem3_client.cache_folder import cache_folder
from bgem3_export.checkpoint import (
    COLBERT_HEAD_FILE,
    CONFIG_FILE,
    SAFETENSORS_FILE,
    SPARSE_HEAD_FILE,
)
from bgem3_export.demo_model import demo_model

HIDDEN: Final = 1024
LAYERS: Final = 24
HEADS: Final = 16
INTERMEDIATE: Final = 4096
VOCABULARY: Final = 250_002
# 8,192 tokens behind the padding position.
POSITIONS: Final = 8194

# Names the kept directory: to be raised when what is written changes.
_EDITION: Final = 1
_PAD_ID: Final = 1
# XLM-RoBERTa's initialisation. With it the projections of a layer-normed state have a deviation of
# 0.02 × √1024 = 0.64, and attention and layer norms see numbers like those of a trained model.
_DEVIATION: Final = 0.02
# Half of all sparse weights are then positive, most below 0.3.
_SPARSE_DEVIATION: Final = 0.004
_TOKENIZER_FILES: Final = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "sentencepiece.bpe.model",
)
_ROWS_AT_A_TIME: Final = 16_384

Shape = tuple[int, ...]


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option("--seed", type=int, default=0, show_default=True)
def main(directory: Path, seed: int) -> None:
    """Write a checkpoint of BGE-M3's shape with random weights to DIRECTORY."""
    write_true_shape_checkpoint(directory, seed)
    click.echo(directory)


def true_shape_checkpoint() -> Path:
    """Return the checkpoint's directory in the user's cache, written on the first call."""
    directory = cache_folder() / "benchmarks" / f"true-shape-checkpoint-{_EDITION}"
    if not directory.is_dir():
        # Written beside and renamed: a directory that is there is complete.
        building = directory.with_name(f".{directory.name}.building")
        shutil.rmtree(building, ignore_errors=True)
        write_true_shape_checkpoint(building)
        building.rename(directory)
    return directory


def write_true_shape_checkpoint(directory: Path, seed: int = 0) -> None:
    """Write all files of the checkpoint; no more than a piece of it is ever in memory.

    Args:
        directory: Created when it is missing; files in it are replaced.
        seed: Decides all weights.
    """
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer = demo_model(progress=lambda step: click.echo(f"demo model: {step}", err=True))
    for name in _TOKENIZER_FILES:
        shutil.copyfile(tokenizer / name, directory / name)
    generator = np.random.default_rng(seed)
    for file, rows, deviation in (
        (SPARSE_HEAD_FILE, 1, _SPARSE_DEVIATION),
        (COLBERT_HEAD_FILE, HIDDEN, _DEVIATION),
    ):
        state = {
            "weight": torch.from_numpy(_normal(generator, (rows, HIDDEN), deviation)),
            "bias": torch.zeros(rows),
        }
        torch.save(state, directory / file)
    _write_safetensors(directory / SAFETENSORS_FILE, generator)
    (directory / CONFIG_FILE).write_text(json.dumps(_config(), indent=2) + "\n", encoding="utf-8")


def _write_safetensors(path: Path, generator: np.random.Generator) -> None:
    """Write the trunk a piece at a time; the library's own writer wants it whole, and copies it.

    Format: the header's length (8 bytes, little-endian), the header in JSON, the tensors.
    """
    shapes = dict(_shapes())
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        begin, end = end, end + 4 * int(np.prod(shape))
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    with path.open("wb") as file, Progress(console=Console(stderr=True)) as progress:
        weights = progress.add_task("random weights", total=end)
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        for name, shape in shapes.items():
            for piece in _pieces(name, shape, generator):
                file.write(piece.data)
                progress.update(weights, advance=piece.nbytes)


def _pieces(
    name: str, shape: Shape, generator: np.random.Generator
) -> Iterator[npt.NDArray[np.float32]]:
    """Yield the rows of one tensor."""
    if "LayerNorm" in name:
        yield np.full(shape, 1 if name.endswith("weight") else 0, np.float32)
        return
    for begin in range(0, shape[0], _ROWS_AT_A_TIME):
        rows = min(_ROWS_AT_A_TIME, shape[0] - begin)
        yield _normal(generator, (rows, *shape[1:]), _DEVIATION)


def _normal(
    generator: np.random.Generator, shape: Shape, deviation: float
) -> npt.NDArray[np.float32]:
    values = generator.standard_normal(shape, np.float32)
    values *= np.float32(deviation)
    return values


def _shapes() -> Iterator[tuple[str, Shape]]:
    """Yield name and shape of every weight of ``XLMRobertaModel``."""
    yield "embeddings.word_embeddings.weight", (VOCABULARY, HIDDEN)
    yield "embeddings.position_embeddings.weight", (POSITIONS, HIDDEN)
    yield "embeddings.token_type_embeddings.weight", (1, HIDDEN)
    yield from _pair("embeddings.LayerNorm", (HIDDEN,))
    for number in range(LAYERS):
        layer = f"encoder.layer.{number}"
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            yield from _pair(f"{layer}.attention.{part}", (HIDDEN, HIDDEN))
        yield from _pair(f"{layer}.attention.output.LayerNorm", (HIDDEN,))
        yield from _pair(f"{layer}.intermediate.dense", (INTERMEDIATE, HIDDEN))
        yield from _pair(f"{layer}.output.dense", (HIDDEN, INTERMEDIATE))
        yield from _pair(f"{layer}.output.LayerNorm", (HIDDEN,))
    yield from _pair("pooler.dense", (HIDDEN, HIDDEN))


def _pair(name: str, weight: Shape) -> Iterator[tuple[str, Shape]]:
    yield f"{name}.weight", weight
    yield f"{name}.bias", weight[:1]


def _config() -> dict[str, Any]:
    """Return ``config.json`` as BAAI/bge-m3 has it."""
    return {
        "architectures": ["XLMRobertaModel"],
        "attention_probs_dropout_prob": 0.1,
        "bos_token_id": 0,
        "classifier_dropout": None,
        "eos_token_id": 2,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "hidden_size": HIDDEN,
        "initializer_range": _DEVIATION,
        "intermediate_size": INTERMEDIATE,
        "layer_norm_eps": 1e-05,
        "max_position_embeddings": POSITIONS,
        "model_type": "xlm-roberta",
        "num_attention_heads": HEADS,
        "num_hidden_layers": LAYERS,
        "output_past": True,
        "pad_token_id": _PAD_ID,
        "position_embedding_type": "absolute",
        "torch_dtype": "float32",
        "type_vocab_size": 1,
        "use_cache": True,
        "vocab_size": VOCABULARY,
    }


if __name__ == "__main__":
    main()
