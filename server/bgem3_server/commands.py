"""The subcommands of ``bgem3`` that serve."""

from __future__ import annotations

import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from bgem3_backend.contract import TOKENIZER
from bgem3_client.command_line.requirements import require
from bgem3_client.command_line.settings_options import (
    CommandWithHeadings,
    read_settings,
    settings_options,
)
from bgem3_server.console import Console
from bgem3_server.errors import InstallationError
from bgem3_server.gateway.process.listener import service_listener
from bgem3_server.gateway.process.requirements import require_gateway
from bgem3_server.gateway.settings import GatewaySettings
from bgem3_server.settings import ServeSettings
from bgem3_server.signal_inbox import SignalInbox
from bgem3_server.stack import Stack
from bgem3_server.triton.events import Event, Launching
from bgem3_server.triton.supervisor import Supervisor

if TYPE_CHECKING:
    from bgem3_server.gateway.process.workers import Workers

# The models run in this environment, inside Triton.
require("tokenizers", "torch")

_FOR_BOTH: Final = {"gateway", "stop_timeout_seconds", "ready_file"}
# What Triton listens on, and what it serves, is decided here.
_FROM_TRITON: Final = {"triton", "tokenizer"}


@click.command(cls=CommandWithHeadings)
@click.argument("repository", type=click.Path(path_type=Path))
@settings_options(GatewaySettings, "The HTTP service", leave_out=_FOR_BOTH | _FROM_TRITON)
@settings_options(ServeSettings, "Triton", leave_out=_FOR_BOTH)
@settings_options(ServeSettings, "Both", leave_out=ServeSettings.model_fields.keys() - _FOR_BOTH)
@click.argument(
    "triton_arguments", nargs=-1, type=click.UNPROCESSED, metavar="[-- TRITONSERVER_OPTIONS]"
)
def serve(repository: Path, triton_arguments: tuple[str, ...], **options: Any) -> None:  # noqa: ANN401
    """Serve a model REPOSITORY until stopped: Triton, and the HTTP service in front of it.

    REPOSITORY is what `bgem3 export` has written. Options for tritonserver itself may follow after
    `--`.

    The first SIGINT (Ctrl-C) or SIGTERM lets requests in flight finish, the second stops at once.
    What crashes, or no longer answers, is restarted.
    """
    settings = read_settings(ServeSettings, options)
    service_settings = read_settings(GatewaySettings, options) if settings.gateway else None
    received: list[signal.Signals] = []
    with ExitStack() as resources:
        console = resources.enter_context(Console(settings))
        workers: Workers | None = None
        if service_settings is not None:
            workers = _service(repository, service_settings, settings, console, resources)
            triton_arguments = (*_trace_options(service_settings), *triton_arguments)

        def on_event(event: Event) -> None:
            if isinstance(event, Launching) and workers is not None:
                workers.connect(event.addresses.grpc)
            console.event(event)

        inbox = resources.enter_context(SignalInbox())
        supervisor = Supervisor(repository, settings, on_event, console.log, triton_arguments)
        stack = Stack(supervisor, workers)
        stack.ended.add_done_callback(lambda _: inbox.close())
        stack.start()
        for number in inbox:
            received.append(number)
            if len(received) == 1:
                stack.stop()
            else:
                stack.kill()
        stack.ended.result()
    if len(received) > 1:
        sys.exit(128 + received[-1])


def _trace_options(settings: GatewaySettings) -> tuple[str, ...]:
    """Where the service exports its spans, Triton does too."""
    from bgem3_server.gateway.operations.tracing import otlp_endpoint, triton_trace_options

    endpoint = otlp_endpoint(settings)
    return triton_trace_options(endpoint) if endpoint else ()


def _service(
    repository: Path,
    settings: GatewaySettings,
    serve_settings: ServeSettings,
    console: Console,
    resources: ExitStack,
) -> Workers:
    """Bind the port of the HTTP service, and prepare its processes.

    Raises:
        InstallationError: Its libraries are not there.
        PortInUseError: The port is taken.
        TLSError: The certificate cannot be used.
        InvalidInputError: There are too many workers for its budgets.
    """
    try:
        require_gateway()
    except ModuleNotFoundError as error:
        raise InstallationError(
            f"the HTTP service needs {error.name}: pip install 'bgem3-triton[gateway]'; "
            "--no-gateway serves Triton alone"
        ) from error
    from bgem3_server.gateway.process.workers import Workers

    listener, address = service_listener(settings)
    resources.enter_context(listener)
    console.service = address
    has_tokenizer = any((repository / TOKENIZER.name).glob("*/tokenizer.json"))
    return Workers(
        settings.model_copy(update={"tokenizer": repository if has_tokenizer else None}),
        listener,
        console.service_event,
        serve_settings.restart_policy,
    )
