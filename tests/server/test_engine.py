"""An engine that was built elsewhere is refused before Triton is started."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace

import pytest
from demo_manifest import demo_manifest

from bgem3_export.manifest import EngineTarget
from bgem3_server.errors import EngineMismatchError
from bgem3_server.settings import ServeSettings
from bgem3_server.triton import engine as engines
from bgem3_server.triton import gpus as gpu_list
from bgem3_server.triton.addresses import Addresses
from bgem3_server.triton.command import triton_command
from bgem3_server.triton.engine import check_engine, tensorrt_version
from bgem3_server.triton.gpus import Gpu, visible_gpus
from bgem3_server.triton.installation import Installation
from bgem3_server.triton.supervisor import Supervisor

L4 = Gpu("NVIDIA L4", "8.9")
L40S = Gpu("NVIDIA L40S", "8.9")
BUILT = EngineTarget(tensorrt="10.15.1.29", gpu="NVIDIA L4", compute_capability="8.9")


def manifest(engine: EngineTarget | None = BUILT):
    """Return the manifest of a repository with an engine, or without one."""
    content = demo_manifest()
    version = content.versions["1"].model_copy(update={"engine": engine})
    return content.model_copy(update={"versions": {"1": version}})


@pytest.mark.parametrize("tensorrt", ["10.15.1", "10.15.1.29", "10.15.1.30"])
@pytest.mark.parametrize("gpus", [[L4], [L4, L4]])
def test_an_engine_runs_where_it_was_built(gpus, tensorrt):
    """The same kind of GPU, and the same release of TensorRT, whatever its build."""
    asked = []
    check_engine(manifest(), gpus, lambda major: asked.append(major) or tensorrt)

    assert [10] == asked


@pytest.mark.parametrize(
    ("gpus", "tensorrt", "here"),
    [
        ([L40S], "10.15.1", r"here is NVIDIA L40S \(8\.9\): build one here"),
        ([L4, L40S], "10.15.1", r"here is NVIDIA L40S \(8\.9\)"),
        ([Gpu("NVIDIA L4", "9.0")], "10.15.1", r"here is NVIDIA L4 \(9\.0\)"),
        ([], "10.15.1", "here is no GPU"),
        ([L4], "10.15.2", r"here is TensorRT 10\.15\.2"),
        ([L4], None, "here is no TensorRT"),
        ([L40S], "10.5.0", r"here is NVIDIA L40S \(8\.9\), TensorRT 10\.5\.0"),
    ],
)
def test_an_engine_from_elsewhere_is_refused(gpus, tensorrt, here):
    """With what it was built for, what is here, and what to do."""
    built = r"built for NVIDIA L4 \(compute capability 8\.9\) by TensorRT 10\.15\.1\.29"
    with pytest.raises(EngineMismatchError, match=rf"{built}.*{here}.*--engine tensorrt"):
        check_engine(manifest(), gpus, lambda major: tensorrt)


def test_a_repository_without_an_engine_says_so():
    """Rather than Triton that there is no such file."""
    with pytest.raises(EngineMismatchError, match=r"version 1 .* no TensorRT engine: build one"):
        check_engine(manifest(None), [L4], lambda major: "10.15.1")


def test_a_repository_without_a_manifest_is_left_to_tensorrt():
    """Nothing is known about its engine."""
    check_engine(None, [], lambda major: None)


def test_the_refusal_ends_the_server_before_triton_starts(monkeypatch, make_repository):
    """`bgem3 serve` ends with a mistake in the command."""
    repository = make_repository()
    manifest(None).write(repository)
    supervisor = Supervisor(
        repository, ServeSettings(profile="tensorrt_plan"), lambda event: None, lambda line: None
    )
    supervisor.start()

    with pytest.raises(EngineMismatchError) as refused:
        supervisor.ended.result(timeout=60)
    assert 2 == refused.value.exit_code


@pytest.mark.parametrize(
    ("profile", "name"),
    [
        ("gpu", None),
        ("cpu", "cpu"),
        ("gpu_heads", "gpu_heads"),
        ("cpu_heads", "cpu_heads"),
        ("tensorrt", "tensorrt"),
        ("tensorrt_plan", "tensorrt_plan"),
    ],
)
def test_triton_loads_the_configurations_of_the_profile(tmp_path, profile, name):
    """``config.pbtxt`` is the profile that has no name."""
    installation = Installation("triton", tmp_path / "tritonserver", tmp_path, tmp_path)
    addresses = Addresses("127.0.0.1", 1, 2, 3)
    command = triton_command(installation, tmp_path, profile, addresses, ServeSettings(), None)
    named = [
        argument.partition("=")[2]
        for argument in command.arguments
        if argument.startswith("--model-config-name=")
    ]

    assert ([name] if name else []) == named


@pytest.mark.parametrize(
    ("profile", "models"),
    [("cpu", "*"), ("gpu", "*"), ("cpu_heads", "bge_m3"), ("gpu_heads", "bge_m3")],
)
def test_heads_that_are_in_the_graph_are_not_loaded(tmp_path, profile, models):
    """The ensemble brings the models of its steps; the ColBERT head's is none of them."""
    installation = Installation("triton", tmp_path / "tritonserver", tmp_path, tmp_path)
    addresses = Addresses("127.0.0.1", 1, 2, 3)
    command = triton_command(installation, tmp_path, profile, addresses, ServeSettings(), None)

    assert [f"--load-model={models}"] == [
        argument for argument in command.arguments if argument.startswith("--load-model=")
    ]


def loads(monkeypatch, module, **functions) -> None:
    """Let a module load a library of these functions, and no other."""

    def load(name: str):
        if name not in ("libcuda.so.1", "libnvinfer.so.10"):
            raise OSError(name)
        return SimpleNamespace(**functions)

    monkeypatch.setattr(module.ctypes, "CDLL", load)


def test_the_version_of_tensorrt_is_its_librarys(monkeypatch):
    """Of the major version that was asked for."""
    loads(monkeypatch, engines, getInferLibVersion=lambda: 101501)

    assert "10.15.1" == tensorrt_version(10)
    assert tensorrt_version(11) is None


def test_gpus_are_the_drivers(monkeypatch):
    """Name and compute capability of each that is visible."""

    def set_value(pointer, value: int) -> int:
        ctypes.cast(pointer, ctypes.POINTER(ctypes.c_int))[0] = value
        return 0

    def name(buffer, size: int, device) -> int:
        buffer.value = [b"NVIDIA L4", b"NVIDIA H100 80GB HBM3"][device.value]
        return 0

    loads(
        monkeypatch,
        gpu_list,
        cuInit=lambda flags: 0,
        cuDeviceGetCount=lambda count: set_value(count, 2),
        cuDeviceGet=set_value,
        cuDeviceGetName=name,
        cuDeviceGetAttribute=lambda number, attribute, device: set_value(
            number, {(75, 0): 8, (76, 0): 9, (75, 1): 9, (76, 1): 0}[attribute, device.value]
        ),
    )

    assert [L4, Gpu("NVIDIA H100 80GB HBM3", "9.0")] == visible_gpus()


def test_without_a_driver_there_are_no_gpus(monkeypatch):
    """Nor where it does not work."""
    loads(monkeypatch, gpu_list, cuInit=lambda flags: 100)

    assert [] == visible_gpus()
