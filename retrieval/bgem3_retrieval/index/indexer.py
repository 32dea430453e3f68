"""Collections brought up to date."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from bgem3_retrieval.chunks.splitter import Splitter
from bgem3_retrieval.documents.document import Document
from bgem3_retrieval.errors import CollectionExistsError
from bgem3_retrieval.index.collection import (
    CollectionOptions,
    check_model,
    check_options,
    chunk_options,
    find_spec,
    new_spec,
)
from bgem3_retrieval.index.corpus import Corpus
from bgem3_retrieval.index.encoding import ChunkEncoder, EncodedBatch
from bgem3_retrieval.index.fingerprints import Fingerprints
from bgem3_retrieval.index.forecast import Forecast
from bgem3_retrieval.index.items import Read, ReadItem, Unchanged, Unread
from bgem3_retrieval.index.pipeline import run_pipeline
from bgem3_retrieval.index.reading import compare_documents, compare_files, read_files
from bgem3_retrieval.index.report import IndexReport, Observer, SilentObserver
from bgem3_retrieval.index.states import StoredStates
from bgem3_retrieval.index.writing import BatchWriter

if TYPE_CHECKING:
    from bgem3_retrieval.index.client import IndexClient
    from bgem3_retrieval.stores.collection import CollectionSpec
    from bgem3_retrieval.stores.store import Store

ChangeKind: TypeAlias = Literal["add", "change", "keep", "remove", "skip"]

_TIMEOUT_SECONDS: Final = 600.0
_DEFAULTS: Final = CollectionOptions()
_SILENT: Final = SilentObserver()


def _nothing_is_gone(_: str) -> bool:
    return False


@dataclass(frozen=True)
class Change:
    """What a run would do with a document, or with a file that cannot be read.

    Attributes:
        kind: What.
        source: With which.
        reason: Of ``skip``, why.
    """

    kind: ChangeKind
    source: str
    reason: str = ""


class Indexer:
    """Brings collections up to date.

    The store is the only record of what is indexed. A run that ends early, for whatever reason,
    leaves what it has written, and the next one does what is left. Two runs at once on one
    collection do some work twice and no harm; where they see a file in two states, the next run
    puts it right.
    """

    def __init__(
        self, client: IndexClient, store: Store, *, timeout_seconds: float = _TIMEOUT_SECONDS
    ) -> None:
        """Make one.

        Args:
            client: Encodes; it stays the caller's.
            store: Holds the collections; it stays the caller's.
            timeout_seconds: Time allowed for a batch of chunks, retries included.
        """
        self._client = client
        self._store = store
        self._timeout_seconds = timeout_seconds

    def index(
        self,
        name: str,
        corpus: Corpus,
        options: CollectionOptions = _DEFAULTS,
        *,
        recreate: bool = False,
        observer: Observer = _SILENT,
    ) -> IndexReport:
        """Make a collection hold what is in some files, and no more of what was in them.

        Files whose bytes are the same are not read, and rows that are the same are not encoded.
        Documents that are gone from below the paths are removed at the end; what is elsewhere
        stays. A document that cannot be read, or that the server refuses, is skipped, and what
        was indexed of an earlier state of it goes.

        Args:
            name: The collection's; it is made where there is none.
            corpus: The files.
            options: Of a collection that is made; one that is there must have them.
            recreate: Drop the collection first, and make it anew.
            observer: Is told what happens.

        Raises:
            CollectionMismatchError: The collection was made for another model, or with other
                options.
            ForeignCollectionError: It was made by something else.
            InvalidInputError: The name is none, there is nothing to read, or a folder is empty
                that was indexed before.
            ServerError: The server failed.
            StoreError: The store failed.
        """
        listing = corpus.look()
        if recreate or find_spec(self._store, name) is None:
            listing.check_not_empty()
        run = self._begin(name, options, observer, recreate=recreate)
        listing.check_not_emptied(run.states, name)
        comparison = compare_files(listing, run.states, run.fingerprints, observer.compared)
        run.report.files = len(listing.files)
        run.report.unknown = dict(listing.unknown)
        run.forecast.expect(comparison.file_bytes())
        for event in comparison.settled:
            run.writer.follow(event)
        run.encode(read_files(comparison.changed, run.states, run.fingerprints, corpus.reading))
        for source in comparison.gone(run.states, listing):
            run.writer.remove(source)
        return run.finish()

    def index_documents(
        self,
        name: str,
        documents: Iterable[Document],
        options: CollectionOptions = _DEFAULTS,
        *,
        observer: Observer = _SILENT,
        is_gone: Callable[[str], bool] = _nothing_is_gone,
    ) -> IndexReport:
        """Put documents into a collection, each in the place of an earlier one of its source.

        Nothing else is removed, but for what is said to be gone. A document that is there as it
        is, is not encoded again. Of several documents of one source the first one counts, and the
        others are skipped.

        Args:
            name: The collection's; it is made where there is none.
            documents: Taken as they are needed, by a thread.
            options: As of :meth:`index`.
            observer: Is told what happens; of bytes it is told nothing.
            is_gone: Asked of each document of the collection that was not among them, when all
                of them are written: whether it is to be removed.

        Raises:
            BgeM3Error: As :meth:`index`, but for the files.
        """
        run = self._begin(name, options, observer, recreate=False)
        run.encode(compare_documents(documents, run.fingerprints.of_document, run.states))
        for source in filter(is_gone, run.states):
            run.writer.remove(source)
        return run.finish()

    def _begin(
        self, name: str, options: CollectionOptions, observer: Observer, *, recreate: bool
    ) -> _Run:
        """Make the collection, or hold it against the options and the model."""
        model = self._client.model_info()
        spec = None if recreate else find_spec(self._store, name)
        if spec is None:
            spec = new_spec(name, model, options)
            try:
                self._store.create(spec)
            except CollectionExistsError:
                if not recreate:
                    # Another run was quicker.
                    return self._begin(name, options, observer, recreate=False)
                # Only now: what cannot be made does not cost what is there.
                self._store.drop(name)
                self._store.create(spec)
        else:
            check_options(spec, options)
            check_model(spec, model, self._client, self._store)
        return _Run(self._client, self._store, spec, observer, self._timeout_seconds)


class _Run:
    """What one run has."""

    def __init__(
        self,
        client: IndexClient,
        store: Store,
        spec: CollectionSpec,
        observer: Observer,
        timeout_seconds: float,
    ) -> None:
        self.report = IndexReport(spec.name)
        self.states = StoredStates(store.sources(spec.name))
        self.fingerprints = Fingerprints(spec)
        self.forecast = Forecast()
        self.writer = BatchWriter(store, self.report, self.forecast, observer)
        self._observer = observer
        self._splitter = Splitter(client.count_tokens, chunk_options(spec))
        self._encoder = ChunkEncoder(client, spec, timeout_seconds)
        self._started = time.monotonic()

    def encode(self, items: Iterator[ReadItem]) -> None:
        """Split, encode and write what was read."""
        self._progressed()
        run_pipeline(items, self._splitter, self._encoder, self._write)

    def finish(self) -> IndexReport:
        """Return the report."""
        self.report.seconds = time.monotonic() - self._started
        return self.report

    def _write(self, batch: EncodedBatch) -> None:
        self.writer.write(batch)
        self._progressed()

    def _progressed(self) -> None:
        forecast = self.forecast
        self._observer.progressed(self.report, forecast.done_bytes, forecast.total_bytes)


def preview(
    store: Store, name: str, corpus: Corpus, options: CollectionOptions = _DEFAULTS
) -> Iterator[Change]:
    """Yield what a run would do with each document, and do nothing; no server is asked.

    What is to be encoded is read, so that what cannot be read shows.

    Args:
        store: Where the collection is, or would be.
        name: The collection's.
        corpus: The files.
        options: As of :meth:`Indexer.index`.

    Raises:
        InvalidInputError: As :meth:`Indexer.index`, but for the model.
        StoreError: The store failed.
    """
    listing = corpus.look()
    spec = find_spec(store, name)
    if spec is None:
        listing.check_not_empty()
    else:
        check_options(spec, options)
    states = StoredStates([] if spec is None else store.sources(name))
    listing.check_not_emptied(states, name)
    fingerprints = Fingerprints(spec)
    comparison = compare_files(listing, states, fingerprints, _SILENT.compared)
    for event in comparison.settled:
        yield _change(event)
    for item in read_files(comparison.changed, states, fingerprints, corpus.reading):
        if isinstance(item, Read | Unchanged | Unread):
            yield _change(item)
    for source in comparison.gone(states, listing):
        yield Change("remove", source)


def _change(item: Read | Unchanged | Unread) -> Change:
    match item:
        case Read():
            kind: ChangeKind = "change" if item.known.fingerprints else "add"
            return Change(kind, item.document.source)
        case Unchanged():
            return Change("keep", item.source)
        case Unread():
            return Change("skip", item.source, item.reason)
