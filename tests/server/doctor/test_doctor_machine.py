"""What is said of versions, the processor, memory, and ports."""

from __future__ import annotations

import resource
import shutil
import socket
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from doctor_run import finding, findings, seen, write_repository
from live_service import live_app, live_service
from starlette.applications import Starlette
from waiting import wait_until

from bgem3_backend.settings import BackendSettings
from bgem3_client import FakeTransport
from bgem3_server.doctor import processes
from bgem3_server.doctor.checks import memory, ports, processor, versions
from bgem3_server.doctor.codes import Code
from bgem3_server.doctor.control_group import ControlGroup
from bgem3_server.doctor.finding import Outcome
from bgem3_server.doctor.processes import Process
from bgem3_server.doctor.subject import Subject
from bgem3_server.errors import InstallationError
from bgem3_server.gateway.settings import GatewaySettings
from bgem3_server.settings import ServeSettings
from bgem3_server.triton.installation import Installation
from bgem3_server.triton.profile import ProfileChoice

WELL = [(Outcome.OK, None)]
GIB = 2**30


def subject_with(**facts: object) -> Subject:
    """A subject of which something is known already."""
    own = {name: facts.pop(name) for name in list(facts) if name in Subject.__dataclass_fields__}
    subject = Subject(**own)
    for name, value in facts.items():
        subject.__dict__[name] = value
    return subject


def triton_of(origin: str, root: Path = Path("/opt/tritonserver")) -> Installation:
    """A Triton that was found somewhere."""
    return Installation(origin, root / "bin" / "tritonserver", root / "backends", root / "caches")


# Versions


@pytest.mark.parametrize("check", ["settings", "python", "packages"])
def test_this_installation_is_what_the_package_asks_for(check):
    """The tests run in one that is."""
    assert WELL == seen(f"versions.{check}")


def test_settings_that_cannot_be_used():
    """Each is a problem of its own."""
    subject = Subject(setting_errors=("BGEM3_PORT: too large", "BGEM3_PROFILE: unknown"))

    assert [(Outcome.PROBLEM, Code.SETTING_INVALID)] * 2 == seen("versions.settings", subject)


def test_another_python(monkeypatch):
    """3.13 is not yet one that Triton's Python models can run in."""
    monkeypatch.setattr(versions.platform, "python_version", lambda: "3.13.1")

    assert [(Outcome.PROBLEM, Code.PYTHON_UNSUPPORTED)] == seen("versions.python")


def test_numpy_2_beside_the_models(monkeypatch):
    """Triton's Python backend dies of it, so the extra that the models need forbids it."""
    real = metadata.version
    monkeypatch.setattr(
        metadata, "version", lambda name: "2.1.0" if name == "numpy" else real(name)
    )

    found = finding("versions.packages")

    assert (Outcome.PROBLEM, Code.PACKAGE_UNFIT) == (found.outcome, found.code)
    assert ("numpy", "2.1.0", "<2") == tuple(
        found.details[name] for name in ("package", "version", "wanted")
    )


def test_an_extra_that_is_not_installed_asks_for_nothing(monkeypatch):
    """Without torch there are no models here, and NumPy 2 is as good."""
    real = metadata.version

    def version(name):
        if name == "torch":
            raise metadata.PackageNotFoundError(name)
        return "2.1.0" if name == "numpy" else real(name)

    monkeypatch.setattr(metadata, "version", version)

    assert WELL == seen("versions.packages")


def test_a_package_that_is_missing(monkeypatch):
    """Of those that bgem3 always needs."""
    real = metadata.version

    def version(name):
        if name == "grpcio":
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(metadata, "version", version)

    found = finding("versions.packages")

    assert (Code.PACKAGE_MISSING, "grpcio") == (found.code, found.details["package"])


def test_no_triton_can_be_started(tmp_path):
    """A problem where one would be started here, and none where one elsewhere is asked."""
    none = InstallationError("there is no tritonserver on this machine")

    assert [(Outcome.PROBLEM, Code.TRITON_NOT_FOUND)] == seen(
        "versions.triton", subject_with(installation=none)
    )
    assert [(Outcome.NOT_APPLICABLE, None)] == seen(
        "versions.triton", subject_with(installation=none, url="elsewhere:8001")
    )


