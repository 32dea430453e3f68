"""A whole server under fault: `bgem3 serve` with the HTTP service, and hands on its processes."""

from __future__ import annotations

import os
import random
import struct
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import psutil
from retrieval.kept_port import kept_port
from server.serve_command import Serve, family, shared_memory, still_running
from waiting import wait_until

from bgem3_backend.contract import COLBERT_HEAD, SPARSE, TOKEN_TEXTS, TOKENIZER, TRUNK

STEPS: Final = tuple(model.name for model in (TOKENIZER, TOKEN_TEXTS, TRUNK, SPARSE, COLBERT_HEAD))

# What notices a fault does so soon; what that costs with the defaults is arithmetic.
_QUICK: Final = (
    *("--probe-interval-seconds", "1"),
    *("--probe-timeout-seconds", "5"),  # a busy machine is no hung server
    *("--probe-failures", "2"),
    *("--hang-timeout-seconds", "3"),
    *("--restart-delay-seconds", "0.2"),
    *("--restart-delay-limit-seconds", "1"),
    *("--restart-limit", "1000"),
    # Triton 24.10 has requests that it never ends, and waits for them at a stop.
    *("--stop-timeout-seconds", "5"),
    *("--workers", "2"),
    *("--max-load-tokens", "32768", "--max-in-flight-tokens", "4096"),
    *("--ready-interval-seconds", "1"),
)


class Stack:
    """One server, started again at the same ports when it was ended.

    Attributes:
        serve: The running command.
    """

    def __init__(
        self, repository: Path, folder: Path, environment: Mapping[str, str], *options: str
    ) -> None:
        """Start it; see :meth:`wait_ready`.

        Args:
            repository: What it serves.
            folder: For what it prints.
            environment: Variables beside those of this process.
            options: Further options.
        """
        self._folder = folder
        self._environment = {**os.environ, **environment}
        self._command = [
            *(str(Path(sys.executable).with_name("bgem3")), "serve", str(repository)),
            *("--host", "127.0.0.1", "--port", str(kept_port())),
            *("--grpc-port", str(kept_port()), "--http-port", str(kept_port())),
            *("--metrics-port", str(kept_port())),
            *_QUICK,
            *options,
        ]
        self._starts = 0
        self.serve = self.start()

    def start(self) -> Serve:
        """Start it anew, as a service manager would."""
        folder = self._folder / f"start{self._starts}"
        self._starts += 1
        folder.mkdir(parents=True)
        with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
            process = subprocess.Popen(
                [*self._command, "--ready-file", str(folder / "ready.json")],
                stdout=out,
                stderr=err,
                env=self._environment,
            )
        self.serve = Serve(process, folder)
        return self.serve

    def model(self, name: str) -> psutil.Process:
        """Return the process of one Python model."""
        (process,) = [
            child
            for child in self.serve.triton().children(recursive=True)
            if any(f"/{name}/" in argument for argument in _command_line(child))
        ]
        return process

    def worker(self) -> psutil.Process:
        """Return a process of the service, picked at random where it has several."""
        return random.choice(self.serve.workers())

    def any_model(self) -> psutil.Process:
        """Return the process of one Python model, picked at random.

        Not the one that tells tokens' texts: the load does not ask for them, and nobody would see
        it go until the server itself does.
        """
        return self.model(random.choice([step for step in STEPS if step != TOKEN_TEXTS.name]))

    def stop(self) -> None:
        """Stop it in order, and see that nothing of it is left.

        Raises:
            AssertionError: It did not end well, or left something behind.
        """
        process = psutil.Process(self.serve.process.pid)
        processes = family(process)
        regions = shared_memory(self.serve.triton())
        assert regions, "nothing would be seen to be left"
        self.serve.process.terminate()
        status = self.serve.wait_exit(60)

        assert (0, [], []) == (
            status,
            still_running(processes),
            [region for region in regions if region.exists()],
        ), self.serve.complained

    def kill(self) -> None:
        """SIGKILL to the command; return when nothing of it runs any more."""
        processes = family(psutil.Process(self.serve.process.pid))
        self.serve.process.kill()
        self.serve.process.wait()
        wait_until(lambda: not still_running(processes), timeout_seconds=90)


class ClockShift:
    """The wall clock of a server's Python processes, started with :attr:`environment`.

    That is `bgem3 serve` and the service, not Triton and its models' processes.
    """

    def __init__(self, folder: Path) -> None:
        """Compile what is preloaded into them."""
        library = folder / "clock_shift.so"
        source = Path(__file__).with_name("clock_shift.c")
        subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", library, source], check=True)
        self._file = folder / "clock_shift"
        self.set(0)
        self.environment = {"LD_PRELOAD": str(library), "CLOCK_SHIFT_FILE": str(self._file)}

    def set(self, seconds: int) -> None:
        """Have them read the time so many seconds later than it is."""
        # In place: they have the file mapped.
        with self._file.open("r+b" if self._file.exists() else "wb") as file:
            file.write(struct.pack("q", seconds))


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
