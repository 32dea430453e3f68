"""Whether a TensorRT engine can run where it is to be served: it runs where it was built."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence

from bgem3_export.manifest import EngineTarget, Manifest
from bgem3_server.errors import EngineMismatchError
from bgem3_server.triton.gpus import Gpu

_HOW_TO_BUILD = (
    "build one here, in the container that serves: bgem3 export MODEL --engine tensorrt "
    "--output DIR; or serve with ONNX Runtime: --profile gpu"
)


def check_engine(
    manifest: Manifest | None,
    gpus: Sequence[Gpu],
    find_tensorrt: Callable[[int], str | None],
) -> None:
    """Hold the newest version's engine to this machine.

    Args:
        manifest: Of the repository; without one nothing is known, and TensorRT itself decides.
        gpus: Those that Triton will use: the engine is loaded on each.
        find_tensorrt: Gives the version of the TensorRT library that Triton will use, of one major
            version, or None where there is none: :func:`tensorrt_version`.

    Raises:
        EngineMismatchError: There is no engine, or one for another GPU or TensorRT.
    """
    if manifest is None:
        return
    engine = manifest.versions[manifest.newest].engine
    if engine is None:
        raise EngineMismatchError(
            f"version {manifest.newest} of the repository has no TensorRT engine: {_HOW_TO_BUILD}"
        )
    tensorrt = find_tensorrt(int(engine.tensorrt.split(".")[0]))
    here = [
        *_differing_gpus(engine, gpus),
        *(
            []
            if _same_release(engine.tensorrt, tensorrt)
            else [f"TensorRT {tensorrt}" if tensorrt else "no TensorRT"]
        ),
    ]
    if here:
        raise EngineMismatchError(
            f"the TensorRT engine was built for {engine.gpu} (compute capability "
            f"{engine.compute_capability}) by TensorRT {engine.tensorrt}, and runs on nothing "
            f"else; here is {', '.join(here)}: {_HOW_TO_BUILD}"
        )


def tensorrt_version(major: int) -> str | None:
    """Return the version of the TensorRT library that a program loads here, as in "10.15.1".

    Args:
        major: Its major version, which is in the library's name.
    """
    try:
        library = ctypes.CDLL(f"libnvinfer.so.{major}")
    except OSError:
        return None
    # https://docs.nvidia.com/deeplearning/tensorrt: 10.15.1 is 101501.
    number = library.getInferLibVersion()
    return f"{number // 10000}.{number // 100 % 100}.{number % 100}"


def _differing_gpus(engine: EngineTarget, gpus: Sequence[Gpu]) -> list[str]:
    if not gpus:
        return ["no GPU"]
    wanted = Gpu(engine.gpu, engine.compute_capability)
    return sorted({f"{gpu.name} ({gpu.compute_capability})" for gpu in gpus if gpu != wanted})


def _same_release(built: str, here: str | None) -> bool:
    """Whether two versions agree in major, minor and patch; the engine's has a build number too."""
    return here is not None and built.split(".")[:3] == here.split(".")[:3]
