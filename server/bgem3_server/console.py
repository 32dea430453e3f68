"""What ``bgem3 serve`` prints and writes while it runs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TextIO

from bgem3_server.gateway.process.events import (
    ServiceEvent,
    ServiceNotReady,
    ServiceReady,
    ServiceStopped,
)
from bgem3_server.listening import HttpAddress
from bgem3_server.ready_file import ReadyFile
from bgem3_server.settings import ServeSettings
from bgem3_server.telling import tell
from bgem3_server.triton.events import Absent, Ailing, Event, Launching, Ready, Stopping
from bgem3_server.triton.log import LogLine, Severity

_SHOWN_FROM: Final = {
    "error": Severity.ERROR,
    "warning": Severity.WARNING,
    "info": Severity.INFO,
    "verbose": Severity.INFO,
}


class Console:
    """Prints events and log lines, and keeps the log file and the ready file.

    What is served, and where, goes to standard output, all else to standard error. Events may come
    from several threads.

    Attributes:
        service: Where the HTTP service listens; None when Triton is served alone.
    """

    def __init__(self, settings: ServeSettings) -> None:
        self.service: HttpAddress | None = None
        self._shown_from = _SHOWN_FROM[settings.log_level]
        # Until Triton is ready its failures are told by the error that ends the command, and the
        # lines of its log would only repeat it.
        self._only_in_service = settings.log_level in ("error", "warning")
        self._in_service = False
        self._lock = threading.Lock()
        self._triton_ready: Ready | None = None
        self._service_ready = False
        self._announced = False
        self._files = ExitStack()
        self._ready_file = self._files.enter_context(ReadyFile(settings.ready_file))
        self._log_file = (
            self._files.enter_context(_log_file(settings.log_file)) if settings.log_file else None
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._files.close()

    def event(self, event: Event) -> None:
        """Print what happens to Triton."""
        with self._lock:
            self._in_service = isinstance(event, Ready | Ailing | Absent)
            match event:
                case Ready():
                    tell(describe_model(event))
                    tell(event)
                    self._triton_ready = event
                    self._announce()
                case Launching():
                    pass  # said when it has come up
                case Stopping() if self.service is not None:
                    pass  # the requests in flight were the service's, and it has said so
                case _:
                    tell(event, err=True)

    def service_event(self, event: ServiceEvent) -> None:
        """Print what happens to the HTTP service."""
        with self._lock:
            match event:
                case ServiceReady() if self._announced:
                    tell("the HTTP service answers again", err=True)
                case ServiceReady():
                    self._service_ready = True
                    self._announce()
                case ServiceNotReady() if not self._announced:
                    pass  # Triton is loading the models
                case ServiceNotReady():
                    tell(f"the HTTP service is {event}", err=True)
                case ServiceStopped(drained=True):
                    pass  # Triton goes on
                case ServiceStopped():
                    tell(f"the HTTP service was {event}", err=True)
                case _:
                    tell(event, err=True)

    def _announce(self) -> None:
        """Say that everything is there, once it is."""
        ready, service = self._triton_ready, self.service
        if ready is None or (service is not None and not self._service_ready):
            return
        try:
            self._ready_file.write(ready_content(ready, service))
        except OSError as error:
            if not self._announced:
                raise
            # Triton is back where it was, so what the file says still holds.
            tell(f"the ready file cannot be written anew: {error}", err=True)
        if service is not None and not self._announced:
            tell(f"page {service.local}/  API {service.local}/docs")
            tell(service.bound)
        self._announced = True

    def log(self, line: LogLine) -> None:
        """Print a line of Triton's log if it is grave enough, and write it to the log file."""
        if self._log_file:
            self._log_file.write(line.raw + "\n")
        if line.severity >= self._shown_from and (self._in_service or not self._only_in_service):
            tell(f"triton: {line.message}", err=True)


@contextmanager
def _log_file(path: Path) -> Iterator[TextIO]:
    """Open the log file; what a full disk leaves unwritten at the end is lost."""
    file = path.open("a", encoding="utf-8", buffering=1)
    try:
        yield file
    finally:
        with suppress(OSError):
            file.close()


def describe_model(ready: Ready) -> str:
    """Return one line on what is served."""
    name = f"model: {ready.model.name} version {', '.join(ready.model.versions)}"
    profile = f"profile {ready.profile.profile}"
    if ready.manifest is None:
        size = ready.model.hidden_size
        return "; ".join([name, *([f"{size} dimensions"] if size else []), profile])
    export = ready.version or ready.manifest.versions[ready.manifest.newest]
    shape = ready.version.shape if ready.version else ready.manifest.model
    parts = [name, f"{shape.hidden_size} dimensions", shape.precision, profile]
    if export.demo:
        parts.append(f"demo model: {shape.hidden_size} dimensions, not BGE-M3")
    else:
        parts.insert(1, export.source)
    return "; ".join(parts)


def ready_content(ready: Ready, service: HttpAddress | None) -> dict[str, object]:
    """Return what the ready file says."""
    return {
        **({"service": service.local} if service else {}),
        "grpc": ready.addresses.grpc,
        "http": ready.addresses.http,
        "metrics": ready.addresses.metrics,
        "model": ready.model.name,
        "versions": list(ready.model.versions),
        "profile": ready.profile.profile,
    }
