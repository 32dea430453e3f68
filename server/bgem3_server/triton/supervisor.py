"""Keeps one Triton running: starts it, watches it, restarts it, and stops it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bgem3_client.triton_key import VARIABLE
from bgem3_export.errors import RepositoryError
from bgem3_export.manifest import Manifest
from bgem3_server.errors import GaveUpError, PortInUseError, StartError
from bgem3_server.model_files import ModelFiles
from bgem3_server.models.start import prepare_choice, served_files
from bgem3_server.repository import read_repository
from bgem3_server.restarts import Restarts
from bgem3_server.settings import ServeSettings
from bgem3_server.triton.addresses import Addresses, pick_addresses
from bgem3_server.triton.batching import batching_of_trunk
from bgem3_server.triton.command import triton_command
from bgem3_server.triton.engine import check_engine, tensorrt_version
from bgem3_server.triton.events import (
    Absent,
    Ailing,
    Event,
    KeyProblem,
    Launching,
    Ready,
    Restarting,
    Starting,
    Stopped,
    Stopping,
)
from bgem3_server.triton.gpus import visible_gpus
from bgem3_server.triton.installation import Installation, find_installation
from bgem3_server.triton.key import KeyFiles, make_key
from bgem3_server.triton.log import LogLine
from bgem3_server.triton.probe import Finding, Health
from bgem3_server.triton.process import TritonProcess
from bgem3_server.triton.profile import ProfileChoice, choose_profile

_PICKS_OF_PORTS: Final = 5
_POLL_SECONDS: Final = 0.1
# After a failed probe the next comes sooner.
_REPROBE_SECONDS: Final = 1.0


@dataclass(frozen=True)
class _Plan:
    """What is served, by what; the same for every start."""

    manifest: Manifest | None
    installation: Installation
    profile: ProfileChoice


@dataclass(frozen=True)
class _Failure:
    """Why Triton must be restarted; a hung one is given no time to finish its requests."""

    cause: str
    hung: bool = False


class Supervisor:
    """A Triton that is kept running, by a thread of this process.

    Attributes:
        ready: Done when Triton first answers; fails when it never did, is cancelled when it was
            stopped before.
        ended: Done when nothing is left of Triton; fails unless it was asked to stop.
    """

    def __init__(
        self,
        repository: Path,
        settings: ServeSettings,
        on_event: Callable[[Event], None],
        on_log: Callable[[LogLine], None],
        extra_arguments: tuple[str, ...] = (),
    ) -> None:
        """Prepare; nothing runs before :meth:`start`.

        Args:
            repository: The directory to serve.
            settings: How.
            on_event: Called from the supervisor's thread.
            on_log: Called from another thread with every line of Triton's log.
            extra_arguments: Further options for ``tritonserver``.
        """
        self.ready: Future[Ready] = Future()
        self.ended: Future[None] = Future()
        self._repository = repository
        self._files = ModelFiles(repository)
        self._settings = settings
        self._on_event = on_event
        self._on_log = on_log
        self._extra_arguments = extra_arguments
        self._stopping = threading.Event()
        self._process: TritonProcess | None = None
        self._key = make_key(settings)  # the same after a restart: clients keep what they have read
        self._key_files = KeyFiles()
        self._lock = threading.Lock()  # no start after a stop, no signal after the end

    def start(self) -> None:
        """Start Triton in the background; see ``ready``."""
        threading.Thread(target=self._run, name="triton-supervisor").start()

    def stop(self) -> None:
        """Ask for a clean stop: requests in flight finish. Returns at once; see ``ended``."""
        with self._lock:
            self._stopping.set()
            if self._process is not None:
                self._process.terminate()

    def kill(self) -> None:
        """Stop now, whatever is in flight. Returns at once; see ``ended``."""
        with self._lock:
            self._stopping.set()
            if self._process is not None:
                self._process.kill()

    def _run(self) -> None:
        try:
            try:
                self._serve()
            finally:
                self._end(drain_seconds=0)
                self._key_files.remove()
        except BaseException as error:  # noqa: BLE001 - raised where the future is waited for
            if not self.ready.done():
                self.ready.set_exception(error)
            self.ended.set_exception(error)
        else:
            self.ready.cancel()
            self.ended.set_result(None)

    def _serve(self) -> None:
        manifest = read_repository(self._repository)
        installation = find_installation(self._settings.tritonserver)
        profile = choose_profile(self._settings.profile, installation)
        if profile.profile == "tensorrt_plan":
            check_engine(manifest, visible_gpus(), tensorrt_version)
        plan = _Plan(manifest, installation, profile)
        self._on_event(Starting(installation, profile))
        batching = batching_of_trunk(self._repository, manifest, profile.profile, installation)
        if batching is not None:
            self._on_event(batching)
        addresses: Addresses | None = None
        restarts = Restarts(self._settings.restart_policy)
        while True:
            started = time.monotonic()
            try:
                process = self._start(plan, addresses)
            except (StartError, RepositoryError) as error:
                if not self.ready.done():
                    raise
                failure = _Failure(f"could not be started: {error}")
            else:
                if process is None:
                    return
                addresses = process.command.addresses
                watched = self._watch(process)
                if watched is None:
                    self._on_event(Stopping())
                    self._on_event(Stopped(self._end(self._settings.stop_timeout_seconds)))
                    return
                failure = watched
                self._end(0 if failure.hung else self._last_chance_seconds)
            delay_seconds = restarts.next_delay_seconds(time.monotonic() - started)
            if delay_seconds is None:
                raise GaveUpError(restarts.given_up(f"Triton {failure.cause}"))
            self._on_event(Restarting(failure.cause, restarts.in_a_row, delay_seconds))
            if self._stopping.wait(delay_seconds):
                return

    @property
    def _last_chance_seconds(self) -> float:
        """How long a sick Triton may finish requests: some may pass, and all others wait."""
        # A request of which two steps fail at once is never ended by Triton 24.10, so it would
        # often take the whole stop timeout.
        return min(self._settings.probe_timeout_seconds, self._settings.stop_timeout_seconds)

    def _start(self, plan: _Plan, addresses: Addresses | None) -> TritonProcess | None:
        """Start Triton, wait until it is ready and say so; None when it is to stop before that.

        Args:
            plan: What to start.
            addresses: Those of the Triton that ran before: its clients come back to them.
        """
        if plan.manifest is not None and self._settings.check_files:
            self._files.check(served_files(self._repository, plan.manifest))
        if addresses is not None:
            return self._start_at(plan, addresses)
        for _ in range(_PICKS_OF_PORTS - 1):
            picked = pick_addresses(self._settings)
            try:
                return self._start_at(plan, picked)
            except PortInUseError:
                # Somebody was quicker than Triton. A port that was asked for by number is not
                # picked again: `pick_addresses` says that it is in use.
                continue
        return self._start_at(plan, pick_addresses(self._settings))

    def _start_at(self, plan: _Plan, addresses: Addresses) -> TritonProcess | None:
        choice = prepare_choice(self._repository)
        command = triton_command(
            plan.installation,
            self._repository,
            plan.profile.profile,
            addresses,
            self._settings,
            self._key,
            self._extra_arguments,
            choice.models,
        )
        self._on_event(Launching(addresses))
        if self._key is not None:
            self._keep_key(self._key, addresses)
        with self._lock:
            if self._stopping.is_set():
                return None
            process = self._process = TritonProcess(command, self._settings, self._on_log)
        try:
            model = process.wait_ready(self._stopping.is_set)
        except StartError:
            self._end(drain_seconds=0)
            raise
        if model is None:
            self._end(drain_seconds=0)
            return None
        if process.key_problem is not None:
            self._on_event(
                KeyProblem(
                    "stays in its command line, which everybody on this machine can read: "
                    f"{process.key_problem}"
                )
            )
        ready = Ready(addresses, model, plan.manifest, plan.profile, choice.version)
        if not self.ready.done():
            self.ready.set_result(ready)
        self._on_event(ready)
        return process

    def _keep_key(self, key: str, addresses: Addresses) -> None:
        """Write the key where this user's clients find it; without it they are strangers."""
        try:
            self._key_files.write(key, (addresses.grpc_port, addresses.http_port))
        except OSError as error:
            self._on_event(KeyProblem(f"cannot be kept for clients ({error}); set {VARIABLE}"))

    def _watch(self, process: TritonProcess) -> _Failure | None:
        """Wait until Triton fails; None when it is to stop."""
        interval = self._settings.probe_interval_seconds
        allowed = self._settings.probe_failures
        failures = 0
        last = Finding(Health.WELL)
        next_probe = time.monotonic() + interval
        while not self._stopping.wait(_POLL_SECONDS):
            if process.has_ended():
                process.stop(drain_seconds=0)  # reads its log to the end
                return _Failure(process.ending())
            if not interval or time.monotonic() < next_probe:
                continue
            finding = process.probe.check()
            if process.has_ended() or self._stopping.is_set():
                continue
            if finding.health in (Health.SICK, Health.HUNG):
                failures += 1
                self._on_event(Ailing(finding, failures, allowed))
            else:
                failures = 0
            if failures >= allowed:
                return _Failure(
                    f"is {finding.health.value}: {finding.detail}", finding.health is Health.HUNG
                )
            if finding.health is Health.ABSENT and last.health is not Health.ABSENT:
                self._on_event(Absent(finding))
            last = finding
            next_probe = time.monotonic() + (
                min(interval, _REPROBE_SECONDS) if failures else interval
            )
        return None

    def _end(self, drain_seconds: float) -> bool:
        """End the current Triton, if there is one; True when its requests were answered."""
        process = self._process
        if process is None:
            return True
        drained = process.stop(drain_seconds)
        with self._lock:
            self._process = None
        return drained
