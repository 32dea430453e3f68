"""The processes of the HTTP service: started, watched, replaced and stopped."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack
from tempfile import TemporaryDirectory
from typing import Final

from prometheus_client.multiprocess import mark_process_dead
from pydantic import ValidationError

from bgem3_client.errors import InvalidInputError
from bgem3_server.errors import GaveUpError, ServiceStartError
from bgem3_server.gateway.process.events import (
    NoWorkerAnswers,
    ServiceEvent,
    ServiceNotReady,
    ServiceReady,
    ServiceStopped,
    ServiceStopping,
    StateChanges,
    WorkerRestarting,
)
from bgem3_server.gateway.process.stand_in import StandIn
from bgem3_server.gateway.process.worker_process import WorkerProcess
from bgem3_server.gateway.retrieval.store_setting import check_store
from bgem3_server.gateway.settings import GatewaySettings
from bgem3_server.restarts import RestartPolicy, Restarts

METRICS_FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
"""Names the folder through which the metrics of several workers become one answer."""

_POLL_SECONDS: Final = 0.05
# To import everything, from a slow disk too.
_START_SECONDS: Final = 120.0
# A worker ends by itself when the requests in flight have had their time, and those that it gave
# up had half a minute more with Triton, which does not take it well when they are cancelled.
_END_SECONDS: Final = 35.0
# A start takes a second or two: that long callers rather wait than hear of it.
_PATIENCE_SECONDS: Final = 3.0
_SHARED: Final = ("max_load_tokens", "max_in_flight_tokens", "max_result_bytes", "cache_bytes")


class Workers:
    """The processes of one service, kept running by a thread of this process.

    This process keeps the listening socket: while the only worker is replaced, callers wait and are
    not refused. Where that takes longer, or it hangs, they are told to come again.

    Attributes:
        ended: Done when no process is left; fails unless they were asked to stop.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        listener: socket.socket,
        on_event: Callable[[ServiceEvent], None],
        restarts: RestartPolicy,
    ) -> None:
        """Prepare; nothing runs before :meth:`start`.

        Args:
            settings: Of the service; each worker gets its share of the budgets.
            listener: Where requests are taken; closed at the stop.
            on_event: Called from the thread of the workers.
            restarts: What is done about workers that fail.

        Raises:
            InvalidInputError: The share of one worker would be too small, or several cannot share
                the store.
            MissingLibraryError: What the store needs is not installed.
            TLSError: The certificate cannot be used.
        """
        self.ended: Future[None] = Future()
        check_store(settings)
        self._settings = share_of(settings)
        self._listener = listener
        self._stand_in = StandIn(settings, listener)
        self._served_seconds = time.monotonic()
        self._has_served = False
        self._on_event = on_event
        self._triton: str | None = None
        self._stopping = False
        self._killing = False
        self._wake = threading.Event()
        self._environment: dict[str, str] = {}
        self._slots = [_Slot(restarts) for _ in range(settings.workers)]
        self._changes = StateChanges(on_event)

    def start(self) -> None:
        """Run the thread; processes are started once it is known where Triton is."""
        threading.Thread(target=self._run, name="service-workers").start()

    def connect(self, triton: str) -> None:
        """Say where Triton is; workers that were told something else are replaced."""
        self._triton = triton
        self._wake.set()

    def stop(self) -> None:
        """Ask for a clean stop: requests in flight finish. Returns at once; see ``ended``."""
        self._stopping = True
        self._wake.set()

    def kill(self) -> None:
        """Stop now, whatever is in flight. Returns at once; see ``ended``."""
        self._stopping = self._killing = True
        self._wake.set()

    def _run(self) -> None:
        try:
            with ExitStack() as cleanup:
                if len(self._slots) > 1:
                    folder = cleanup.enter_context(TemporaryDirectory(prefix="bgem3-metrics-"))
                    self._environment[METRICS_FOLDER] = folder
                cleanup.callback(self._listener.close)
                cleanup.callback(self._kill_all)
                cleanup.callback(self._stand_in.stop)
                while not self._stopping:
                    self._tend_all()
                    self._wake.wait(_POLL_SECONDS)
                    self._wake.clear()
                self._drain()
        except BaseException as error:  # noqa: BLE001 - raised where the future is waited for
            self.ended.set_exception(error)
        else:
            self.ended.set_result(None)

    def _tend_all(self) -> None:
        if self._triton is None:
            return
        settings = self._settings.model_copy(update={"triton": self._triton})
        for slot in self._slots:
            self._tend(slot, settings)
        self._stand_in_or_not()
        self._tell()

    def _tend(self, slot: _Slot, settings: GatewaySettings) -> None:
        """Start a worker that is missing, and end one that is sick or of no use."""
        worker = slot.worker
        if worker is None:
            if time.monotonic() >= slot.next_start_seconds:
                slot.worker = WorkerProcess(settings, self._listener, self._environment)
                slot.triton = settings.triton
            return
        if slot.triton != settings.triton:
            self._remove(slot, worker)
            return
        worker.listen()
        now = time.monotonic()
        allowed_seconds = (
            _START_SECONDS if worker.state is None else self._settings.hang_timeout_seconds
        )
        if worker.has_ended():
            self._replace(slot, worker, worker.ending())
        elif (silent_seconds := now - worker.heard_seconds) > allowed_seconds:
            self._replace(slot, worker, f"has done nothing for {silent_seconds:.0f} s")

    def _replace(self, slot: _Slot, worker: WorkerProcess, cause: str) -> None:
        """End a worker that failed, and set the time of the next start.

        Raises:
            ServiceStartError: None of this place has ever listened.
            GaveUpError: It has failed too often in a row.
        """
        listened = worker.state is not None
        slot.has_listened |= listened
        self._remove(slot, worker)
        if not slot.has_listened:
            raise ServiceStartError(f"the HTTP service did not start: its process {cause}")
        delay_seconds = slot.restarts.next_delay_seconds(time.monotonic() - worker.began_seconds)
        if delay_seconds is None:
            cause = f"a process of the HTTP service {cause}"
            raise GaveUpError(slot.restarts.given_up(cause))
        slot.next_start_seconds = time.monotonic() + delay_seconds
        self._on_event(WorkerRestarting(cause, slot.restarts.in_a_row, delay_seconds))
        self._changes = StateChanges(self._on_event)  # so that it is said when it is there again

    def _remove(self, slot: _Slot, worker: WorkerProcess) -> None:
        worker.kill()
        worker.close()
        slot.worker = None
        if folder := self._environment.get(METRICS_FOLDER):
            mark_process_dead(worker.pid, folder)  # type: ignore[no-untyped-call]

    def _stand_in_or_not(self) -> None:
        """Have callers answered when no worker has been seen at work for a while."""
        for slot in self._slots:
            if slot.worker is not None and slot.worker.state is not None:
                self._served_seconds = max(self._served_seconds, slot.worker.heard_seconds)
                self._has_served = True
        if time.monotonic() - self._served_seconds > _PATIENCE_SECONDS:
            if self._stand_in.start() and self._has_served:
                self._on_event(NoWorkerAnswers())
        elif self._stand_in.stop():
            self._changes = StateChanges(self._on_event)  # so that it is said that one does again

    def _tell(self) -> None:
        """Say how the service is: as ready as its least ready worker."""
        states = [slot.worker.state for slot in self._slots if slot.worker]
        known = [state for state in states if isinstance(state, ServiceReady | ServiceNotReady)]
        if len(known) == len(self._slots):  # else one is being replaced: that was said
            not_ready = (state for state in known if isinstance(state, ServiceNotReady))
            self._changes.see(next(not_ready, known[0]))

    def _drain(self) -> None:
        """Let the requests in flight finish, as long as they may take."""
        self._stand_in.stop()
        # With this process's copy closed, nobody waits at a port that no worker looks at any more.
        self._listener.close()
        running = [slot.worker for slot in self._slots if slot.worker]
        if not running:
            return
        self._on_event(ServiceStopping())
        for worker in running:
            worker.terminate()
        settings = self._settings
        deadline_seconds = (
            time.monotonic()
            + settings.drain_delay_seconds
            + settings.stop_timeout_seconds
            + _END_SECONDS
        )
        while not self._killing and time.monotonic() < deadline_seconds:
            if all(worker.has_ended() for worker in running):
                break
            self._wake.wait(_POLL_SECONDS)
            self._wake.clear()
        self._on_event(ServiceStopped(all(worker.has_drained() for worker in running)))

    def _kill_all(self) -> None:
        for slot in self._slots:
            if slot.worker is not None:
                self._remove(slot, slot.worker)


class _Slot:
    """The place of one worker, whichever process fills it."""

    def __init__(self, policy: RestartPolicy) -> None:
        self.worker: WorkerProcess | None = None
        self.triton = ""
        self.has_listened = False
        self.next_start_seconds = 0.0
        self.restarts = Restarts(policy)


def share_of(settings: GatewaySettings) -> GatewaySettings:
    """Return the settings of one worker: its part of what the service may hold.

    Raises:
        InvalidInputError: The part would be too small for one text of full length.
    """
    shares = {name: getattr(settings, name) // settings.workers for name in _SHARED}
    try:
        GatewaySettings.model_validate(settings.model_dump() | shares)
    except ValidationError as error:
        name = str(error.errors()[0]["loc"][0])
        option = "--" + name.replace("_", "-")
        raise InvalidInputError(
            f"{option} {getattr(settings, name)} leaves each of {settings.workers} workers "
            f"{shares[name]}, which is too little: raise it, or take fewer workers"
        ) from error
    return settings.model_copy(update=shares)