def test_a_tritonserver_that_is_not_there(tmp_path):
    """It is really looked for."""
    settings = ServeSettings(tritonserver=tmp_path / "none")

    assert [(Outcome.PROBLEM, Code.TRITON_NOT_FOUND)] == seen(
        "versions.triton", Subject(settings=settings)
    )


@pytest.mark.parametrize(
    ("origin", "release", "expected"),
    [
        ("/opt/tritonserver/bin/tritonserver", "25.12", (Outcome.WARNING, Code.TRITON_OLD)),
        ("/opt/tritonserver/bin/tritonserver", "26.04", (Outcome.OK, None)),
        ("nvidia-pytriton 0.7.0", "", (Outcome.OK, None)),
    ],
)
def test_releases_of_triton(origin, release, expected, monkeypatch):
    """Old ones are warned of; not that of the wheel, which this release was tested with."""
    monkeypatch.setenv("NVIDIA_TRITON_SERVER_VERSION", release)
    subject = subject_with(
        installation=triton_of(origin), profile=ProfileChoice("cpu", "no NVIDIA GPU is visible")
    )

    found = finding("versions.triton", subject)

    assert expected == (found.outcome, found.code)
    assert (release or "24.10") == found.details["release"]


# The processor


def limits(monkeypatch: pytest.MonkeyPatch, group: ControlGroup) -> None:
    """Say what the control group allows."""
    for module in (memory, processor):
        monkeypatch.setattr(module.ControlGroup, "here", classmethod(lambda cls: group))


def test_more_threads_than_the_container_may_use(monkeypatch):
    """Docker's --cpus leaves all cores visible."""
    limits(monkeypatch, ControlGroup(None, 2.5))
    many, few = (Subject(backend_settings=BackendSettings(trunk_threads=n)) for n in (16, 3))

    found = finding("processor.cores", many)

    assert (Outcome.WARNING, Code.CORES_LIMITED) == (found.outcome, found.code)
    assert "BGEM3_TRUNK_THREADS=2" in found.advice
    assert WELL == seen("processor.cores", few)


def test_the_engine_of_the_trunk():
    """That which would be chosen; one that cannot be had is a problem."""
    asked = BackendSettings(trunk_engine="openvino-int8")

    assert WELL == seen("processor.engine")
    assert [(Outcome.PROBLEM, Code.TRUNK_ENGINE_UNAVAILABLE)] == seen(
        "processor.engine", Subject(backend_settings=asked)
    )


def test_a_faster_engine_that_is_not_installed(monkeypatch):
    """ONNX Runtime works, and is slower."""
    real = processor.find_spec
    monkeypatch.setattr(
        processor, "find_spec", lambda name: None if name == "openvino" else real(name)
    )

    assert [(Outcome.WARNING, Code.PROCESSOR_SLOW)] == seen("processor.engine")


def test_no_engine_at_all(monkeypatch):
    """Then no model loads."""
    monkeypatch.setattr(processor, "find_spec", lambda name: None)

    assert [(Outcome.PROBLEM, Code.TRUNK_ENGINE_UNAVAILABLE)] == seen("processor.engine")


# Control groups


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (
            {"memory.max": "max", "pod/memory.max": "8589934592", "pod/a/cpu.max": "150000 100000"},
            ControlGroup(8 * GIB, 1.5),
        ),
        ({"memory.max": "max", "cpu.max": "max 100000"}, ControlGroup(None, None)),
        ({"memory.max": "1073741824", "cpu.max": "50000 100000"}, ControlGroup(GIB, 0.5)),
    ],
    ids=["above it", "no limit", "in a container"],
)
def test_control_groups(files, expected, tmp_path):
    """The smallest limit of the group and of those above it, which a container sees as its own."""
    root = tmp_path / "cgroup"
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    membership = tmp_path / "membership"
    membership.write_text("0::/pod/a\n")

    assert expected == ControlGroup.here(root, membership)


