"""``bgem3 doctor``."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import click
from pydantic_settings import BaseSettings

from bgem3_backend.settings import BackendSettings
from bgem3_client.command_line.settings_options import (
    CommandWithHeadings,
    read_settings,
    settings_options,
)
from bgem3_server.doctor.check import Result, run_checks
from bgem3_server.doctor.families import FAMILIES
from bgem3_server.doctor.report import TextReport, as_json, exit_code, without_secrets
from bgem3_server.doctor.secrets import Secrets
from bgem3_server.doctor.subject import Subject
from bgem3_server.gateway.settings import GatewaySettings
from bgem3_server.settings import ServeSettings

Settings = TypeVar("Settings", bound=BaseSettings)

# Those that the checks read; the others are examined as the environment has them.
_TRITON: Final = {"tritonserver", "profile", "address", "grpc_port", "http_port", "metrics_port"}
_SERVICE: Final = {"host", "port"}
_SERVICE_KEY: Final = "BGEM3_API_KEY"


@click.command(cls=CommandWithHeadings)
@click.argument("repository", type=click.Path(path_type=Path), required=False)
@click.option(
    "--url",
    envvar="BGEM3_URL",
    show_envvar=True,
    help="A running Triton: host:port or grpc://…, http://…; or bgem3://… for the HTTP service.  "
    "[default: one on this machine, if there is one]",
)
@click.option(
    "--service",
    metavar="URL",
    help="A running HTTP service, as in http://host:33330; its key, if it wants one, in "
    "BGEM3_API_KEY.  [default: one on this machine, if there is one]",
)
@click.option(
    "--store",
    envvar="BGEM3_STORE",
    show_envvar=True,
    metavar="ADDRESS",
    help="A vector store, as for 'bgem3 search': are its collections of the model that is served?",
)
@click.option("--collection", help="One of that store.  [default: all]")
@click.option("--hub", is_flag=True, help="Ask the hub, or the mirror in HF_ENDPOINT, too.")
@click.option("--json", "json_", is_flag=True, help="Print JSON.")
@settings_options(
    GatewaySettings,
    "Where the HTTP service would listen",
    leave_out=GatewaySettings.model_fields.keys() - _SERVICE,
)
@settings_options(
    ServeSettings,
    "How Triton would be started",
    leave_out=ServeSettings.model_fields.keys() - _TRITON,
)
def doctor(
    repository: Path | None,
    url: str | None,
    service: str | None,
    store: str | None,
    collection: str | None,
    *,
    hub: bool,
    json_: bool,
    **options: Any,  # noqa: ANN401
) -> None:
    """Say what is wrong with this installation and with a running server, and what to do.

    REPOSITORY is what `bgem3 export` has written: its files are checked against their SHA-256,
    and what it takes of memory against what there is.

    Nothing is changed, and no key or password is printed.

    \b
    Exit codes:
      0  no problem; there may be warnings
      1  a problem, or a check that broke off
      2  an option does not fit
    """  # noqa: D301 - click's \b keeps the line breaks of a paragraph
    errors: list[str] = []
    progress = _Progress()
    subject = Subject(
        repository=repository,
        settings=_settings(ServeSettings, options, errors),
        service_settings=_settings(GatewaySettings, options, errors),
        backend_settings=_settings(BackendSettings, {}, errors),
        setting_errors=tuple(errors),
        url=url,
        service=service,
        store=store,
        collection=collection,
        hub=hub,
        headers=_headers(),
        progress=progress.show,
    )
    secrets = Secrets()
    text = TextReport(shutil.get_terminal_size().columns if sys.stdout.isatty() else None)
    results: list[Result] = []
    if not json_:
        text.begin()
    for found in run_checks(FAMILIES, subject):
        result = without_secrets(found, secrets)
        results.append(result)
        progress.clear()
        if not json_:
            text.show(result)
    if json_:
        click.echo(json.dumps(as_json(results), ensure_ascii=False, indent=2))
    else:
        text.end(results)
    sys.exit(exit_code(results))


def _settings(model: type[Settings], options: dict[str, Any], errors: list[str]) -> Settings:
    """Return the settings; the defaults, with the error kept, where they cannot be used."""
    try:
        return read_settings(model, options)
    except click.UsageError as error:
        errors.extend(error.message.splitlines())
        return cast("Settings", model.model_construct())


def _headers() -> dict[str, str] | None:
    key = os.environ.get(_SERVICE_KEY)
    return {"authorization": f"Bearer {key}"} if key else None


class _Progress:
    """How far the reading of a large file is, on the last line of a terminal."""

    _LARGE_BYTES: Final = 64 * 2**20

    def __init__(self) -> None:
        self._shown = 0
        self._line = ""

    def show(self, name: str, done_bytes: int, total_bytes: int) -> None:
        """Say it, where somebody watches."""
        if total_bytes < self._LARGE_BYTES or not sys.stderr.isatty():
            return
        line = f"  reading {name}: {done_bytes * 100 // total_bytes} %"
        line = line[: shutil.get_terminal_size().columns - 1]
        if line == self._line:
            return
        self._line = line
        click.echo(f"\r{line:{self._shown}}", nl=False, err=True)
        self._shown = len(line)

    def clear(self) -> None:
        """Take the line away."""
        if self._shown:
            click.echo(f"\r{'':{self._shown}}\r", nl=False, err=True)
            self._shown = 0
