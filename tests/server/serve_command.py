"""A running `bgem3 serve`, requests to it, and what it leaves behind."""

from __future__ import annotations

import json
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import tritonclient.grpc as triton_grpc
from waiting import wait_until

_WORKER = "bgem3_server.gateway.process.worker"


def answer(grpc_address: str, text: str = "hello", timeout_seconds: float = 20) -> int:
    """Return the length that the tiny model gives for a text."""
    tensor = triton_grpc.InferInput("text", [1, 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[text.encode()]], dtype=np.object_))
    with triton_grpc.InferenceServerClient(grpc_address) as client:
        result = client.infer("bge_m3", [tensor], client_timeout=timeout_seconds)
    return int(result.as_numpy("token_lengths").item())


@dataclass
class Serve:
    """A running `bgem3 serve`."""

    process: subprocess.Popen[bytes]
    folder: Path

    @property
    def ready_file(self) -> Path:
        """Where it writes its addresses."""
        return self.folder / "ready.json"

    @property
    def printed(self) -> str:
        """Its standard output so far."""
        return (self.folder / "stdout").read_text()

    @property
    def complained(self) -> str:
        """Its standard error so far."""
        return (self.folder / "stderr").read_text()

    def wait_ready(self) -> dict[str, str]:
        """Return its addresses; fail when it ends instead."""
        wait_until(
            lambda: self.ready_file.exists() or self.process.poll() is not None,
            timeout_seconds=120,  # on a busy machine the models take their time
        )
        assert self.process.poll() is None, self.complained
        return json.loads(self.ready_file.read_text())

    def triton(self) -> psutil.Process:
        """The tritonserver."""
        (triton,) = [child for child, name in self._children() if name.endswith("tritonserver")]
        return triton

    def worker(self) -> psutil.Process:
        """The process of the HTTP service, where it has one."""
        (worker,) = self.workers()
        return worker

    def workers(self) -> list[psutil.Process]:
        """The processes of the HTTP service."""
        return [child for child, name in self._children() if name == _WORKER]

    def _children(self) -> list[tuple[psutil.Process, str]]:
        """What it has started, each with its program, or with the module that Python runs."""
        children = []
        for child in psutil.Process(self.process.pid).children():
            with suppress(psutil.Error):  # it ended meanwhile
                program, *arguments = child.cmdline()
                children.append((child, _WORKER if _WORKER in arguments else program))
        return children

    def wait_exit(self, timeout_seconds: float = 20) -> int:
        """Return its exit status."""
        return self.process.wait(timeout_seconds)


def family(process: psutil.Process) -> list[psutil.Process]:
    """Return a process and all that it has started."""
    return [process, *process.children(recursive=True)]


def still_running(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Return those that have not ended; whether somebody has asked how is another matter."""
    return [process for process in processes if _runs(process)]


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # it ended between the two
        return False


def shared_memory(triton: psutil.Process) -> list[Path]:
    """The regions in /dev/shm of one Triton, which has put its --id before their names."""
    (server_id,) = [
        argument.removeprefix("--id=")
        for argument in triton.cmdline()
        if argument.startswith("--id=")
    ]
    return list(Path("/dev/shm").glob(f"{server_id}*"))
