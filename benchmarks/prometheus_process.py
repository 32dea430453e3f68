"""A Prometheus of our own, with the project's rules, for as long as something is measured."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import yaml

RULES: Final = Path(__file__).resolve().parent.parent / "docker" / "prometheus" / "rules"
SCRAPE_SECONDS: Final = 1

_START_SECONDS: Final = 30


class PrometheusMissingError(RuntimeError):
    """There is no Prometheus on this machine."""


@dataclass(frozen=True)
class Series:
    """One line of an answer: labels, times (Unix, in seconds) and values."""

    labels: Mapping[str, str]
    times_seconds: list[float]
    values: list[float]


@dataclass(frozen=True)
class PrometheusProcess:
    """A running Prometheus.

    Attributes:
        url: Where it answers.
    """

    url: str

    def query_range(self, query: str, begin_seconds: float, end_seconds: float) -> list[Series]:
        """Return what a query gives over a time, every `SCRAPE_SECONDS`.

        Raises:
            httpx.HTTPError: It could not be asked, or found the query wrong.
        """
        found = self._ask(
            "query_range", query=query, start=begin_seconds, end=end_seconds, step=SCRAPE_SECONDS
        )
        return [
            Series(one["metric"], *_columns(one["values"]))
            for one in sorted(found, key=lambda one: sorted(one["metric"].items()))
        ]

    def query(self, query: str, at_seconds: float) -> list[Series]:
        """Return what a query gives at one time.

        Raises:
            httpx.HTTPError: As :meth:`query_range`.
        """
        found = self._ask("query", query=query, time=at_seconds)
        return [Series(one["metric"], *_columns([one["value"]])) for one in found]

    def _ask(self, route: str, **parameters: str | float) -> Any:
        response = httpx.get(f"{self.url}/api/v1/{route}", params=parameters, timeout=60)
        response.raise_for_status()
        return response.json()["data"]["result"]


@contextmanager
def prometheus_process(targets: Mapping[str, str], folder: Path) -> Iterator[PrometheusProcess]:
    """Run Prometheus while the block runs.

    Args:
        targets: host:port to scrape, by the name of the job.
        folder: Takes its configuration, its data and its log.

    Raises:
        PrometheusMissingError: There is none.
    """
    program = shutil.which("prometheus")
    if program is None:
        raise PrometheusMissingError("there is no prometheus: apt-get install prometheus")
    configuration = {
        "global": {
            "scrape_interval": f"{SCRAPE_SECONDS}s",
            "evaluation_interval": f"{SCRAPE_SECONDS}s",
        },
        "rule_files": [str(RULES / "*.yml")],
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": [target]}]}
            for job, target in targets.items()
        ],
    }
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(configuration), encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = [
        program,
        f"--config.file={file}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_ready(url, process)
        yield PrometheusProcess(url)
    finally:
        process.terminate()
        process.wait()


def _wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{url}/-/ready").is_success:
                return
        except httpx.TransportError:
            pass  # it does not listen yet
        time.sleep(0.1)
    raise RuntimeError(f"Prometheus is not ready after {_START_SECONDS} s; its log says why")


def _columns(points: list[tuple[float, str]]) -> tuple[list[float], list[float]]:
    return [float(at) for at, _ in points], [float(value) for _, value in points]
