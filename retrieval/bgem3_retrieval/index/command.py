"""``bgem3 index``."""

from __future__ import annotations

import json
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

import click

from bgem3_client.command_line.requirements import require
from bgem3_retrieval.connections import (
    connect,
    connect_store,
    store_option,
    url_option,
    wait_until_ready,
)

if TYPE_CHECKING:
    from bgem3_retrieval.index.collection import CollectionOptions
    from bgem3_retrieval.index.corpus import Corpus
    from bgem3_retrieval.index.report import IndexReport
    from bgem3_retrieval.stores.collection import ColbertChoice, Storage

# What reads files: without it there is nothing to index. Stores say themselves what they lack.
require("markdown_it", "selectolax", "pypdfium2", "docx", "regex", "platformdirs")

_SKIPPED_EXIT_CODE: Final = 3


@dataclass(frozen=True)
class _Settings:
    """The command's options, as given."""

    paths: tuple[Path, ...]
    collection: str
    store: str | None
    url: str
    max_tokens: int | None
    overlap_tokens: int | None
    storage: Storage | None
    colbert: ColbertChoice | None
    pool_factor: int | None
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    root: Path | None
    text_field: str | None
    id_field: str | None
    title_field: str | None
    metadata_fields: tuple[str, ...]
    recreate: bool
    dry_run: bool
    errors: Path | None
    as_json: bool
    progress: bool | None

    def corpus(self) -> Corpus:
        """The files that are meant."""
        from bgem3_retrieval.documents.reader import ReaderOptions
        from bgem3_retrieval.index.corpus import Corpus
        from bgem3_retrieval.index.selection import Selection

        return Corpus(
            self.paths,
            Selection(self.include, self.exclude),
            ReaderOptions(
                text_field=self.text_field,
                id_field=self.id_field,
                title_field=self.title_field,
                metadata_fields=self.metadata_fields or None,
            ),
            self.root,
        )

    def options(self) -> CollectionOptions:
        """What is wanted of the collection."""
        from bgem3_retrieval.index.collection import CollectionOptions

        return CollectionOptions(
            self.storage, self.colbert, self.pool_factor, self.max_tokens, self.overlap_tokens
        )


