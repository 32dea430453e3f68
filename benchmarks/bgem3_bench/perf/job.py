"""What ``bgem3 perf`` does, from the program and the texts to the report."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import click

from bgem3_backend.contract import MAX_POSITIONS_TOKENS
from bgem3_bench.perf.binary import find_perf_analyzer
from bgem3_bench.perf.input_data import Work, group_texts, read_texts, write_input_data
from bgem3_bench.perf.partial_model import partial_model
from bgem3_bench.perf.plot import plot
from bgem3_bench.perf.report import Setup, as_json, markdown, summary
from bgem3_bench.perf.run import Measurement, Runner, RunOptions, Window
from bgem3_bench.perf.server import Server, inspect, running_server, started_server
from bgem3_bench.perf.settings import PerfSettings
from bgem3_bench.reports import write_json
from bgem3_client.encode_request import EncodeOptions
from bgem3_client.errors import InvalidInputError

_LOG: Final = "perf_analyzer.log"
_INPUT: Final = "texts.json"
# Each request once in a window, so that all windows have the same work; within reason.
_WINDOW_REQUESTS: Final = (50, 500)


def run_job(settings: PerfSettings) -> None:
    """Measure what the settings say, print the tables and write the report.

    What was measured before a failure is written too.

    Raises:
        PerfAnalyzerMissingError: No perf_analyzer can run here.
        PerfAnalyzerError: It failed.
        InvalidInputError: The texts, the address or the output folder cannot be used.
        BgeM3Error: The server failed, or none could be started.
    """
    busy = os.getloadavg()[0]
    perf_analyzer = find_perf_analyzer(settings.program)
    _say(f"perf_analyzer: {perf_analyzer.program}, {perf_analyzer.origin}")
    texts = read_texts(settings.texts)
    requests = group_texts(texts.texts, settings.texts_per_request)
    _prepare(settings.output)
    with ExitStack() as resources:
        server = resources.enter_context(_server(settings))
        work, output_bytes = _work(server, settings, texts.origin, requests)
        setup = Setup(
            perf_analyzer,
            server.description,
            f"{', '.join(settings.asked_outputs).capitalize() or 'All outputs'} of {server.name}",
            settings.model,
            settings.asked_outputs,
            work,
            _run_options(settings, work, output_bytes),
            busy,
        )
        _say(f"server: {setup.server}\noutputs: {setup.outputs_text}\nwork: {work}")
        folder = Path(resources.enter_context(TemporaryDirectory(prefix="bgem3-perf-")))
        write_input_data(requests, folder / _INPUT)
        runner = Runner(
            perf_analyzer, folder, _INPUT, settings.output.absolute() / _LOG, setup.options
        )
        measurements: list[Measurement] = []
        complete = False
        try:
            with _measured_model(server, settings) as model:
                # In turns, so that whatever else the machine does falls on both protocols.
                for load in settings.loads:
                    for address in server.addresses.values():
                        measurements.append(runner.measure(address, model, load))
                        _say(summary(measurements[-1]))
            complete = True
        finally:
            if measurements:
                _write(settings.output, setup, measurements, complete=complete)


def _prepare(folder: Path) -> None:
    """Make the folder of the report, and begin its log anew."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _LOG).write_text("", encoding="utf-8")
    except OSError as error:
        raise InvalidInputError(f"{folder} cannot be written to: {error.strerror}") from error


@contextmanager
def _server(settings: PerfSettings) -> Iterator[Server]:
    if settings.url is not None:
        yield running_server(settings.url, settings.protocol)
    else:
        with started_server(settings.repository, settings.protocol) as server:
            yield server


def _work(
    server: Server, settings: PerfSettings, origin: str, requests: tuple[tuple[str, ...], ...]
) -> tuple[Work, int]:
    """Return the work, and the bytes of the largest output that it can have."""
    address = next(iter(server.addresses.values()))
    max_length = settings.max_length or MAX_POSITIONS_TOKENS
    found = inspect(address, settings.model, list(chain.from_iterable(requests)), max_length)
    lengths = iter(found.tokens)
    tokens = tuple(tuple(next(lengths) for _ in request) for request in requests)
    work = Work(origin, requests, tokens)
    return work, found.row_bytes * work.most_tokens


def _run_options(settings: PerfSettings, work: Work, output_bytes: int) -> RunOptions:
    window = Window(settings.measurement_interval, settings.measurement_request_count)
    if window == Window():
        fewest, most = _WINDOW_REQUESTS
        window = Window(request_count=min(max(len(work.requests), fewest), most))
    return RunOptions(
        window,
        settings.max_length,
        settings.shared_memory,
        output_bytes,
        settings.timeout_seconds,
        settings.perf_analyzer_options,
    )


@contextmanager
def _measured_model(server: Server, settings: PerfSettings) -> Iterator[str]:
    """Yield the name of the model that has the outputs which were asked for, and no others."""
    if not settings.asked_outputs:
        yield settings.model
        return
    address = next(iter(server.addresses.values()))
    tensors = EncodeOptions(frozenset(settings.asked_outputs)).tensors
    with partial_model(address, settings.model, tensors) as name:
        if settings.url is not None:
            _say(f"{settings.url} has a model {name!r} until this ends")
        yield name


def _write(
    folder: Path, setup: Setup, measurements: Sequence[Measurement], *, complete: bool
) -> None:
    report = markdown(setup, measurements, complete=complete)
    click.echo(f"\n{report}")
    files = plot(measurements, setup.title, folder / "latency")
    picture = f"![Latency over throughput]({files[0].name})\n"
    (folder / "report.md").write_text(f"{report}\n{picture}", encoding="utf-8")
    _say(f"Tables: {folder / 'report.md'}; plot: {', '.join(map(str, files))}")
    write_json(folder / "results.json", as_json(setup, measurements, complete=complete))


def _say(line: str) -> None:
    click.echo(line, err=True)
