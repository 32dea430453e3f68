"""``bgem3 gateway``: the HTTP service alone, in front of a Triton that runs elsewhere."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Callable
from typing import Any

import click

from bgem3_client.command_line.settings_options import read_settings, settings_options
from bgem3_server.gateway.process.console import ServiceConsole
from bgem3_server.gateway.process.events import (
    Listening,
    ServiceEvent,
    ServiceStopped,
    StateChanges,
)
from bgem3_server.gateway.process.listener import service_listener
from bgem3_server.gateway.process.requirements import require_gateway
from bgem3_server.gateway.settings import GatewaySettings
from bgem3_server.ready_file import ReadyFile
from bgem3_server.restarts import RestartPolicy
from bgem3_server.signal_inbox import SignalInbox

require_gateway()


@click.command()
@settings_options(GatewaySettings)
def gateway(**options: Any) -> None:  # noqa: ANN401
    """Serve over HTTP what a Triton that runs elsewhere computes.

    Clients of OpenAI, text-embeddings-inference, Cohere and Jina can be pointed at it; its page
    /docs explains every route. `bgem3 serve` starts Triton and this service together.

    The first SIGINT (Ctrl-C) or SIGTERM lets requests in flight finish, the second stops at once.
    """
    settings = read_settings(GatewaySettings, options)
    listener, address = service_listener(settings)
    with listener, ReadyFile(settings.ready_file) as ready_file:
        console = ServiceConsole(address, settings.triton, ready_file)
        console.event(Listening(address))
        run = _run_workers if settings.workers > 1 else _run_alone
        killed_by = run(settings, listener, console.event)
    if killed_by is not None:
        sys.exit(128 + killed_by)


def _run_alone(
    settings: GatewaySettings, listener: socket.socket, on_event: Callable[[ServiceEvent], None]
) -> int | None:
    """Serve in this process; return the second signal, if there was one."""
    # Imported now: it takes a second, and the list of commands should not.
    from bgem3_server.gateway.process.service import run_service

    ending = run_service(settings, listener, StateChanges(on_event).see)
    on_event(ServiceStopped(ending.drained))
    return ending.killed_by


def _run_workers(
    settings: GatewaySettings, listener: socket.socket, on_event: Callable[[ServiceEvent], None]
) -> int | None:
    """Serve by processes that this one watches; return the second signal, if there was one."""
    from bgem3_server.gateway.process.workers import Workers

    received: list[signal.Signals] = []
    with SignalInbox() as inbox:
        workers = Workers(settings, listener, on_event, RestartPolicy())
        workers.ended.add_done_callback(lambda _: inbox.close())
        workers.start()
        workers.connect(settings.triton)
        for number in inbox:
            received.append(number)
            if len(received) == 1:
                workers.stop()
            else:
                workers.kill()
        workers.ended.result()
    return received[1] if len(received) > 1 else None
