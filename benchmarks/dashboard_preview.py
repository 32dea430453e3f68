"""What the dashboard shows of a real load, drawn without Grafana.

Starts ``bgem3 serve`` with the demo model and a Prometheus with the project's rules, sends a mixed
load, kills Triton once, asks Prometheus for every query of the dashboard, and draws the answers
where the dashboard has its panels. ``make dashboard-preview`` writes docs/images/dashboard.png.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import click
import psutil

from bgem3_bench.repositories import demo_repository
from bgem3_server.serving import running_triton
from bgem3_server.settings import ServeSettings
from dashboard_drawing import Answer, PanelAnswers, draw_dashboard, legend_name
from dashboard_load import mixed_load
from prometheus_process import PrometheusMissingError, PrometheusProcess, prometheus_process
from serve_process import serve_process

_ROOT: Final = Path(__file__).resolve().parent.parent
_DASHBOARD: Final = _ROOT / "docker" / "grafana" / "dashboards" / "bgem3.json"
_PICTURE: Final = _ROOT / "docs" / "images" / "dashboard.png"
_SETTINGS: Final = {
    "BGEM3_CACHE_BYTES": "2000000",
    "BGEM3_MAX_LOAD_TOKENS": "30000",
    "BGEM3_CANARY_SHARE": "0.1",
}
"""Small enough for a few minutes to fill them."""

_RATE_INTERVAL: Final = "15s"
_KILL_SHARE: Final = 0.68
_AFTERWARDS_SECONDS: Final = 5


@click.command()
@click.option("--seconds", type=click.IntRange(60), default=180, show_default=True)
@click.option("--seed", default=20_26, show_default=True)
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), default=_PICTURE, show_default=True
)
def main(seconds: int, seed: int, output: Path) -> None:
    """Draw the dashboard from a load of so many seconds on the demo model."""
    dashboard = json.loads(_DASHBOARD.read_text(encoding="utf-8"))
    repository = demo_repository()
    # The other Triton serves the same model: it takes over when the first one is killed.
    other_settings = ServeSettings(grpc_port=0, http_port=0, metrics_port=0)
    with (
        tempfile.TemporaryDirectory() as name,
        running_triton(repository, other_settings) as other,
        serve_process(
            repository,
            Path(name),
            {**_SETTINGS, "BGEM3_FALLBACK_TRITON": other.grpc, "BGEM3_CANARY_TRITON": other.grpc},
        ) as served,
    ):
        targets = {
            "bgem3-service": urlsplit(served.addresses["service"]).netloc,
            "bgem3-triton": urlsplit(served.addresses["metrics"]).netloc,
        }
        try:
            with prometheus_process(targets, Path(name)) as prometheus:
                begin = time.time()
                answers = asyncio.run(_load(served.addresses["service"], seconds, seed, served.pid))
                click.echo(f"answers: {dict(sorted(answers.items()))}", err=True)
                time.sleep(_AFTERWARDS_SECONDS)
                _draw(dashboard, prometheus, (begin, time.time()), output)
        except PrometheusMissingError as error:
            raise click.ClickException(str(error)) from error
    click.echo(f"{output} ({output.stat().st_size >> 10} KB)")


async def _load(url: str, seconds: int, seed: int, serve_pid: int) -> Mapping[str, int]:
    async def kill_triton() -> None:
        await asyncio.sleep(seconds * _KILL_SHARE)
        for process in psutil.Process(serve_pid).children(recursive=True):
            if process.name() == "tritonserver":
                process.send_signal(signal.SIGKILL)

    answers, _ = await asyncio.gather(mixed_load(url, seconds, seed), kill_triton())
    return answers


def _draw(
    dashboard: Mapping[str, Any],
    prometheus: PrometheusProcess,
    span_seconds: tuple[float, float],
    path: Path,
) -> None:
    shown = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    rows = [panel for panel in dashboard["panels"] if panel["type"] == "row"]
    panels = [
        PanelAnswers(panel, list(_answers(panel, prometheus, span_seconds))) for panel in shown
    ]
    for answered in panels:
        if not answered.answers:
            click.echo(f"empty: {answered.panel['title']}", err=True)
    title = f"{dashboard['title']}: drawn by matplotlib from the dashboard's queries; demo model"
    draw_dashboard(panels, rows, title, span_seconds, path)


def _answers(
    panel: Mapping[str, Any], prometheus: PrometheusProcess, span_seconds: tuple[float, float]
) -> Iterator[Answer]:
    begin, end = span_seconds
    for target in panel["targets"]:
        query = target["expr"].replace("$__rate_interval", _RATE_INTERVAL)
        query = query.replace("$__range", f"{end - begin:.0f}s")
        query = re.sub(r"\$(service|triton)\b", ".*", query)
        found = (
            prometheus.query(query, end)
            if target.get("instant")
            else prometheus.query_range(query, begin, end)
        )
        for series in found:
            yield Answer(legend_name(target["legendFormat"], series.labels), series)


if __name__ == "__main__":
    main()
