"""The server and the store that a command works with, and the options that say where they are."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

if TYPE_CHECKING:
    from bgem3_client.client import Client
    from bgem3_client.limits import Limits
    from bgem3_retrieval.stores.store import Store

Command = TypeVar("Command", bound=Callable[..., Any])

STORE_KEY_VARIABLE: Final = "BGEM3_STORE_API_KEY"
"""The environment variable with the store's key: a command line can be read by others."""

_SERVICE_KEY_VARIABLE: Final = "BGEM3_API_KEY"
# A server that crashed is back within a minute or so; a long run waits for it.
_ATTEMPTS: Final = 20
# The first request is not that patient: more likely there is no server.
READY_SECONDS: Final = 5.0
"""How long a server may take to answer the first time."""


def url_option(command: Command) -> Command:
    """Decorate a command with ``--url``."""
    return click.option(
        "--url",
        envvar="BGEM3_URL",
        show_envvar=True,
        default="127.0.0.1:8001",
        show_default=True,
        help="The server: host:port or grpc://… for Triton's gRPC, http://… for its HTTP, "
        "bgem3://… for the HTTP service (its key, if it wants one, in BGEM3_API_KEY); grpcs://…, "
        "https://… or bgem3s://… encrypted.",
    )(command)


def store_option(command: Command) -> Command:
    """Decorate a command with ``--store``."""
    return click.option(
        "--store",
        envvar="BGEM3_STORE",
        show_envvar=True,
        metavar="ADDRESS",
        help="Where collections are: a folder (Qdrant inside this process), http://host:6333 or "
        "https://… (a Qdrant server or cluster), milvus:FILE.db, milvus+http://host:19530. A "
        f"server's key is taken from {STORE_KEY_VARIABLE}.  [default: a folder of yours]",
    )(command)


def connect(
    url: str, say: Callable[[str], None] | None = None, limits: Limits | None = None
) -> Client:
    """Return a client for long runs; nothing is sent yet.

    Args:
        url: The server's.
        say: Told when the server is waited for, and when it is back.
        limits: The client's; None for the usual ones.

    Raises:
        InvalidInputError: The url is none.
    """
    from bgem3_client.client import Client
    from bgem3_client.limits import Limits
    from bgem3_retrieval.outage import Outage, SaidRetries

    return Client(
        url,
        limits=limits or Limits(),
        retries=SaidRetries(attempts=_ATTEMPTS, outage=None if say is None else Outage(url, say)),
        headers=service_headers(),
    )


def service_headers() -> dict[str, str] | None:
    """Return what shows the HTTP service this user's key, if the environment has one."""
    key = os.environ.get(_SERVICE_KEY_VARIABLE)
    return {"authorization": f"Bearer {key}"} if key else None


def wait_until_ready(client: Client) -> None:
    """Return when the server answers.

    Raises:
        UnavailableError: It does not within some seconds.
        AccessError: It refuses this caller.
    """
    from bgem3_client.errors import DeadlineError, UnavailableError

    try:
        client.wait_until_ready(READY_SECONDS)
    except DeadlineError as error:
        raise UnavailableError(
            f"{error}. Start a server with 'bgem3 serve', or say where one is: --url or BGEM3_URL"
        ) from error


def connect_store(address: str | None, say: Callable[[str], None] | None = None) -> Store:
    """Open the store at an address; None is a folder of the user's.

    Args:
        address: See :func:`bgem3_retrieval.stores.address.open_store`.
        say: Of a long run: see there too.

    Raises:
        InvalidInputError: The address is none.
        MissingLibraryError: The store's library is not installed.
        StoreError: The store cannot be reached, or another process has it.
    """
    from bgem3_retrieval.stores.address import default_store_address, open_store

    return open_store(address or default_store_address(), os.environ.get(STORE_KEY_VARIABLE), say)
