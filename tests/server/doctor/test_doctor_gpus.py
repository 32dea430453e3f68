"""What is said of GPUs, by an NVML that is not there; none of it has run on hardware."""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata
from types import SimpleNamespace

import pynvml
import pytest
from doctor_run import finding, findings, seen

from bgem3_export.planning import devices, making
from bgem3_server.doctor.checks import gpus, memory
from bgem3_server.doctor.codes import Code
from bgem3_server.doctor.finding import Outcome
from bgem3_server.doctor.processes import Process
from bgem3_server.doctor.subject import Subject
from bgem3_server.settings import ServeSettings
from bgem3_server.triton.gpus import Gpu
from bgem3_server.triton.profile import ProfileChoice

GIB = 2**30
MIB = 2**20
WELL = [(Outcome.OK, None)]
NOTHING = [(Outcome.NOT_APPLICABLE, None)]
CHECKS = ("visible", "capability", "driver", "persistence", "memory_kept")


class Nvml:
    """One GPU of 24 GiB; NVML's functions as pynvml has them."""

    def __init__(self) -> None:
        self.count = 1
        self.cuda = 13020
        self.persistent: Callable[[], int] = lambda: 1
        self.used_bytes = 300 * MIB
        self.holders: list[SimpleNamespace] = []
        self.broken: int | None = None

    def nvmlInit(self) -> None:  # noqa: N802
        if self.broken is not None:
            raise pynvml.NVMLError(self.broken)

    def nvmlShutdown(self) -> None:  # noqa: N802
        """Nothing to do."""

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return self.count

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:  # noqa: N802
        used = self.used_bytes
        return SimpleNamespace(used=used, total=24 * GIB, free=24 * GIB - used)

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> list[SimpleNamespace]:  # noqa: N802
        return self.holders

    def nvmlDeviceGetPersistenceMode(self, handle: int) -> int:  # noqa: N802
        return self.persistent()

    def nvmlSystemGetDriverVersion(self) -> str:  # noqa: N802
        return "580.95.05"

    def nvmlSystemGetCudaDriverVersion_v2(self) -> int:  # noqa: N802
        return self.cuda


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Nvml:
    """NVML's functions in the place of pynvml's, and a GPU for CUDA too."""
    fake = Nvml()
    for name in dir(fake):
        if name.startswith("nvml"):
            monkeypatch.setattr(pynvml, name, getattr(fake, name))
    monkeypatch.setattr(gpus, "visible_gpus", lambda: [Gpu("NVIDIA L4", "8.9")])
    return fake


def on(profile: str) -> Subject:
    """A subject whose models would be loaded in a profile."""
    subject = Subject()
    subject.__dict__["profile"] = ProfileChoice(profile, "for the test")
    return subject


@pytest.mark.parametrize("check", CHECKS)
def test_a_gpu_that_is_well(check, nvml):
    """Nothing to be said against it."""
    assert WELL == seen(f"gpus.{check}", on("gpu"))


@pytest.mark.parametrize("check", CHECKS)
def test_no_driver(check, nvml, monkeypatch):
    """A machine without GPUs is none with a problem."""
    nvml.broken = pynvml.NVML_ERROR_LIBRARY_NOT_FOUND
    monkeypatch.setattr(gpus, "visible_gpus", list)

    assert NOTHING == seen(f"gpus.{check}", on("cpu"))


def test_a_driver_that_does_not_answer(nvml):
    """As after an update, until the machine is restarted."""
    nvml.broken = pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH

    assert [(Outcome.PROBLEM, Code.GPU_DRIVER_UNREADABLE)] == seen("gpus.visible", on("gpu"))


def test_gpus_that_cuda_does_not_see(nvml, monkeypatch):
    """The variable that hides them is shown."""
    monkeypatch.setattr(gpus, "visible_gpus", list)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")

    found = finding("gpus.visible", on("cpu"))

    assert (Outcome.PROBLEM, Code.GPU_NOT_VISIBLE) == (found.outcome, found.code)
    assert "CUDA_VISIBLE_DEVICES=7" in found.message


def test_a_gpu_that_is_not_used(nvml):
    """As with the Triton of the wheel, which has no backend for it."""
    assert [(Outcome.WARNING, Code.GPU_UNUSED)] == seen("gpus.visible", on("cpu"))


def test_a_gpu_that_is_too_old(nvml, monkeypatch):
    """By its compute capability, as numbers: 10.0 is newer than 7.5."""
    monkeypatch.setattr(
        gpus, "visible_gpus", lambda: [Gpu("Tesla V100", "7.0"), Gpu("NVIDIA B200", "10.0")]
    )

    found = finding("gpus.capability", on("gpu"))

    assert (Code.GPU_TOO_OLD, "Tesla V100") == (found.code, found.details["gpu"])


