"""The subcommands of ``bgem3`` that serve."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import click

from bgem3_client.command_line.requirements import require
from bgem3_client.command_line.settings_options import read_settings, settings_options
from bgem3_server.console import Console
from bgem3_server.settings import ServeSettings
from bgem3_server.signal_inbox import SignalInbox
from bgem3_server.triton.supervisor import Supervisor

# The models run in this environment, inside Triton.
require("tokenizers", "torch")


@click.command()
@click.argument("repository", type=click.Path(path_type=Path))
@settings_options(ServeSettings)
@click.argument(
    "triton_arguments", nargs=-1, type=click.UNPROCESSED, metavar="[-- TRITONSERVER_OPTIONS]"
)
def serve(repository: Path, triton_arguments: tuple[str, ...], **options: Any) -> None:  # noqa: ANN401
    """Serve a model REPOSITORY on Triton until stopped.

    REPOSITORY is what `bgem3 export` has written. Options for tritonserver itself may follow after
    `--`.

    The first SIGINT (Ctrl-C) or SIGTERM lets requests in flight finish, the second stops at once.
    A Triton that crashes, or no longer answers, is restarted.
    """
    settings = read_settings(ServeSettings, options)
    with Console(settings) as console, SignalInbox() as inbox:
        supervisor = Supervisor(repository, settings, console.event, console.log, triton_arguments)
        supervisor.ended.add_done_callback(lambda _: inbox.close())
        supervisor.start()
        received: list[signal.Signals] = []
        for number in inbox:
            received.append(number)
            if len(received) == 1:
                supervisor.stop()
            else:
                supervisor.kill()
        supervisor.ended.result()
    if len(received) > 1:
        sys.exit(128 + received[-1])
