"""A process of the HTTP service that another one watches: ``worker.py LISTENER REPORTS``.

Both are descriptors that it inherits: the listening socket, and a pipe that it writes its state
to, so often that silence means it hangs. The settings come pickled through standard input.
"""

from __future__ import annotations

import pickle
import socket
import sys

import click

from bgem3_client.errors import BgeM3Error
from bgem3_server.gateway.process.service import run_service
from bgem3_server.gateway.process.worker_reports import Reports
from bgem3_server.gateway.settings import GatewaySettings


def main() -> None:
    """Serve until told to stop."""
    listener, reports = (int(argument) for argument in sys.argv[1:])
    settings = pickle.load(sys.stdin.buffer)  # noqa: S301 - from our own parent  # nosec B301
    assert isinstance(settings, GatewaySettings)
    try:
        ending = run_service(settings, socket.socket(fileno=listener), Reports(reports).tell)
        status = 0 if ending.drained else 1
    except BgeM3Error as error:
        click.echo(f"error: {error}", err=True)
        status = error.exit_code
    sys.exit(status)


if __name__ == "__main__":
    main()