@pytest.mark.parametrize(
    ("cuda", "expected"), [(12080, (Outcome.PROBLEM, Code.GPU_DRIVER_OLD)), (13000, WELL[0])]
)
def test_the_driver_against_the_installed_cuda(cuda, expected, nvml, monkeypatch):
    """Only the major version counts: newer minor ones run on older drivers."""
    nvml.cuda = cuda
    real = metadata.version
    monkeypatch.setattr(
        metadata, "version", lambda name: "13.2.75" if name == "nvidia-cuda-runtime" else real(name)
    )

    assert [expected] == seen("gpus.driver")


def test_the_driver_against_the_container(nvml, monkeypatch):
    """Whose variable says which CUDA it brings."""

    def version(name):
        raise metadata.PackageNotFoundError(name)

    nvml.cuda = 12080
    monkeypatch.setattr(metadata, "version", version)
    without = seen("gpus.driver")
    monkeypatch.setenv("CUDA_VERSION", "13.2.1.011")
    within = seen("gpus.driver")

    assert WELL == without
    assert [(Outcome.PROBLEM, Code.GPU_DRIVER_OLD)] == within


def test_persistence(nvml):
    """Off is a warning; where there is no such mode, it is not off."""
    nvml.persistent = lambda: 0
    off = seen("gpus.persistence")

    def unsupported():
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    nvml.persistent = unsupported
    unknown = seen("gpus.persistence")

    assert [(Outcome.WARNING, Code.GPU_NOT_PERSISTENT)] == off
    assert WELL == unknown


@pytest.mark.parametrize(
    ("process", "expected"),
    [
        (Process(71, "python3", orphaned=False), (Outcome.WARNING, Code.GPU_MEMORY_KEPT)),
        (Process(71, "triton_python_b", orphaned=True), (Outcome.PROBLEM, Code.GPU_MEMORY_KEPT)),
        (Process(71, "triton_python_b", orphaned=False), WELL[0]),
        (Process(71, "tritonserver", orphaned=True), WELL[0]),
        (None, (Outcome.WARNING, Code.GPU_MEMORY_KEPT)),
    ],
    ids=["another program", "left by a crash", "a model", "Triton under an init", "not seen"],
)
def test_memory_that_is_kept(process, expected, nvml, monkeypatch):
    """Who holds it is said, and how to have it back; what serves may hold it."""
    nvml.used_bytes = 9 * GIB
    nvml.holders = [SimpleNamespace(pid=71, usedGpuMemory=8 * GIB)]
    monkeypatch.setattr(gpus, "find_process", lambda pid: process)

    found = finding("gpus.memory_kept")

    assert expected == (found.outcome, found.code)
    assert "9,216 of 24,576 MiB" in found.message
    if process is not None:
        assert f"{process.name} (process 71): 8,192 MiB" in found.message
        assert (found.advice == "end it: kill 71") == (found.outcome is Outcome.PROBLEM)


def test_memory_that_nobody_seems_to_hold(nvml):
    """More than a driver takes, and no process for it."""
    nvml.used_bytes = 9 * GIB

    assert [(Outcome.WARNING, Code.GPU_MEMORY_KEPT)] == seen("gpus.memory_kept")


def test_every_gpu_is_looked_at(nvml):
    """Each with a line of its own."""
    nvml.count = 3

    assert [0, 1, 2] == [item.details["gpu"] for item in findings("gpus.memory_kept")]


@pytest.mark.parametrize(
    ("used_bytes", "total_bytes", "expected"),
    [
        (GIB, 24 * GIB, WELL[0]),
        (23 * GIB, 24 * GIB, (Outcome.WARNING, Code.MEMORY_TAKEN)),
        (0, GIB, (Outcome.PROBLEM, Code.MEMORY_SHORT)),
    ],
    ids=["room", "taken", "too small"],
)
def test_memory_of_a_gpu_against_the_plan(
    used_bytes, total_bytes, expected, nvml, demo_repository, monkeypatch
):
    """The whole of it, and what is free of it."""
    nvml.used_bytes = used_bytes
    monkeypatch.setattr(making, "gpu_memories", lambda: [total_bytes])
    subject = Subject(repository=demo_repository, settings=ServeSettings(grpc_port=1))
    subject.__dict__["profile"] = ProfileChoice("gpu", "for the test")

    assert devices.gpu_memories is not making.gpu_memories
    assert [expected] == seen("memory.gpu", subject)
    assert NOTHING == seen("memory.gpu", on("cpu"))
    assert memory.CHECKS
