"""A full disk under the log and an export; files that are not what was written."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from faults.full_disk import FullDisk
from server.serve_command import Serve, answer
from tiny_model import write_tiny_model
from waiting import wait_until

from bgem3_backend.contract import TRUNK
from bgem3_export.errors import RepositoryError
from bgem3_server.serving import running_triton

BGEM3 = Path(sys.executable).with_name("bgem3")


@pytest.mark.live
def test_a_server_outlives_its_log(tmp_path: Path) -> None:
    """Nothing that it prints can be written, or is read: Triton is restarted as ever."""
    write_tiny_model(tmp_path / "repository")
    read_end, write_end = os.pipe()
    with Path("/dev/full").open("wb") as full:
        process = subprocess.Popen(
            [
                *(BGEM3, "serve", tmp_path / "repository", "--no-gateway"),
                *("--grpc-port", "0", "--http-port", "0", "--metrics-port", "0"),
                *("--restart-delay-seconds", "0.1", "--log-level", "info"),
                *("--log-file", "/dev/full", "--ready-file", tmp_path / "ready.json"),
            ],
            stdout=full,
            stderr=write_end,
        )
    os.close(write_end)
    os.close(read_end)
    try:
        wait_until(
            lambda: (tmp_path / "ready.json").exists() or process.poll() is not None,
            timeout_seconds=120,
        )
        serve = Serve(process, tmp_path)
        (tmp_path / "stderr").touch()
        grpc = serve.wait_ready()["grpc"]
        killed = serve.triton()
        killed.kill()
        wait_until(lambda: _answers(grpc), timeout_seconds=60)
        replaced = serve.triton()
        process.send_signal(signal.SIGTERM)

        assert replaced.pid != killed.pid
        # Python itself says 120 where its last words cannot be written.
        assert process.wait(60) in (0, 120)
    finally:
        process.kill()
        process.wait()


@pytest.mark.live
@pytest.mark.parametrize("log", ["full disk", "closed pipe"])
def test_the_service_outlives_its_log(
    addresses: dict[str, str], fault_repository: Path, tmp_path: Path, log: str
) -> None:
    """Requests are answered, rightly and with errors, and their lines are lost."""
    read_end, write_end = os.pipe()
    if log == "full disk":
        os.dup2(os.open("/dev/full", os.O_WRONLY), write_end)
    ready = tmp_path / "ready.json"
    process = subprocess.Popen(
        [
            *(BGEM3, "gateway", "--triton", addresses["grpc"], "--tokenizer", fault_repository),
            *("--host", "127.0.0.1", "--port", "0", "--ready-file", ready),
        ],
        stdout=write_end,
        stderr=write_end,
    )
    os.close(write_end)
    os.close(read_end)
    try:
        wait_until(lambda: ready.exists() or process.poll() is not None, timeout_seconds=60)
        assert process.poll() is None
        url = httpx.Response(200, content=ready.read_bytes()).json()["service"]
        with httpx.Client(base_url=url, timeout=30) as client:
            statuses = [
                client.post("/embed", json=body).status_code
                for body in ({"texts": ["hello"]}, {"texts": "no list"}, {"texts": ["again"]}) * 3
            ]

        assert [200, 422, 200] * 3 == statuses
    finally:
        process.kill()
        process.wait()


def test_the_disk_runs_full_under_an_export(fault_repository: Path, tmp_path: Path) -> None:
    """What was there before is there as it was, and nothing of the new one."""
    repository = tmp_path / "disk" / "repository"
    shutil.copytree(fault_repository, repository)
    before = _contents(repository.parent)
    disk = FullDisk(repository.parent, tmp_path)
    disk.fill()
    ended = subprocess.run(
        [BGEM3, "export", fault_repository.parent / "checkpoint", "--output", repository],
        env=os.environ | disk.environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert 1 == ended.returncode
    assert "full" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert before == _contents(repository.parent)


def _flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


@pytest.mark.parametrize("damage", [_flip_a_bit, _cut, Path.unlink])
@pytest.mark.parametrize(
    "name",
    [f"{TRUNK.name}/1/model.onnx.data", f"{TRUNK.name}/1/model.onnx", "bge_m3_sparse/1/model.py"],
)
def test_a_damaged_model_is_not_served(
    fault_repository: Path, tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    """The file is named, and Triton is not even started."""
    repository = tmp_path / "repository"
    shutil.copytree(fault_repository, repository)
    damage(repository / name)
    events: list[object] = []

    with (
        pytest.raises(RepositoryError, match=rf"{name} .*(damaged|cannot be read)"),
        running_triton(repository, on_event=events.append),
    ):
        pass
    assert not any("Launching" in type(event).__name__ for event in events)


def _answers(grpc: str) -> bool:
    try:
        return answer(grpc, timeout_seconds=5) == len("hello")
    except Exception:  # noqa: BLE001 - tritonclient's, and those of a connection that fails
        return False


def _contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(".lock")
    }
