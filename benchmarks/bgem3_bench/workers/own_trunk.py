"""The trunk of this package, by engine: the one place here that knows how it is put together."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, get_args

from bgem3_backend.errors import TrunkEngineError
from bgem3_backend.settings import BackendSettings
from bgem3_backend.trunk.choice import load_engine
from bgem3_backend.trunk.engine import EngineName
from bgem3_backend.trunk.trunk import Trunk
from bgem3_bench.workers.worker_protocol import Unsupported

ENGINES: Final[tuple[str, ...]] = get_args(EngineName)
"""Every engine that the package has, each a library and a precision."""
AUTO: Final = "auto"
REFERENCE_ENGINE: Final = "onnxruntime-fp32"
"""What accuracy is measured against."""


def ask_for_engine(engine: str, threads: int) -> None:
    """Ask for an engine, or AUTO, in the environment of this process and of those it starts."""
    os.environ["BGEM3_TRUNK_ENGINE"] = engine
    os.environ["BGEM3_TRUNK_THREADS"] = str(threads)


def load_trunk(graph: Path) -> Trunk:
    """Load the exported graph as it is served, by the engine that was asked for.

    Raises:
        Unsupported: This machine does not have that engine.
    """
    settings = BackendSettings()
    try:
        engine, _ = load_engine(graph, settings)
    except TrunkEngineError as error:
        raise Unsupported(str(error)) from error
    return Trunk(engine, settings.microbatch_tokens)


def precision_of(engine: str) -> str:
    """Return the precision of an engine's matrix multiplications, which its name ends with."""
    return engine.rpartition("-")[2]
