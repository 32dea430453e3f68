"""``bgem3 encode``."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import click

from bgem3_client.command_line.output_names import read_output_names

if TYPE_CHECKING:
    from bgem3_client.client import Client
    from bgem3_client.encode_request import EncodeOptions, Output
    from bgem3_client.limits import Limits
    from bgem3_retrieval.bulk.reader import InputFormat
    from bgem3_retrieval.bulk.writers import OutputFormat

_STANDARD_STREAM: Final = "-"
# A server that crashed is back within a minute or so; a long run waits for it.
_ATTEMPTS: Final = 20
# The first request is not that patient: more likely there is no server.
_READY_SECONDS: Final = 5.0
_SKIPPED_EXIT_CODE: Final = 3


def _output_names(ctx: click.Context, param: click.Parameter, value: str) -> frozenset[Output]:
    return frozenset(read_output_names(value))


@dataclass(frozen=True)
class _Settings:
    """The command's options, as given."""

    files: tuple[str, ...]
    input_format: InputFormat
    text_field: str
    id_field: str
    output: str
    output_format: Literal["auto", "jsonl", "npz", "parquet"]
    outputs: frozenset[Output]
    tokens: bool
    colbert_dtype: Literal["float32", "float16"]
    max_length: int
    truncate: bool
    url: str
    on_error: Literal["stop", "skip"]
    errors: Path | None
    batch_texts: int
    timeout_seconds: float
    progress: bool | None

    @property
    def inputs(self) -> tuple[str, ...]:
        return self.files or (_STANDARD_STREAM,)

    @property
    def output_path(self) -> Path | None:
        """None for standard output."""
        return None if self.output == _STANDARD_STREAM else Path(self.output)


@click.command()
@click.argument(
    "files",
    nargs=-1,
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
)
@click.option(
    "--input-format",
    type=click.Choice(["auto", "lines", "jsonl"]),
    default="auto",
    show_default=True,
    help="auto: files named *.jsonl or *.ndjson are JSONL, all else is a text a line.",
)
@click.option(
    "--text-field", default="text", show_default=True, help="JSONL: the field with the text."
)
@click.option(
    "--id-field",
    default="id",
    show_default=True,
    help="JSONL: the field with the id, a string or an integer. Without one the id is the line's "
    "number, or FILE:NUMBER where there are several files.",
)
@click.option(
    "--output",
    "-o",
    default=_STANDARD_STREAM,
    type=click.Path(dir_okay=False, allow_dash=True),
    help="The file to write. It appears when it is complete, and replaces what was there.  "
    "[default: standard output, as JSONL]",
)
@click.option(
    "--output-format",
    type=click.Choice(["auto", "jsonl", "npz", "parquet"]),
    default="auto",
    show_default=True,
    help="auto: by the suffix of --output.",
)
@click.option(
    "--outputs",
    metavar="NAMES",
    callback=_output_names,
    default="dense",
    show_default=True,
    help="Some of dense, sparse and colbert, separated by commas.",
)
@click.option("--tokens", is_flag=True, help="Write the text of each token beside its sparse id.")
@click.option(
    "--colbert-dtype",
    type=click.Choice(["float32", "float16"]),
    default="float32",
    show_default=True,
    help="float16 halves what ColBERT vectors weigh.",
)
@click.option(
    "--max-length",
    type=click.IntRange(1, 8192),
    default=8192,
    show_default=True,
    help="Tokens a text is cut to, special tokens included.",
)
@click.option(
    "--truncate/--no-truncate",
    default=True,
    show_default=True,
    help="Cut longer texts, or reject their lines.",
)
@click.option(
    "--url",
    envvar="BGEM3_URL",
    show_envvar=True,
    default="127.0.0.1:8001",
    show_default=True,
    help="The server: host:port or grpc://… for Triton's gRPC, http://… for its HTTP, bgem3://… "
    "for the HTTP service; grpcs://…, https://… or bgem3s://… encrypted.",
)
@click.option(
    "--on-error",
    type=click.Choice(["stop", "skip"]),
    default="stop",
    show_default=True,
    help="What to do at a line that holds no text that can be encoded.",
)
@click.option(
    "--errors",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A file to write rejected lines to, as JSONL: file, line, reason, content.",
)
@click.option(
    "--batch-texts",
    type=click.IntRange(1, 4096),
    default=64,
    show_default=True,
    help="Texts in a request, at most; long texts make smaller ones. Eight are on their way at "
    "the same time.",
)
@click.option(
    "--timeout-seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=600,
    show_default=True,
    help="Time allowed for one request, retries included.",
)
@click.option(
    "--progress/--no-progress",
    default=None,
    help="Draw a progress bar.  [default: when standard error is a terminal]",
)
def encode(**options: Any) -> None:  # noqa: ANN401 - click's, one for each field of _Settings
    """Encode texts with a running server (see 'bgem3 serve').

    FILES hold a text a line, or a JSON object a line (JSONL); "-", or none, is standard input.
    What ends in .gz is unpacked. Empty lines are empty texts, except in JSONL. The output keeps
    the order of the lines.

    \b
    Examples:
      bgem3 encode texts.txt | head -n 1
      bgem3 encode corpus.jsonl --outputs dense,sparse -o corpus.parquet
      bgem3 encode --outputs colbert --colbert-dtype float16 -o a.npz < a.txt
      bgem3 encode *.jsonl.gz --on-error skip --errors bad.jsonl -o all.parquet

    \b
    Exit codes:
      0    every line is encoded
      1    the server failed, or the output cannot be written
      2    a line is bad (with --on-error stop), or a file or an option is
      3    all is written except for bad lines (with --on-error skip)
      130  interrupted
      141  whoever reads standard output stopped reading

    Unless it ends with 0 or 3, there is no output file, or still the one from before.
    """  # noqa: D301 - click's \b keeps the line breaks of a paragraph
    settings = _Settings(**options)
    try:
        skipped = _encode(settings)
    except KeyboardInterrupt:
        kept = "" if settings.output_path is None else f": {settings.output} is not written"
        click.echo(f"interrupted{kept}", err=True)
        sys.exit(128 + signal.SIGINT)
    except BrokenPipeError:
        _discard_standard_output()
        sys.exit(128 + signal.SIGPIPE)
    if skipped:
        sys.exit(_SKIPPED_EXIT_CODE)


