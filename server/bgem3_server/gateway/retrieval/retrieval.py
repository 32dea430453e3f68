"""Collections of a store, searched and filled by requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar
from weakref import WeakValueDictionary

import structlog

from bgem3_retrieval.documents.document import MetadataValue
from bgem3_retrieval.errors import CollectionNotFoundError, StoreError
from bgem3_retrieval.index.collection import CollectionOptions
from bgem3_retrieval.index.report import IndexReport
from bgem3_retrieval.search.names import not_found, only_collection
from bgem3_retrieval.search.options import SearchOptions
from bgem3_retrieval.search.result import SearchResult
from bgem3_retrieval.search.searcher import Searcher
from bgem3_retrieval.stores.collection import CollectionSpec
from bgem3_retrieval.stores.store import Store
from bgem3_server.gateway.calls.call import Call
from bgem3_server.gateway.calls.errors import BusyError
from bgem3_server.gateway.encoding.encoder import Encoder
from bgem3_server.gateway.encoding.token_counter import TokenCounter
from bgem3_server.gateway.retrieval.advice import telling_routes
from bgem3_server.gateway.retrieval.documents import GivenDocument, read_given
from bgem3_server.gateway.retrieval.thread_encoder import ThreadEncoder
from bgem3_server.gateway.retrieval.upload import Upload
from bgem3_server.gateway.retrieval.upload_folder import remove_left_behind
from bgem3_server.gateway.retrieval.uploaded_documents import FileReport, UploadedDocuments
from bgem3_server.gateway.settings import GatewaySettings

if TYPE_CHECKING:
    from bgem3_retrieval.documents.options import ReaderOptions

# A search waits for the model and for the store most of its time: threads are cheap, and queries
# that wait together are encoded together.
_READING_THREADS: Final = 16
_MAX_READING: Final = 256
# Each has a dozen threads of its own, and up to a hundred MiB of vectors that wait to be written.
_WRITING_THREADS: Final = 2
_MAX_WRITING: Final = 16
_RETRY_SECONDS: Final = 1

Result = TypeVar("Result")

log = structlog.get_logger("bgem3.gateway")


@dataclass(frozen=True)
class About:
    """What a collection is and holds.

    Attributes:
        spec: How it was made.
        chunks: How many there are.
        documents: How many there are, each state of one counted.
        incomplete: Those of which chunks are missing: an interrupted run's.
    """

    spec: CollectionSpec
    chunks: int
    documents: int
    incomplete: int


class Retrieval:
    """One store; its blocking work runs in threads.

    A caller that goes away, or whose deadline passes, ends the work for it at its next text.
    """

    def __init__(self, store: Store, encoder: Encoder, counter: TokenCounter) -> None:
        """Make one.

        Args:
            store: Holds the collections; closed by :meth:`close`.
            encoder: The service's.
            counter: The service's.
        """
        self._store = store
        self._encoder = encoder
        self._counter = counter
        self._readers = ThreadPoolExecutor(_READING_THREADS, "search")
        self._reading = 0
        self._writers = ThreadPoolExecutor(_WRITING_THREADS, "index")
        self._writing: set[asyncio.Task[Any]] = set()
        self._receiving = 0
        if count := remove_left_behind():
            log.warning("removed files that a killed service had left", folders=count)
        # Of the collections that are written to now.
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def search(
        self, collection: str | None, query: str, options: SearchOptions, call: Call
    ) -> SearchResult:
        """Return what answers a query; see :meth:`bgem3_retrieval.search.searcher.Searcher.search`.

        Args:
            collection: Its name; None for the only one there is.
            query: The text.
            options: How to search.
            call: The request.

        Raises:
            BgeM3Error: As the searcher; or as the service's encoder, of the query.
        """
        client = ThreadEncoder(self._encoder, self._counter, call, bulk=False)

        def work() -> SearchResult:
            name = only_collection(self._store) if collection is None else collection
            return Searcher(client, self._store).search(name, query, options)

        try:
            return await self._read(work, call)
        finally:
            client.end()

    async def collections(self, call: Call) -> list[str]:
        """Return the names of the collections, sorted.

        Raises:
            StoreError: The store failed.
        """
        return await self._read(self._store.names, call)

    async def about(self, collection: str, call: Call) -> About:
        """Return what a collection is and holds.

        Raises:
            CollectionNotFoundError: There is none of that name; the message has those that are.
            InvalidInputError: It is no name.
            StoreError: The store failed.
        """

        def work() -> About:
            spec = self._found(collection)
            sources = list(self._store.sources(collection))
            incomplete = sum(not source.complete for source in sources)
            return About(spec, self._store.count(collection), len(sources), incomplete)

        return await self._read(work, call)

    async def drop(self, collection: str, call: Call) -> None:
        """Remove a collection, when nothing is being put into it.

        Raises:
            CollectionNotFoundError: There is none of that name; the message has those that are.
            InvalidInputError: It is no name.
            StoreError: The store failed.
        """

        def work() -> None:
            self._found(collection)
            self._store.drop(collection)

        client = ThreadEncoder(self._encoder, self._counter, call, bulk=True)
        await self._write(collection, work, client, call)

    async def index(
        self,
        collection: str,
        given: Sequence[GivenDocument],
        options: CollectionOptions,
        call: Call,
    ) -> IndexReport:
        """Put documents into a collection, each in the place of an earlier one of its source.

        A second call for the same collection waits for the first. What a call has written when it
        ends early stays, and the same call again does what is left.

        Args:
            collection: Its name; it is made where there is none.
            given: The documents. One that cannot be read is skipped, and an earlier one stays.
            options: Of a collection that is made; one that is there must have them.
            call: The request.

        Raises:
            BgeM3Error: As :meth:`bgem3_retrieval.index.indexer.Indexer.index_documents`.
            BusyError: Too many wait already.
        """
        from bgem3_retrieval.index.indexer import Indexer

        client = ThreadEncoder(self._encoder, self._counter, call, bulk=True)

        def work() -> IndexReport:
            documents, unread = read_given(given)
            report = Indexer(client, self._store).index_documents(collection, documents, options)
            for skipped in unread:
                report.skip(skipped)
            return report

        return await self._write(collection, work, client, call)

    @contextmanager
    def receiving(self) -> Iterator[None]:
        """Have room on the disk for the files of a request while they come.

        Raises:
            BusyError: There is none: too many come already, or wait for their turn.
        """
        if self._receiving + len(self._writing) >= _MAX_WRITING:
            raise _too_many_write(self._receiving + len(self._writing))
        self._receiving += 1
        try:
            yield
        finally:
            self._receiving -= 1

    async def index_files(
        self,
        collection: str,
        upload: Upload,
        reading: ReaderOptions,
        metadata: Mapping[str, MetadataValue],
        options: CollectionOptions,
        call: Call,
    ) -> tuple[IndexReport, list[FileReport]]:
        """Put the documents of files into a collection; see :meth:`index`.

        A table takes the place of the earlier one of its name: rows that it has no more are
        removed. A file that cannot be read to its end removes nothing.

        Args:
            collection: Its name; it is made where there is none.
            upload: The files; closed when nothing reads them any more, whatever happens.
            reading: How they are read.
            metadata: Of every document, beside its own, and before it.
            options: As of :meth:`index`.
            call: The request.

        Returns:
            What was done in all, and with each file.

        Raises:
            BgeM3Error: As :meth:`index`.
        """
        from bgem3_retrieval.index.indexer import Indexer

        client = ThreadEncoder(self._encoder, self._counter, call, bulk=True)
        documents = UploadedDocuments(upload.files, reading, metadata, client.check)

        def work() -> tuple[IndexReport, list[FileReport]]:
            report = Indexer(client, self._store).index_documents(
                collection, documents, options, observer=documents, is_gone=documents.is_gone
            )
            return report, documents.finish(report)

        return await self._write(collection, work, client, call, upload.close)

    async def _write(
        self,
        collection: str,
        work: Callable[[], Result],
        client: ThreadEncoder,
        call: Call,
        over: Callable[[], None] | None = None,
    ) -> Result:
        """Do what changes a collection, in a thread, while nothing else does.

        It goes on alone when the caller has gone, so that the next one's turn comes only after it.

        Args:
            collection: Its name.
            work: To do.
            client: Of the work; ended with the request.
            call: The request.
            over: Called once, when the work is done or will never be.
        """
        over = over or _nothing
        if len(self._writing) >= _MAX_WRITING:
            over()
            raise _too_many_write(len(self._writing))
        task = asyncio.create_task(self._in_turn(collection, work, client))
        self._writing.add(task)
        task.add_done_callback(self._written)
        task.add_done_callback(lambda _: over())
        try:
            async with self._told(call), call.deadline.enforced():
                return await asyncio.shield(task)
        finally:
            client.end()

    async def _in_turn(
        self, collection: str, work: Callable[[], Result], client: ThreadEncoder
    ) -> Result:
        lock = self._locks.setdefault(collection, asyncio.Lock())
        async with lock:
            client.check()
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._writers, work)

    def _written(self, task: asyncio.Task[Any]) -> None:
        self._writing.discard(task)
        if not task.cancelled():
            task.exception()  # told to the caller, if there still is one

    def _found(self, collection: str) -> CollectionSpec:
        try:
            return self._store.spec(collection)
        except CollectionNotFoundError as error:
            raise not_found(self._store, collection) from error

    async def _read(self, work: Callable[[], Result], call: Call) -> Result:
        """Do what changes nothing, in a thread.

        Raises:
            BusyError: Too much waits already.
            DeadlineError: The call's deadline has passed.
        """
        if self._reading >= _MAX_READING:
            raise BusyError(
                f"{self._reading} searches are running or waiting: try again",
                retry_after_seconds=_RETRY_SECONDS,
            )
        self._reading += 1
        try:
            async with self._told(call), call.deadline.enforced():
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(self._readers, work)
        finally:
            self._reading -= 1

    @asynccontextmanager
    async def _told(self, call: Call) -> AsyncIterator[None]:
        """Tell callers what they can do, and the log what the operator has to see to.

        Where the store is, a path or a host of this side, is for the log alone.
        """
        try:
            with telling_routes(self._store.address):
                yield
        except StoreError as error:
            log.error("the store failed", request_id=call.request_id, reason=str(error))
            raise StoreError(
                "the store failed, or cannot be reached; the service's log says why, under "
                f"request id {call.request_id}"
            ) from error

    async def close(self) -> None:
        """End the threads, and let go of the store."""
        await asyncio.gather(*self._writing, return_exceptions=True)
        for threads in (self._readers, self._writers):
            await asyncio.to_thread(threads.shutdown)
        await asyncio.to_thread(self._store.close)


def _too_many_write(count: int) -> BusyError:
    return BusyError(
        f"{count} requests write or wait for their turn: try again",
        retry_after_seconds=_RETRY_SECONDS,
    )


def _nothing() -> None:
    pass


def open_configured(settings: GatewaySettings) -> Store | None:
    """Open the store that the settings name; None where they name none.

    Raises:
        MissingLibraryError: What it needs is not installed.
        InvalidInputError: It is no address, or several workers cannot share it.
    """
    from bgem3_server.gateway.retrieval.store_setting import check_store

    check_store(settings)
    if not settings.store:
        return None
    from bgem3_retrieval.stores.address import open_store

    return open_store(settings.store, settings.store_api_key.get_secret_value() or None)
