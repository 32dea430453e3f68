"""``bgem3 encode``."""

from __future__ import annotations

import os
import sys
from glob import glob, has_magic
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bgem3_client.command_line.output_names import read_output_names
from bgem3_retrieval.bulk.parquet_library import parquet_library
from bgem3_retrieval.bulk.settings import (
    COLBERT_SHARD_TEXTS,
    SHARD_TEXTS,
    SKIPPED_EXIT_CODE,
    STANDARD_STREAM,
    EncodeSettings,
)
from bgem3_retrieval.endings import ending_as_told

if TYPE_CHECKING:
    from bgem3_client.encode_request import Output


def _output_names(ctx: click.Context, param: click.Parameter, value: str) -> frozenset[Output]:
    return frozenset(read_output_names(value))


def _input_names(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> Any:  # noqa: ANN401 - a tuple, which click takes
    return tuple(chain.from_iterable(map(_files_of, value)))


def _files_of(name: str) -> list[str]:
    """Return the files that an argument names; a pattern names what it matches, sorted."""
    if name == STANDARD_STREAM:
        return [name]
    if os.path.isdir(name):
        raise click.BadParameter(f"{name!r} is a folder: name its files, as in '{name}/*.parquet'")
    if os.path.exists(name):
        return [name]
    if not has_magic(name):
        raise click.BadParameter(f"File {name!r} does not exist.")
    found = sorted(path for path in glob(name, recursive=True) if os.path.isfile(path))
    if not found:
        raise click.BadParameter(f"no file matches {name!r}")
    return found


def _urls(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> Any:  # noqa: ANN401 - a tuple, which click takes
    urls = [url.strip() for entry in value for url in entry.split(",") if url.strip()]
    if not urls:
        raise click.BadParameter("no address")
    if len(set(urls)) < len(urls):
        raise click.BadParameter("an address is there twice")
    return tuple(urls)


def _ray_address(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    from bgem3_retrieval.bulk.ray.address import is_address

    if value is not None and not is_address(value):
        raise click.BadParameter(
            f"{value!r} is no address: HOST:PORT, auto or local (--ray before a file is --ray auto)"
        )
    return value


@click.command()
@click.argument("files", nargs=-1, callback=_input_names)
@click.option(
    "--input-format",
    type=click.Choice(["auto", "lines", "jsonl", "parquet"]),
    default="auto",
    show_default=True,
    help="auto: files named *.jsonl or *.ndjson are JSONL, *.parquet is Parquet, all else is a "
    "text a line.",
)
@click.option(
    "--text-field",
    default="text",
    show_default=True,
    help="JSONL and Parquet: the field or column with the text.",
)
@click.option(
    "--id-field",
    default="id",
    show_default=True,
    help="JSONL and Parquet: the one with the id, a string or an integer. Without one the id is "
    "the line's number, or FILE:NUMBER where there are several files.",
)
@click.option(
    "--output",
    "-o",
    default=STANDARD_STREAM,
    type=click.Path(allow_dash=True),
    help="The file to write. It appears when it is complete, and replaces what was there. Or a "
    "folder (FOLDER/) for shards, of which each appears when it is complete.  "
    "[default: standard output, as JSONL]",
)
@click.option(
    "--shard-texts",
    type=click.IntRange(1),
    help="Lines in a shard, which is what a stop may cost; --output is a folder.  "
    f"[default: {SHARD_TEXTS:,}; {COLBERT_SHARD_TEXTS:,} with colbert]",
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
    "--dense-dtype",
    type=click.Choice(["float32", "float16"]),
    default="float32",
    show_default=True,
    help="Folders: float16 halves what dense vectors weigh.",
)
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
    default=["127.0.0.1:8001"],
    show_default="127.0.0.1:8001",
    multiple=True,
    callback=_urls,
    help="The server: host:port or grpc://… for Triton's gRPC, http://… for its HTTP, bgem3://… "
    "for the HTTP service (its key, if it wants one, in BGEM3_API_KEY); grpcs://…, https://… or "
    "bgem3s://… encrypted. Into a folder, several "
    "servers of one model share the work: again, or separated by commas.",
)
@click.option(
    "--on-error",
    type=click.Choice(["stop", "skip"]),
    help="What to do at a line that holds no text that can be encoded.  [default: stop; skip "
    "into a folder, which keeps such lines in _rejected.jsonl]",
)
@click.option(
    "--errors",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A file to write rejected lines to, as JSONL: file, line, reason, content.",
)
@click.option(
    "--hash-inputs",
    is_flag=True,
    help="Folders: know inputs again by their SHA-256, which reads them once more, and not by the "
    "time of their last change.",
)
@click.option(
    "--verify",
    is_flag=True,
    help="Folders: encode nothing, and hold every shard against its SHA-256.",
)
@click.option(
    "--ray",
    metavar="[ADDRESS]",
    is_flag=False,
    flag_value="auto",
    callback=_ray_address,
    help="Folders: encode on a Ray cluster, at HOST:PORT, or auto, the one that this machine "
    "belongs to, or local, one that is started here. The folder is on storage that all its nodes "
    "share.",
)
@click.option(
    "--ray-workers",
    type=click.IntRange(1, 1024),
    help="Shards that are encoded at the same time.  [default: one for each server; with "
    "--ray-repository as many as the cluster has room for]",
)
@click.option(
    "--ray-repository",
    metavar="FOLDER",
    type=click.Path(file_okay=False, path_type=Path),
    help="Encode in the cluster's workers, without a server: the model repository of 'bgem3 "
    "export', which is under this path on every node.",
)
@click.option(
    "--ray-cpus",
    type=click.IntRange(1, 1024),
    help="CPUs of each worker, and threads of its model.  [default: 1]",
)
@click.option(
    "--ray-gpus",
    type=click.FloatRange(0, 16, min_open=True),
    help="With --ray-repository: GPUs of each worker, on which its model runs; 0.5 for two "
    "workers on one.  [default: none]",
)
@click.option(
    "--batch-texts",
    type=click.IntRange(1, 4096),
    default=64,
    show_default=True,
    help="Texts in a request, at most; long texts make smaller ones.",
)
@click.option(
    "--in-flight",
    type=click.IntRange(1, 1024),
    default=8,
    show_default=True,
    help="Requests on their way at the same time, to each server.",
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
def encode(**options: Any) -> None:  # noqa: ANN401 - click's, one for each field of EncodeSettings
    """Encode texts with a running server (see 'bgem3 serve').

    FILES hold a text a line, or a JSON object a line (JSONL), or rows (Parquet); "-", or none, is
    standard input. What ends in .gz is unpacked. Patterns in quotes are matched here. Empty lines
    are empty texts, except in JSONL. The output keeps the order of the lines.

    Into a folder goes a corpus of any size: shards in Parquet, and a manifest. When it was stopped
    before the end, the same command goes on after the last whole shard.

    \b
    Examples:
      bgem3 encode texts.txt | head -n 1
      bgem3 encode corpus.jsonl --outputs dense,sparse -o corpus.parquet
      bgem3 encode --outputs colbert --colbert-dtype float16 -o a.npz < a.txt
      bgem3 encode *.jsonl.gz --on-error skip --errors bad.jsonl -o all.parquet
      bgem3 encode 'corpus/*.parquet' --url a:8001,b:8001 -o vectors/
      bgem3 encode 'corpus/*.parquet' --ray head:6379 --url a:8001,b:8001 -o /shared/vectors/
      bgem3 encode 'corpus/*.parquet' --ray head:6379 --ray-repository /models/m3 -o /shared/v/
      bgem3 encode --verify -o vectors/

    \b
    Exit codes:
      0    every line is encoded
      1    the server failed, the output cannot be written, or a shard is damaged (--verify)
      2    a line is bad (with --on-error stop), or a file or an option is
      3    all is written except for bad lines (with --on-error skip)
      130  interrupted (SIGINT, and SIGTERM into a folder)
      141  whoever reads standard output stopped reading

    Unless it ends with 0 or 3, there is no output file, or still the one from before; in a folder
    there are the whole shards that came before.
    """  # noqa: D301 - click's \b keeps the line breaks of a paragraph
    settings = EncodeSettings(**options)
    _check_mode(settings)
    if settings.into_folder:
        with parquet_library():
            from bgem3_retrieval.bulk.corpus.run import run_corpus
        sys.exit(run_corpus(settings))
    # NumPy and gRPC are slow to import: 'bgem3 --help' imports this module too.
    from bgem3_retrieval.bulk.one_file import encode_into_one

    kept = "" if settings.output_path is None else f": {settings.output} is not written"
    with ending_as_told(f"interrupted{kept}"):
        skipped = encode_into_one(settings)
    if skipped:
        sys.exit(SKIPPED_EXIT_CODE)


def _check_mode(settings: EncodeSettings) -> None:
    """Refuse what goes together with a folder only, or with anything else only."""
    for name, given in {
        "--ray-workers": settings.ray_workers,
        "--ray-repository": settings.ray_repository,
        "--ray-cpus": settings.ray_cpus,
        "--ray-gpus": settings.ray_gpus,
    }.items():
        if given and settings.ray is None:
            raise click.UsageError(f"{name} is about a Ray cluster: add --ray")
    if settings.ray_gpus and settings.ray_repository is None:
        raise click.UsageError(
            "--ray-gpus is for a model in the workers: add --ray-repository (a server has its GPUs "
            "itself)"
        )
    if settings.ray_repository is not None and _url_was_typed():
        raise click.UsageError("--ray-repository encodes without a server: leave --url out")
    if settings.into_folder:
        if settings.output_format not in ("auto", "parquet"):
            raise click.UsageError(f"a folder's shards are Parquet, not {settings.output_format}")
        if settings.errors:
            raise click.UsageError("a folder keeps rejected lines itself, in _rejected.jsonl")
        if not settings.verify and STANDARD_STREAM in settings.inputs:
            raise click.UsageError(
                "a folder needs files as inputs: a run that goes on reads them again"
            )
        return
    for name, given in {
        "--shard-texts": settings.shard_texts,
        "--verify": settings.verify,
        "--hash-inputs": settings.hash_inputs,
        "--ray": settings.ray is not None,
        "--dense-dtype float16": settings.dense_dtype == "float16",
        "several servers": len(settings.url) > 1,
    }.items():
        if given:
            raise click.UsageError(f"{name}: the output must be a folder, as in --output FOLDER/")


def _url_was_typed() -> bool:
    """Whether --url was given here; a BGEM3_URL of the environment is for other commands too."""
    source = click.get_current_context().get_parameter_source("url")
    return source is click.core.ParameterSource.COMMANDLINE
