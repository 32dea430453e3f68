"""Builds a plan from the graph for TensorRT, or takes one that was built before."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from bgem3_client.cache_folder import cache_folder
from bgem3_export.errors import EngineError
from bgem3_export.file_hash import file_sha256
from bgem3_export.manifest import EngineTarget
from bgem3_export.tensorrt.gpu import find_target, load_tensorrt
from bgem3_export.tensorrt.length_mix import BatchShapes
from bgem3_export.trunk_graph import DATA_FILE, PLAN_FILE, Precision

# Raised when plans are built in another way.
_RECIPE: Final = 1


@dataclass(frozen=True)
class PlanBuilder:
    """Builds plans for the GPU of this machine.

    Attributes:
        tensorrt: NVIDIA's package.
        target: What the plans are for.
    """

    tensorrt: ModuleType
    target: EngineTarget

    @classmethod
    def here(cls) -> PlanBuilder:
        """Return the builder of this machine.

        Raises:
            EngineError: There is no TensorRT or no GPU.
        """
        tensorrt = load_tensorrt()
        return cls(tensorrt, find_target(tensorrt))

    def write(self, graph: Path, shapes: BatchShapes, precision: Precision) -> Path:
        """Write the plan of a graph beside it.

        Plans are kept in the cache folder, by everything that decides what is in them. So are the
        timings of kernels, which make the next build on the same GPU faster.

        Args:
            graph: ``model.tensorrt.onnx``, the data file beside it.
            shapes: Of the batches that the engine is to take.
            precision: Of the graph. The engine has the types of the graph, whatever TensorRT would
                choose itself.

        Returns:
            The path of ``model.plan``.

        Raises:
            EngineError: TensorRT does not understand the graph, or cannot build an engine for it.
        """
        folder = cache_folder() / "tensorrt"
        folder.mkdir(parents=True, exist_ok=True)
        kept = folder / f"{_key(self.target, graph, shapes)}.plan"
        if not kept.exists():
            timings = folder / f"{_label(self.target)}.timings"
            plan, timed = _build(self.tensorrt, graph, shapes, precision, timings)
            _replace(timings, timed)
            _replace(kept, plan)
        path = graph.with_name(PLAN_FILE)
        shutil.copyfile(kept, path)
        return path


def _build(
    tensorrt: ModuleType, graph: Path, shapes: BatchShapes, precision: Precision, timings: Path
) -> tuple[bytes, bytes]:
    """Return a serialized engine, and the timings of kernels known after its build."""
    logger = tensorrt.Logger(tensorrt.Logger.WARNING)
    builder = tensorrt.Builder(logger)
    # TensorRT 11 knows no other networks, and takes no notice of the flag.
    strongly_typed = 1 << int(tensorrt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(strongly_typed)
    parser = tensorrt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(graph)):
        problems = "\n  ".join(str(parser.get_error(i)) for i in range(parser.num_errors))
        raise EngineError(
            f"TensorRT {tensorrt.__version__} does not read the graph:\n  {problems}\n"
            "Serve the repository with ONNX Runtime's CUDA provider (profile gpu), and please "
            "report this with the lines above"
        )
    config = builder.create_builder_config()
    if precision == "fp32":
        # What is called FP32 is computed in FP32.
        config.clear_flag(tensorrt.BuilderFlag.TF32)
    config.add_optimization_profile(_profile(builder, shapes))
    known = timings.read_bytes() if timings.exists() else b""
    if not config.set_timing_cache(config.create_timing_cache(known), ignore_mismatch=False):
        # Measured by another driver, say: begin anew.
        config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise EngineError(
            f"TensorRT {tensorrt.__version__} built no engine; it said why above. Where it was out "
            "of memory, free the GPU of other programs, or choose another --length-mix"
        )
    return bytes(plan), bytes(config.get_timing_cache().serialize())


def _profile(builder: Any, shapes: BatchShapes) -> Any:  # noqa: ANN401 - TensorRT has no types
    profile = builder.create_optimization_profile()
    for name, size in shapes.inputs.items():
        profile.set_shape(name, (size.minimum,), (size.usual,), (size.maximum,))
    return profile


def _key(target: EngineTarget, graph: Path, shapes: BatchShapes) -> str:
    parts = (
        _RECIPE,
        target,
        shapes,
        file_sha256(graph),
        file_sha256(graph.with_name(DATA_FILE)),
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _label(target: EngineTarget) -> str:
    words = f"{target.tensorrt} {target.gpu} {target.compute_capability}"
    return "".join(letter if letter.isalnum() or letter == "." else "-" for letter in words)


def _replace(path: Path, content: bytes) -> None:
    """Write a file in one step: another export may read it, or write it too."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)
