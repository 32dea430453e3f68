"""``bgem3 encode`` into one file, or to standard output."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path

import click

from bgem3_retrieval.bulk.batches import batches
from bgem3_retrieval.bulk.display import Display
from bgem3_retrieval.bulk.encoder import BatchEncoder
from bgem3_retrieval.bulk.inputs import Inputs
from bgem3_retrieval.bulk.job import run_job
from bgem3_retrieval.bulk.output_file import output_stream
from bgem3_retrieval.bulk.reader import RecordReader
from bgem3_retrieval.bulk.settings import STANDARD_STREAM, EncodeSettings
from bgem3_retrieval.bulk.writers import FORMAT_OF_SUFFIX, OutputFormat, format_of, writer_maker
from bgem3_retrieval.connections import connect, wait_until_ready


def encode_into_one(settings: EncodeSettings) -> int:
    """Do what the settings say; return how many lines were skipped."""
    _check_paths(settings)
    options = settings.encode_options()
    limits = settings.limits()
    inputs = Inputs(settings.inputs)
    reader = RecordReader(inputs, settings.input_format, settings.text_field, settings.id_field)
    path = settings.output_path
    make_writer = writer_maker(_output_format(settings), (path or Path()).resolve().parent)
    if STANDARD_STREAM in settings.inputs and sys.stdin.isatty():
        click.echo("reading lines from the terminal; Ctrl-D ends them", err=True)
    with (
        Display(
            total_bytes=inputs.total_bytes,
            progress=settings.draws_progress(),
            stop_on_error=settings.stop_on_error,
            rejections_path=settings.errors,
        ) as display,
        connect(settings.url[0], display.say, limits) as client,
    ):
        wait_until_ready(client)
        model = client.model_info()
        with (
            output_stream(path) as stream,
            closing(make_writer(stream, options, model)) as writer,
        ):
            tally = run_job(
                batches(reader, limits, options.max_length),
                BatchEncoder(
                    client,
                    options,
                    max_in_flight=limits.max_in_flight,
                    timeout_seconds=settings.timeout_seconds,
                ),
                writer,
                display,
            )
    display.summary(tally, "standard output" if path is None else settings.output)
    return tally.skipped


def _output_format(settings: EncodeSettings) -> OutputFormat:
    path = settings.output_path
    if settings.output_format == "auto":
        chosen = "jsonl" if path is None else format_of(path)
        if chosen is None:
            raise click.UsageError(
                f"which format is {settings.output}? Name it {', '.join(FORMAT_OF_SUFFIX)}, or "
                "say --output-format"
            )
        return chosen
    if path is None and settings.output_format != "jsonl":
        raise click.UsageError(
            f"--output-format {settings.output_format} needs a file: add --output FILE"
        )
    return settings.output_format


def _check_paths(settings: EncodeSettings) -> None:
    """Refuse to write over what is read, or two things to one file."""
    read = [Path(name).resolve() for name in settings.inputs if name != STANDARD_STREAM]
    written = [path.resolve() for path in (settings.output_path, settings.errors) if path]
    for number, path in enumerate(written):
        if path.is_file() and path in read:
            raise click.UsageError(f"{path} is an input, and would be overwritten")
        if path in written[:number]:
            raise click.UsageError("--output and --errors are the same file")