@click.command()
@click.argument(
    "paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path), metavar="PATH…"
)
@click.option("--collection", "-c", required=True, metavar="NAME", help="Made if it is not there.")
@store_option
@url_option
@click.option(
    "--max-tokens",
    type=click.IntRange(16, 8192),
    help="Tokens in a chunk, special tokens included.  [default: 512]",
)
@click.option(
    "--overlap-tokens",
    type=click.IntRange(min=0),
    help="Tokens that a chunk repeats of the one before it.  [default: an eighth of a chunk, 64 at "
    "most]",
)
@click.option(
    "--storage",
    type=click.Choice(["float32", "float16", "int8"]),
    help="What is kept of each number of a dense or ColBERT vector.  [default: float16]",
)
@click.option(
    "--colbert",
    type=click.Choice(["full", "pooled", "none"]),
    help="Keep a vector for each token, or the means of similar ones, or none.  [default: full]",
)
@click.option(
    "--pool-factor",
    type=click.IntRange(2, 16),
    help="Of --colbert pooled: so many tokens become one vector.  [default: 2]",
)
@click.option(
    "--include",
    multiple=True,
    metavar="GLOB",
    help="Of folders, only files that match: '*.md', 'manuals/*'. May be given several times.",
)
@click.option(
    "--exclude",
    multiple=True,
    metavar="GLOB",
    help="Of folders, no files that match, nor what is in folders of that name: 'drafts'.",
)
@click.option(
    "--root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Name documents by their path from this folder, so that it can be moved.  [default: by "
    "their absolute path]",
)
@click.option(
    "--text-field",
    metavar="NAME",
    help="Of tables (JSONL, CSV, Parquet): the field with the text.  [default: found by its name]",
)
@click.option(
    "--id-field",
    metavar="NAME",
    help="Of tables: the field with the id.  [default: found by its name, else the row's number]",
)
@click.option(
    "--title-field",
    metavar="NAME",
    help="Of tables: the field with the title.  [default: found by its name]",
)
@click.option(
    "--metadata-field",
    "metadata_fields",
    multiple=True,
    metavar="NAME",
    help="Of tables: a field that a search can filter by. May be given several times.  [default: "
    "all that hold numbers, booleans, dates or short strings]",
)
@click.option(
    "--recreate",
    is_flag=True,
    help="Drop the collection first, and make it anew: with other options, or for another model.",
)
@click.option(
    "--dry-run", is_flag=True, help="Say what would be done with each document, and do nothing."
)
@click.option(
    "--errors",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A file to write all that is skipped to, as JSONL: source, reason.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@click.option(
    "--progress/--no-progress",
    default=None,
    help="Draw a progress bar.  [default: when standard error is a terminal]",
)
def index(**options: Any) -> None:  # noqa: ANN401 - click's, one for each field of _Settings
    """Bring a collection up to date with files and folders.

    Reads text, Markdown, HTML, PDF, DOCX, and tables (JSONL, CSV, Parquet) of which each row is a
    document; cuts them into chunks by the model's tokens; encodes dense, sparse and ColBERT in one
    pass with a running server (see 'bgem3 serve'); and stores them.

    Run it again at any time: what is unchanged is not encoded again, what has changed replaces
    its chunks, and what is gone from the folders is removed. After an interruption it goes on
    where it stopped.

    \b
    Examples:
      bgem3 index docs -c manuals
      bgem3 index docs -c manuals --include '*.pdf' --exclude drafts
      bgem3 index articles.jsonl -c news --text-field body --id-field url
      bgem3 index docs -c manuals --store http://qdrant:6333 --colbert pooled
      bgem3 index docs -c manuals --recreate --max-tokens 256

    \b
    Exit codes:
      0    the collection is up to date
      1    the server or the store failed; what was written stays
      2    a path, an option or the collection does not fit
      3    up to date but for what was skipped
      130  interrupted; what was written stays
    """  # noqa: D301 - click's \b keeps the line breaks of a paragraph
    from bgem3_retrieval.advice import telling_options

    settings = _Settings(**options)
    with telling_options():
        if settings.dry_run:
            _preview(settings)
            return
        report = _index(settings)
    if report.skipped_count:
        sys.exit(_SKIPPED_EXIT_CODE)


def _index(settings: _Settings) -> IndexReport:
    # NumPy and gRPC are slow to import: 'bgem3 --help' imports this module too.
    from bgem3_client.errors import BgeM3Error
    from bgem3_retrieval.index.display import IndexDisplay, summary
    from bgem3_retrieval.index.indexer import Indexer

    progress = sys.stderr.isatty() if settings.progress is None else settings.progress
    with (
        IndexDisplay(progress=progress, skipped_path=settings.errors) as display,
        _telling_interrupts(display.say),
    ):
        try:
            with (
                closing(connect_store(settings.store, display.say)) as store,
                # Closed first: that ends what threads are still waiting for.
                closing(connect(settings.url, display.say)) as client,
            ):
                wait_until_ready(client)
                report = Indexer(client, store).index(
                    settings.collection,
                    settings.corpus(),
                    settings.options(),
                    recreate=settings.recreate,
                    observer=display,
                )
                lines = summary(report, store.address)
                warning = store.size_warning(settings.collection)
        except KeyboardInterrupt:
            display.say(f"stopped{_kept(display.report, settings)}")
            sys.exit(128 + signal.SIGINT)
        except BgeM3Error:
            if display.report is not None:
                display.say(f"stopped{_kept(display.report, settings)}")
            raise
    if settings.as_json:
        click.echo(json.dumps(asdict(report), ensure_ascii=False))
    for line in lines:
        display.say(line)
    if warning is not None:
        display.say(f"warning: {warning}")
    return report


@contextmanager
def _telling_interrupts(say: Callable[[str], None]) -> Iterator[None]:
    """Say at the first Ctrl-C why it takes a moment; the second one takes none."""

    def interrupted(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.default_int_handler)
        say("interrupted: waiting for the requests that are on their way (Ctrl-C again: at once)")
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupted)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _kept(report: IndexReport | None, settings: _Settings) -> str:
    """What a run that ended early comes to."""
    if report is None:
        return ": nothing was written"
    again = " without --recreate" if settings.recreate else ""
    return (
        f": {report.indexed:,} document{'' if report.indexed == 1 else 's'} of this run are in the "
        f"collection and stay; run the command again{again}, and it goes on with the others"
    )


def _preview(settings: _Settings) -> None:
    from bgem3_retrieval.documents.folder import display_name
    from bgem3_retrieval.index.indexer import preview

    if settings.recreate:
        raise click.UsageError("--dry-run and --recreate: everything would be encoded again")
    counts: Counter[str] = Counter()
    with closing(connect_store(settings.store)) as store:
        for change in preview(store, settings.collection, settings.corpus(), settings.options()):
            counts[change.kind] += 1
            if settings.as_json:
                click.echo(json.dumps(asdict(change), ensure_ascii=False))
            elif change.kind != "keep":
                reason = f": {change.reason}" if change.reason else ""
                click.echo(f"{change.kind:6}  {display_name(change.source)}{reason}")
    kinds = ", ".join(f"{counts[kind]:,} to {kind}" for kind in sorted(counts))
    click.echo(f"dry run: {kinds or 'nothing to do'}", err=True)
