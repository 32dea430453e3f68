"""One run of perf_analyzer: at one level of load, watched, and ended whatever happens."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from math import ceil, sqrt
from pathlib import Path
from typing import IO, Final, Literal

import click

from bgem3_backend.contract import MAX_LENGTH_PARAMETER
from bgem3_bench.perf.binary import PerfAnalyzer
from bgem3_bench.perf.errors import (
    PerfAnalyzerError,
    PerfAnalyzerTimeoutError,
    PerfAnalyzerUnstableError,
)
from bgem3_bench.perf.loads import Load
from bgem3_bench.perf.results import REPORT, Figures, read_report
from bgem3_bench.perf.settings import Protocol
from bgem3_client.address import Address
from bgem3_client.triton_key import key_headers
from bgem3_server.triton import leash

# Its own: https://github.com/triton-inference-server/perf_analyzer, src/constants.h
_STABILITY_ERROR: Final = 2
_WINDOWS: Final = 3  # that it compares
_MAX_TRIALS: Final = 6
# Then its last three measurements are taken for stable, whatever they are.
_ANYTHING_IS_STABLE: Final = ("--stability-percentage", "1000000")
# On a SIGINT it sends nothing more and waits for the answers under way: a request that its client
# left may stay in Triton for ever. Then it ends, but not where it counts the answers in a window.
_FINISH_SECONDS: Final = 10.0
_SHOWN_LINES: Final = 12


@dataclass(frozen=True)
class Window:
    """What perf_analyzer takes for one measurement; it compares three.

    Attributes:
        interval_milliseconds: A time; or
        request_count: As many answers, at least.
    """

    interval_milliseconds: int | None = None
    request_count: int | None = None

    def arguments(self, load: Load) -> tuple[str, ...]:
        """The options of perf_analyzer."""
        if self.interval_milliseconds is not None:
            return ("--measurement-interval", str(self.interval_milliseconds))
        return (
            *("--measurement-mode", "count_windows"),
            *("--measurement-request-count", str(self._requests(load))),
        )

    def tells_behind(self, load: Load, requests_per_second: float) -> bool:
        """Tell whether fewer requests were answered than a rate of sending explains by chance."""
        if load.kind != "request_rate":
            return False
        if self.interval_milliseconds is not None:
            sent = load.value * self.interval_milliseconds / 1000
        else:
            sent = self._requests(load)
        # Sent at random: three standard deviations of a Poisson process.
        chance = 3 / sqrt(_WINDOWS * sent)
        return requests_per_second < (1 - max(chance, 0.05)) * load.value

    def _requests(self, load: Load) -> int:
        assert self.request_count is not None
        # In a window of few requests its ends count: those that were under way.
        fewest = 4 * load.value if load.kind == "concurrency" else 2 * load.value
        return max(self.request_count, ceil(fewest))

    def __str__(self) -> str:
        if self.interval_milliseconds is not None:
            return f"{self.interval_milliseconds} ms"
        return f"{self.request_count} requests or more"


@dataclass(frozen=True)
class RunOptions:
    """What is the same for every level of load.

    Attributes:
        max_length: Tokens a text is cut to; None for the server's default.
        shared_memory: How outputs come back.
        output_bytes: Room for one output, in shared memory.
        timeout_seconds: Time allowed for one level of load.
        extra: Further options of perf_analyzer, put last, so that they win.
    """

    window: Window
    max_length: int | None
    shared_memory: Literal["none", "system"]
    output_bytes: int
    timeout_seconds: float
    extra: tuple[str, ...] = ()

    def arguments(self, load: Load) -> tuple[str, ...]:
        """The options of perf_analyzer."""
        arguments = [
            *load.arguments,
            *self.window.arguments(load),
            *("--max-trials", str(_MAX_TRIALS)),
        ]
        if self.max_length is not None:
            arguments += ["--request-parameter", f"{MAX_LENGTH_PARAMETER}:{self.max_length}:int"]
        if self.shared_memory == "system":
            arguments += ["--shared-memory", "system"]
            arguments += ["--output-shared-memory-size", str(self.output_bytes)]
        return (*arguments, *self.extra)


@dataclass(frozen=True)
class Measurement:
    """One level of load over one protocol.

    Attributes:
        stable: False where the figures are those of windows that differ by more than allowed.
        keeps_up: False where requests were sent faster than they were answered.
    """

    protocol: Protocol
    figures: Figures
    stable: bool
    keeps_up: bool


class Runner:
    """Runs perf_analyzer in one folder.

    Args:
        perf_analyzer: The program.
        folder: Where it runs: its input is there, and its reports are read from there.
        input_data: The name of the input's file in ``folder``.
        log: What it prints goes here.
        options: How to measure.
    """

    def __init__(
        self,
        perf_analyzer: PerfAnalyzer,
        folder: Path,
        input_data: str,
        log: Path,
        options: RunOptions,
    ) -> None:
        self._perf_analyzer = perf_analyzer
        self._folder = folder
        self._input_data = input_data
        self._log = log
        self._options = options

    def measure(self, address: Address, model: str, load: Load) -> Measurement:
        """Measure one level of load.

        Where perf_analyzer finds nothing stable it reports nothing; it is then run again and
        taken at its word.

        Raises:
            PerfAnalyzerError: It failed; see its subtypes.
        """
        assert address.protocol != "bgem3"
        arguments = (
            *("-m", model, "-u", address.target, "-i", address.protocol),
            *("--input-data", self._input_data, "-f", REPORT),
            *self._options.arguments(load),
        )
        stable = True
        try:
            self._run(arguments, address, load)
        except PerfAnalyzerUnstableError:
            stable = False
            self._run((*arguments, *_ANYTHING_IS_STABLE), address, load)
        reported = read_report(self._folder, model)
        # As text: it writes what it was told, in fewer digits.
        if [str(figures.load) for figures in reported] != [str(load)]:
            raise PerfAnalyzerError(
                f"perf_analyzer was asked for {load} and reports "
                f"{', '.join(str(figures.load) for figures in reported) or 'nothing'}: an option "
                "behind -- asks for something else"
            )
        (figures,) = reported
        behind = self._options.window.tells_behind(load, figures.requests_per_second)
        return Measurement(address.protocol, figures, stable, keeps_up=not behind)

    def _key_arguments(self, address: Address) -> list[str]:
        """Return the options with which shared memory may be registered; not for the log."""
        # Over gRPC perf_analyzer sends no headers.
        if self._options.shared_memory == "none" or address.protocol != "http":
            return []
        headers = key_headers(address).items()
        return [part for name, value in headers for part in ("-H", f"{name}:{value}")]

    def _run(self, arguments: tuple[str, ...], address: Address, load: Load) -> None:
        for old in self._folder.glob(f"*{REPORT}"):
            old.unlink()
        with self._log.open("a+", encoding="utf-8", errors="replace") as log:
            command = [str(self._perf_analyzer.program), *arguments]
            log.write(f"\n$ {shlex.join(command)}\n")
            log.flush()
            begin = log.tell()
            status = self._wait([*command, *self._key_arguments(address)], log, load)
            log.seek(begin)
            printed = log.read()
        if status == _STABILITY_ERROR:
            raise PerfAnalyzerUnstableError(f"perf_analyzer found nothing stable at {load}")
        if status != 0:
            raise PerfAnalyzerError(
                f"perf_analyzer failed at {load} ({_exit_text(status)}):\n{_last_words(printed)}\n"
                f"All that it printed is in {self._log}"
            )

    def _wait(self, command: list[str], log: IO[str], load: Load) -> int:
        """Run a command to its end, or end it: at the timeout, and however this is left."""
        process = subprocess.Popen(
            # It ends with this process, also where that is killed.
            [sys.executable, "-I", "-S", leash.__file__, str(os.getpid()), *command],
            cwd=self._folder,
            env=self._perf_analyzer.environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            # A Ctrl-C reaches this process alone, which then asks for an orderly end.
            start_new_session=True,
        )
        try:
            return process.wait(self._options.timeout_seconds)
        except subprocess.TimeoutExpired as error:
            raise PerfAnalyzerTimeoutError(
                f"perf_analyzer had not measured {load} after "
                f"{self._options.timeout_seconds:g} s and was stopped. --timeout-seconds gives it "
                "longer; smaller windows (--measurement-request-count) need less; what it printed "
                f"is in {self._log}"
            ) from error
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it started, if it still runs."""
    if process.poll() is not None:
        return
    click.echo(
        f"stopping perf_analyzer: up to {_FINISH_SECONDS:g} s for the answers under way", err=True
    )
    try:
        os.killpg(process.pid, signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_FINISH_SECONDS)
    finally:  # also where a second Ctrl-C ends the wait
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _exit_text(status: int) -> str:
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    return f"exit status {status}"


def _last_words(printed: str) -> str:
    """The end of what it printed, without the pages about its options that follow a mistake."""
    lines = printed.partition("\nUsage: ")[0].splitlines()
    said = [line.rstrip() for line in lines if line.strip()]
    return "\n".join(f"  {line}" for line in said[-_SHOWN_LINES:])
