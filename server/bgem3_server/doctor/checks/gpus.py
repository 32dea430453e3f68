"""The GPUs: whether they can be used, and who holds their memory. Not yet run on hardware."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from importlib.util import find_spec
from typing import Any, Final

from bgem3_server.doctor.check import Check
from bgem3_server.doctor.codes import Code
from bgem3_server.doctor.finding import Finding, not_applicable, ok, problem, warning
from bgem3_server.doctor.processes import find_process
from bgem3_server.doctor.subject import Subject
from bgem3_server.errors import EngineMismatchError
from bgem3_server.triton.engine import check_engine, tensorrt_version
from bgem3_server.triton.gpus import visible_gpus

_MIB: Final = 2**20
# NVIDIA's Triton containers take no older GPU since 26.02.
_OLDEST_CAPABILITY: Final = (7, 5)
_CUDA_RUNTIMES: Final = ("nvidia-cuda-runtime", "nvidia-cuda-runtime-cu12")
# Set in NVIDIA's containers, as 13.2.1.
_CONTAINER_CUDA: Final = "CUDA_VERSION"
# What a driver takes for itself, beside processes.
_DRIVER_BYTES: Final = 700 * _MIB
_NO_GPU: Final = "no NVIDIA GPU here"


class _NoNvmlError(Exception):
    """NVML cannot be asked; the message says why."""


@contextmanager
def _nvml() -> Iterator[Any]:
    """NVML, opened and closed again.

    Raises:
        _NoNvmlError: It is not there, or there is no driver.
    """
    if find_spec("pynvml") is None:
        raise _NoNvmlError("nvidia-ml-py is not installed (pip install nvidia-ml-py)")
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError_LibraryNotFound as error:
        raise _NoNvmlError(_NO_GPU) from error
    try:
        yield pynvml
    finally:
        pynvml.nvmlShutdown()


def visible(subject: Subject) -> Iterator[Finding]:
    """Whether CUDA sees the GPUs that are there, and whether Triton would use them."""
    cuda = visible_gpus()
    try:
        with _nvml() as nvml:
            there = nvml.nvmlDeviceGetCount()
    except _NoNvmlError as error:
        there = len(cuda)
        if not cuda:
            yield not_applicable(str(error))
            return
    except Exception as error:
        if not _is_nvml_error(error):
            raise
        yield problem(
            Code.GPU_DRIVER_UNREADABLE,
            f"the NVIDIA driver does not answer: {error}",
            "run nvidia-smi; after an update of the driver restart the machine, and in a "
            "container start it anew with --gpus all",
        )
        return
    names = ", ".join(f"{gpu.name} ({gpu.compute_capability})" for gpu in cuda)
    if there and not cuda:
        named = os.environ.get("CUDA_VISIBLE_DEVICES")
        yield problem(
            Code.GPU_NOT_VISIBLE,
            f"the driver has {there} GPU(s), and CUDA programs see none"
            f"{'' if named is None else f' (CUDA_VISIBLE_DEVICES={named})'}",
            "unset CUDA_VISIBLE_DEVICES, or name GPUs that are there; a container needs "
            "'--gpus all' and NVIDIA_DRIVER_CAPABILITIES with 'compute'",
            gpus=there,
        )
        return
    if not cuda:
        yield not_applicable(_NO_GPU)
        return
    profile = subject.profile
    if profile is not None and profile.profile.startswith("cpu"):
        yield warning(
            Code.GPU_UNUSED,
            f"{names}: not used, since the profile is {profile.profile} ({profile.reason})",
            "serve in NVIDIA's Triton container (docs/docker.md), or with --profile gpu",
            gpus=[gpu.name for gpu in cuda],
        )
        return
    yield ok(f"{len(cuda)} GPU(s): {names}", gpus=[gpu.name for gpu in cuda])


def capability(subject: Subject) -> Iterator[Finding]:
    """Whether the GPUs are new enough, and those that the TensorRT engine was built for."""
    gpus = visible_gpus()
    if not gpus:
        yield not_applicable(_NO_GPU)
        return
    faults = False
    for gpu in gpus:
        numbers = tuple(int(part) for part in gpu.compute_capability.split("."))
        if numbers < _OLDEST_CAPABILITY:
            faults = True
            yield problem(
                Code.GPU_TOO_OLD,
                f"{gpu.name} has compute capability {gpu.compute_capability}, and Triton 26.02 and "
                "later need 7.5",
                "hide it with CUDA_VISIBLE_DEVICES, or serve on the CPU: --profile cpu",
                gpu=gpu.name,
            )
    if subject.profile is not None and subject.profile.profile == "tensorrt_plan":
        try:
            check_engine(subject.manifest, gpus, tensorrt_version)
        except EngineMismatchError as error:
            faults = True
            yield problem(Code.GPU_ENGINE_MISMATCH, str(error), "see the reason")
    if not faults:
        yield ok("the GPUs are new enough")


def driver(subject: Subject) -> Iterator[Finding]:
    """Whether the driver is new enough for the CUDA that is installed."""
    del subject
    try:
        with _nvml() as nvml:
            version = nvml.nvmlSystemGetDriverVersion()
            number = nvml.nvmlSystemGetCudaDriverVersion_v2()
    except _NoNvmlError as error:
        yield not_applicable(str(error))
        return
    supported = (number // 1000, number % 1000 // 10)
    has = f"driver {version} (CUDA {supported[0]}.{supported[1]})"
    details = {"driver": version, "cuda": f"{supported[0]}.{supported[1]}"}
    wanted = _wanted_cuda()
    if wanted is None:
        yield ok(f"{has}; no CUDA runtime is installed that it has to fit", **details)
        return
    what, needed = wanted
    # Within a major version, newer runtimes run on older drivers:
    # https://docs.nvidia.com/deploy/cuda-compatibility.
    if supported[0] < needed[0]:
        yield problem(
            Code.GPU_DRIVER_OLD,
            f"{has} is too old for {what}, which is CUDA {needed[0]}.{needed[1]}",
            f"install a driver for CUDA {needed[0]} or later on the host; data centre GPUs can do "
            "with NVIDIA's compatibility package",
            **details,
            wanted=f"{needed[0]}.{needed[1]}",
        )
        return
    yield ok(f"{has}, for {what} of CUDA {needed[0]}.{needed[1]}", **details)


def _wanted_cuda() -> tuple[str, tuple[int, int]] | None:
    """Return what brings CUDA here, and its version; None where nothing does."""
    for name in _CUDA_RUNTIMES:
        try:
            return name, _major_minor(metadata.version(name))
        except metadata.PackageNotFoundError:
            continue
    container = os.environ.get(_CONTAINER_CUDA)
    return ("the container", _major_minor(container)) if container else None


def _major_minor(version: str) -> tuple[int, int]:
    major, minor = version.split(".")[:2]
    return int(major), int(minor)


def persistence(subject: Subject) -> Iterator[Finding]:
    """Whether the driver stays loaded between programs."""
    del subject
    try:
        with _nvml() as nvml:
            off = [
                str(number)
                for number in range(nvml.nvmlDeviceGetCount())
                if not _persistence_mode(nvml, number)
            ]
    except _NoNvmlError as error:
        yield not_applicable(str(error))
        return
    if off:
        yield warning(
            Code.GPU_NOT_PERSISTENT,
            f"persistence mode is off for GPU {', '.join(off)}: the driver is unloaded with the "
            "last program, and every start then takes seconds longer",
            "sudo systemctl enable --now nvidia-persistenced, or sudo nvidia-smi -pm 1",
            gpus=off,
        )
    else:
        yield ok("persistence mode is on")


def _persistence_mode(nvml: Any, number: int) -> bool:  # noqa: ANN401 - the module has no types
    try:
        return bool(nvml.nvmlDeviceGetPersistenceMode(nvml.nvmlDeviceGetHandleByIndex(number)))
    except nvml.NVMLError_NotSupported:
        return True  # Windows' subsystem for Linux has none to turn on


def memory_kept(subject: Subject) -> Iterator[Finding]:
    """Who holds memory of the GPUs: what is held cannot be had."""
    del subject
    try:
        with _nvml() as nvml:
            for number in range(nvml.nvmlDeviceGetCount()):
                yield from _memory_of(nvml, number)
    except _NoNvmlError as error:
        yield not_applicable(str(error))


def _memory_of(nvml: Any, number: int) -> Iterator[Finding]:  # noqa: ANN401
    handle = nvml.nvmlDeviceGetHandleByIndex(number)
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    used = f"GPU {number}: {memory.used // _MIB:,} of {memory.total // _MIB:,} MiB are used"
    details = {"gpu": number, "used_bytes": memory.used, "total_bytes": memory.total}
    others, left, ours, unseen = [], [], [], 0
    for holder in nvml.nvmlDeviceGetComputeRunningProcesses(handle):
        process = find_process(holder.pid) if find_spec("psutil") else None
        if process is None:
            unseen += 1
            continue
        # NVML says None where it is not told.
        taken = (
            f"{process}: {holder.usedGpuMemory // _MIB:,} MiB"
            if holder.usedGpuMemory
            else str(process)
        )
        if not process.is_triton:
            others.append(taken)
        elif process.orphaned and process.name.startswith("triton_python"):
            left.append((process.pid, taken))
        else:
            ours.append(taken)
    if left:
        pids = " ".join(str(pid) for pid, _ in left)
        yield problem(
            Code.GPU_MEMORY_KEPT,
            f"{used}; held by what a crashed Triton left: {', '.join(what for _, what in left)}",
            f"end it: kill {pids}",
            **details,
        )
    if others:
        yield warning(
            Code.GPU_MEMORY_KEPT,
            f"{used}; held by {', '.join(others)}",
            "end these programs, or plan with less: bgem3 plan DIR --gpu-memory SIZE --apply; "
            "PyTorch and ONNX Runtime keep what they once took until they end",
            **details,
        )
    if unseen or (not (others or ours or left) and memory.used > _DRIVER_BYTES):
        yield warning(
            Code.GPU_MEMORY_KEPT,
            f"{used}, by processes that cannot be seen from here",
            "they are in other containers or of other users, or ended badly: nvidia-smi on the "
            "host shows them; if it shows none, restart the containers that use the GPU, then "
            "sudo nvidia-smi --gpu-reset",
            **details,
        )
    elif not others and not left:
        yield ok(f"{used}{f'; {chr(10).join(ours)}' if ours else ''}", **details)


def _is_nvml_error(error: Exception) -> bool:
    import pynvml

    return isinstance(error, pynvml.NVMLError)


CHECKS: Final = (
    Check("gpus.visible", visible),
    Check("gpus.capability", capability),
    Check("gpus.driver", driver),
    Check("gpus.persistence", persistence),
    Check("gpus.memory_kept", memory_kept),
)
