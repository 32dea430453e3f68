"""The model of a run: a checkpoint for the peers, and its repository for us."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from bgem3_bench.model_shape import TrunkShape
from bgem3_bench.plan import Model
from bgem3_bench.repositories import (
    DEMO_NOTE,
    TRUE_SHAPE_NOTE,
    demo_repository,
    exported_repository,
    true_shape_repository,
)
from bgem3_bench.true_shape_checkpoint import true_shape_checkpoint
from bgem3_export.source import DEMO, find_source


@dataclass(frozen=True)
class BenchModel:
    """What is measured, in both forms."""

    model: Model
    repository: Path


def true_shape_model(repository: Path | None, *, int8: bool) -> BenchModel:
    """Return random weights of BGE-M3's shape, made and exported where they are not there.

    Args:
        repository: What `bgem3 export` has made of them; None for the one in the cache folder.
        int8: Whether that one is to have an INT8 trunk too.

    Raises:
        subprocess.CalledProcessError: The export failed, and has said why on standard error.
    """
    checkpoint = true_shape_checkpoint()
    model = Model("true shape", TRUE_SHAPE_NOTE, checkpoint, TrunkShape.read(checkpoint))
    return BenchModel(model, repository or true_shape_repository(int8=int8))


def named_model(name: str, repository: Path | None, *, int8: bool) -> BenchModel:
    """Return the model that `bgem3 export` knows by this name, exported where it is not.

    Args:
        name: A folder, a hub name or "demo".
        repository: What `bgem3 export` has made of it; None for one in the cache folder.
        int8: Whether that one is to have an INT8 trunk too.

    Raises:
        BgeM3Error: There is no such checkpoint, or it cannot be fetched.
        subprocess.CalledProcessError: The export failed, and has said why on standard error.
    """
    source = find_source(name)
    shape = TrunkShape.read(source.directory)
    if name == DEMO:
        model = Model("demo model", DEMO_NOTE, source.directory, shape)
        return BenchModel(model, repository or demo_repository(int8=int8))
    note = DEMO_NOTE if source.is_demo else ""
    model = Model(source.name, note, source.directory, shape)
    folder = re.sub(r"\W+", "-", source.name).strip("-")
    folder = f"{folder}-{source.revision[:12]}"
    return BenchModel(model, repository or exported_repository(name, folder, int8=int8))
