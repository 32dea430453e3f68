"""What ``bgem3 serve`` prints and writes while it runs."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import click

from bgem3_server.settings import ServeSettings
from bgem3_server.triton.events import Absent, Ailing, Event, Ready
from bgem3_server.triton.log import LogLine, Severity

_SHOWN_FROM: Final = {
    "error": Severity.ERROR,
    "warning": Severity.WARNING,
    "info": Severity.INFO,
    "verbose": Severity.INFO,
}


class Console:
    """Prints events and log lines, and keeps the log file and the ready file.

    The ready line and what is served go to standard output, all else to standard error.
    """

    def __init__(self, settings: ServeSettings) -> None:
        self._shown_from = _SHOWN_FROM[settings.log_level]
        # Until Triton is ready its failures are told by the error that ends the command, and the
        # lines of its log would only repeat it.
        self._only_in_service = settings.log_level in ("error", "warning")
        self._in_service = False
        self._ready_file = settings.ready_file
        self._files = ExitStack()
        self._log_file = (
            self._files.enter_context(settings.log_file.open("a", encoding="utf-8", buffering=1))
            if settings.log_file
            else None
        )

    def __enter__(self) -> Self:
        if self._ready_file:
            # What an earlier server left behind would be taken for this one's.
            self._ready_file.unlink(missing_ok=True)
            self._files.callback(self._ready_file.unlink, missing_ok=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._files.close()

    def event(self, event: Event) -> None:
        """Print an event."""
        self._in_service = isinstance(event, Ready | Ailing | Absent)
        if not isinstance(event, Ready):
            click.echo(event, err=True)
            return
        if self._ready_file:
            write_ready_file(self._ready_file, event)
        click.echo(describe_model(event))
        click.echo(event)

    def log(self, line: LogLine) -> None:
        """Print a line of Triton's log if it is grave enough, and write it to the log file."""
        if self._log_file:
            self._log_file.write(line.raw + "\n")
        if line.severity >= self._shown_from and (self._in_service or not self._only_in_service):
            click.echo(f"triton: {line.message}", err=True)


def describe_model(ready: Ready) -> str:
    """Return one line on what is served."""
    name = f"model: {ready.model.name} version {', '.join(ready.model.versions)}"
    profile = f"profile {ready.profile.profile}"
    if ready.manifest is None:
        size = ready.model.hidden_size
        return "; ".join([name, *([f"{size} dimensions"] if size else []), profile])
    shape = ready.manifest.model
    export = ready.manifest.versions[ready.manifest.newest]
    parts = [name, f"{shape.hidden_size} dimensions", shape.precision, profile]
    if export.demo:
        parts.append(f"demo model: {shape.hidden_size} dimensions, not BGE-M3")
    else:
        parts.insert(1, export.source)
    return "; ".join(parts)


def write_ready_file(path: Path, ready: Ready) -> None:
    """Write the addresses as JSON; whoever sees the file sees all of it."""
    content = {
        "grpc": ready.addresses.grpc,
        "http": ready.addresses.http,
        "metrics": ready.addresses.metrics,
        "model": ready.model.name,
        "versions": list(ready.model.versions),
        "profile": ready.profile.profile,
    }
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(json.dumps(content) + "\n", encoding="utf-8")
    partial.replace(path)