def connect(url: str, limits: Limits) -> Client:
    """Return a client for long runs; nothing is sent yet."""
    from bgem3_client.client import Client
    from bgem3_client.retry_policy import RetryPolicy

    return Client(url, limits=limits, retries=RetryPolicy(attempts=_ATTEMPTS))


def _encode(settings: _Settings) -> int:
    """Do what the settings say; return how many lines were skipped."""
    # NumPy and gRPC are slow to import: 'bgem3 --help' imports this module too.
    from bgem3_client.limits import Limits
    from bgem3_retrieval.bulk.batches import batches
    from bgem3_retrieval.bulk.display import Display
    from bgem3_retrieval.bulk.encoder import BatchEncoder
    from bgem3_retrieval.bulk.inputs import Inputs
    from bgem3_retrieval.bulk.job import run_job
    from bgem3_retrieval.bulk.output_file import output_stream
    from bgem3_retrieval.bulk.reader import RecordReader
    from bgem3_retrieval.bulk.writers import writer_maker

    _check_paths(settings)
    options = _encode_options(settings)
    limits = Limits(max_texts_per_request=settings.batch_texts)
    inputs = Inputs(settings.inputs)
    reader = RecordReader(inputs, settings.input_format, settings.text_field, settings.id_field)
    path = settings.output_path
    make_writer = writer_maker(_output_format(settings), (path or Path()).resolve().parent)
    if _STANDARD_STREAM in settings.inputs and sys.stdin.isatty():
        click.echo("reading lines from the terminal; Ctrl-D ends them", err=True)
    with (
        connect(settings.url, limits) as client,
        Display(
            total_bytes=inputs.total_bytes,
            progress=_draws_progress(settings),
            stop_on_error=settings.on_error == "stop",
            rejections_path=settings.errors,
        ) as display,
    ):
        _wait_until_ready(client)
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


def _wait_until_ready(client: Client) -> None:
    from bgem3_client.errors import DeadlineError, UnavailableError

    try:
        client.wait_until_ready(_READY_SECONDS)
    except DeadlineError as error:
        raise UnavailableError(
            f"{error}. Start a server with 'bgem3 serve', or say where one is: --url or BGEM3_URL"
        ) from error


def _encode_options(settings: _Settings) -> EncodeOptions:
    from bgem3_client.encode_request import EncodeOptions

    if settings.tokens and "sparse" not in settings.outputs:
        raise click.UsageError("--tokens is about sparse weights: add --outputs sparse")
    return EncodeOptions(
        settings.outputs,
        settings.max_length,
        settings.truncate,
        return_tokens=settings.tokens,
        colbert_dtype=settings.colbert_dtype,
    )


def _output_format(settings: _Settings) -> OutputFormat:
    from bgem3_retrieval.bulk.writers import FORMAT_OF_SUFFIX, format_of

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


def _check_paths(settings: _Settings) -> None:
    """Refuse to write over what is read, or two things to one file."""
    read = [Path(name).resolve() for name in settings.inputs if name != _STANDARD_STREAM]
    written = [path.resolve() for path in (settings.output_path, settings.errors) if path]
    for number, path in enumerate(written):
        if path.is_file() and path in read:
            raise click.UsageError(f"{path} is an input, and would be overwritten")
        if path in written[:number]:
            raise click.UsageError("--output and --errors are the same file")


def _draws_progress(settings: _Settings) -> bool:
    if settings.progress is not None:
        return settings.progress
    # A bar would be drawn over what is printed.
    printed = settings.output_path is None and sys.stdout.isatty()
    return sys.stderr.isatty() and not printed


def _discard_standard_output() -> None:
    """Let the interpreter flush what is left at its end without another complaint."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