def test_control_groups_of_version_1(tmp_path):
    """A hierarchy for each controller, and a huge number where there is no limit."""
    root = tmp_path / "cgroup"
    for name, content in {
        "memory/docker/memory.limit_in_bytes": str(4 * GIB),
        "memory/memory.limit_in_bytes": str(2**63 - 4096),
        "cpu,cpuacct/docker/none": "",
        "cpu/docker/cpu.cfs_quota_us": "200000",
        "cpu/docker/cpu.cfs_period_us": "100000",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    membership = tmp_path / "membership"
    membership.write_text("5:memory:/docker\n4:cpu,cpuacct:/docker\n1:name=systemd:/docker\n")

    assert ControlGroup(4 * GIB, 2.0) == ControlGroup.here(root, membership)


# Memory


@pytest.mark.parametrize(
    ("limit_bytes", "expected"),
    [
        (64 * GIB, (Outcome.OK, None)),
        (2 * GIB, (Outcome.WARNING, Code.MEMORY_SETTINGS_LARGE)),
        (GIB, (Outcome.PROBLEM, Code.MEMORY_SHORT)),
    ],
)
def test_memory_against_the_plan(limit_bytes, expected, demo_repository, monkeypatch):
    """Of a real repository, in a machine, in a small container, and in one that is too small."""
    monkeypatch.setattr(memory.os, "sysconf", lambda name: 2**20)
    limits(monkeypatch, ControlGroup(limit_bytes, None))

    assert [expected] == seen("memory.machine", Subject(repository=demo_repository))


def test_memory_that_others_have_taken(demo_repository, monkeypatch):
    """Only while no Triton runs, which would have taken it itself."""
    subject = Subject(repository=demo_repository, settings=ServeSettings(grpc_port=free_port()))
    roomy = seen("memory.free", subject)
    monkeypatch.setattr(memory, "_available_bytes", lambda: GIB)
    tight = seen("memory.free", subject)
    with socket.create_server(("127.0.0.1", subject.settings.grpc_port)):
        beside_triton = seen("memory.free", subject)

    assert WELL == roomy
    assert [(Outcome.WARNING, Code.MEMORY_TAKEN)] == tight
    assert [(Outcome.NOT_APPLICABLE, None)] == beside_triton


def test_what_is_free_is_read_from_the_kernel():
    """More than nothing, and no more than there is."""
    assert 0 < memory._available_bytes() <= memory._memory()[0]


def test_no_plan_without_a_repository_or_its_manifest(tmp_path):
    """Nothing is known of the model then."""
    repository = write_repository(tmp_path)
    (repository / "manifest.json").unlink()

    for subject in (Subject(), Subject(repository=repository)):
        assert [(Outcome.NOT_APPLICABLE, None)] == seen("memory.machine", subject)


def test_no_plan_from_a_damaged_graph(demo_repository, tmp_path):
    """That is for the checks of model files to say; nothing breaks off."""
    trunk = tmp_path / "bge_m3_trunk"
    shutil.copytree(
        demo_repository / "bge_m3_trunk", trunk, ignore=shutil.ignore_patterns("*.data")
    )
    (tmp_path / "bge_m3").mkdir()
    (tmp_path / "bge_m3" / "config.pbtxt").write_text("")
    shutil.copy(demo_repository / "manifest.json", tmp_path)
    for graph in trunk.glob("*/model.onnx"):
        graph.write_bytes(graph.read_bytes()[:1000])

    for check in ("machine", "free"):
        assert [(Outcome.NOT_APPLICABLE, None)] == seen(
            f"memory.{check}", Subject(repository=tmp_path, settings=ServeSettings(grpc_port=0))
        )


@pytest.mark.parametrize(
    ("free_bytes", "expected"),
    [
        (4 * GIB, (Outcome.OK, None)),
        (GIB, (Outcome.WARNING, Code.SHARED_MEMORY_SMALL)),
        (64 * 2**20, (Outcome.PROBLEM, Code.SHARED_MEMORY_SMALL)),
    ],
)
def test_shared_memory(free_bytes, expected, monkeypatch):
    """64 MiB is what Docker gives a container that asks for nothing else."""
    usage = memory.shutil.disk_usage("/")._replace(free=free_bytes, total=free_bytes)
    monkeypatch.setattr(memory.shutil, "disk_usage", lambda path: usage)

    assert [expected] == seen("memory.shared")


# Ports


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def subject_on_ports(grpc: int = 0, service: int = 0) -> Subject:
    """All ports free ones, but for those named."""
    return Subject(
        settings=ServeSettings(grpc_port=grpc, http_port=0, metrics_port=0),
        service_settings=GatewaySettings(host="127.0.0.1", port=service),
    )


def test_free_ports():
    """All four are tried, and let go of again."""
    port = free_port()

    assert WELL * 4 == seen("ports.free", subject_on_ports(grpc=port))
    socket.create_server(("127.0.0.1", port)).close()


@pytest.mark.parametrize("option", ["grpc", "service"])
def test_a_port_that_another_program_has(option):
    """It is named, with its id."""
    code = (
        "from http.server import *;"
        "server = HTTPServer(('127.0.0.1', 0), BaseHTTPRequestHandler);"
        "print(server.server_port, flush=True); server.serve_forever()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as other:
        port = int(other.stdout.readline())
        try:
            found = findings("ports.free", subject_on_ports(**{option: port}))
        finally:
            other.kill()

    (taken,) = [item for item in found if item.outcome is not Outcome.OK]
    assert (Outcome.PROBLEM, Code.PORT_TAKEN) == (taken.outcome, taken.code)
    assert (port, other.pid) == (taken.details["port"], taken.details["pid"])


def test_a_port_whose_holder_cannot_be_seen(monkeypatch):
    """As one of another user: the command that shows it is named."""
    monkeypatch.setattr(ports, "listening_process", lambda port: None)
    with live_app(Starlette()) as url:
        port = int(url.rpartition(":")[2])
        found = findings("ports.free", subject_on_ports(grpc=port))

    (taken,) = [item for item in found if item.outcome is not Outcome.OK]
    assert Code.PORT_TAKEN == taken.code
    assert f"ss -ltnp sport = :{port}" in taken.advice


def test_the_port_of_a_running_triton(monkeypatch):
    """What is to listen there does, so nothing is in the way."""
    monkeypatch.setattr(
        ports, "listening_process", lambda port: Process(7, "tritonserver", orphaned=False)
    )
    with socket.create_server(("127.0.0.1", 0)) as triton:
        found = seen("ports.free", subject_on_ports(grpc=triton.getsockname()[1]))

    assert WELL * 4 == found


def test_the_port_of_a_running_service():
    """It is Python, as many programs are, so it is asked who it is."""
    with live_service(transport=FakeTransport()) as url:
        found = seen("ports.free", subject_on_ports(service=int(url.rpartition(":")[2])))

    assert WELL * 4 == found


def test_an_address_that_is_not_here():
    """Which is no port that somebody has."""
    settings = ServeSettings(address="192.0.2.1", grpc_port=0, http_port=0, metrics_port=0)

    found = seen("ports.free", Subject(settings=settings))

    assert [(Outcome.PROBLEM, Code.PORT_FORBIDDEN)] * 3 == found[:3]


def test_a_low_limit_of_open_files():
    """Few callers at once; it is put back after the test."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    well = seen("ports.descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        low = seen("ports.descriptors")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert WELL == well
    assert [(Outcome.WARNING, Code.FILE_LIMIT_LOW)] == low


def test_processes_are_seen():
    """By the port that they listen on, and by their id; one that is gone is none."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        wait_until(lambda: processes.listening_process(port) is not None)
        holder = processes.listening_process(port)

    assert holder is not None
    assert holder == processes.find_process(holder.pid)
    assert processes.find_process(2**22 + 1) is None
    assert processes.listening_process(port) is None
