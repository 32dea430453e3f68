"""Encoded chunks into the store, and what is out of date out of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bgem3_retrieval.errors import ModelChangedError
from bgem3_retrieval.index.encoding import EncodedBatch
from bgem3_retrieval.index.forecast import Forecast
from bgem3_retrieval.index.items import Event, Finished, Passed, Pending, Unchanged, Unread
from bgem3_retrieval.index.report import IndexReport, Observer, Skipped
from bgem3_retrieval.index.states import Known

if TYPE_CHECKING:
    from bgem3_retrieval.stores.store import Store


class BatchWriter:
    """Writes batches in their order; the only one that changes the store and the report.

    A document's chunks are there before those of its earlier states go: wherever the work ends,
    nothing is lost, and the next run sees what is left to do.
    """

    def __init__(
        self, store: Store, report: IndexReport, forecast: Forecast, observer: Observer
    ) -> None:
        """Make one.

        Args:
            store: Where the collection of the report is.
            report: Is kept up to date.
            forecast: Also.
            observer: Is told of what is skipped, and of what is done.
        """
        self._store = store
        self._report = report
        self._forecast = forecast
        self._observer = observer
        self._model_version: str | None = None

    def write(self, batch: EncodedBatch) -> None:
        """Write the points, then do what follows from that.

        Raises:
            ModelChangedError: The batch is of another version of the model than those before it.
            StoreError: The store failed.
        """
        self._check_version(batch.model_version)
        points = [point for pending, point in batch.points if pending.refusal is None]
        if points:
            self._store.put(self._report.collection, points)
            self._report.chunks += len(points)
            self._report.tokens += sum(point.stored.chunk.tokens for point in points)
        for event in batch.events:
            self.follow(event)

    def follow(self, event: Event) -> None:
        """Do what is to be done when all that came before an event is written.

        Raises:
            StoreError: The store failed.
        """
        match event:
            case Passed():
                self._forecast.passed(event.format_name, event.file_bytes, event.text_bytes)
            case Unread():
                self._skip(event.source, event.reason)
            case Unchanged():
                # An interrupted run may have left other states beside the right one.
                self._keep_only(event.source, event.fingerprint, event.known)
                self._report.unchanged += 1
                self._observer.settled(event.source, "unchanged", 0)
            case Finished(pending):
                self._finish(pending)

    def remove(self, source: str) -> None:
        """Remove a document that is gone.

        Raises:
            StoreError: The store failed.
        """
        self._store.remove_source(self._report.collection, source)
        self._report.removed += 1
        self._observer.settled(source, "removed", 0)

    def _finish(self, pending: Pending) -> None:
        if pending.refusal is not None:
            self._store.remove_source(self._report.collection, pending.source)
            self._skip(pending.source, pending.refusal)
            return
        self._keep_only(pending.source, pending.fingerprint, pending.known)
        if pending.known.fingerprints:
            self._report.changed += 1
            self._observer.settled(pending.source, "changed", pending.chunk_count)
        else:
            self._report.added += 1
            self._observer.settled(pending.source, "added", pending.chunk_count)

    def _keep_only(self, source: str, fingerprint: str, known: Known) -> None:
        if known.has_others(fingerprint):
            self._store.remove_source(self._report.collection, source, keep_fingerprint=fingerprint)

    def _skip(self, source: str, reason: str) -> None:
        skipped = Skipped(source, reason)
        self._report.skip(skipped)
        self._observer.skipped(skipped)

    def _check_version(self, version: str | None) -> None:
        if version is None:
            return
        if self._model_version not in (None, version):
            raise ModelChangedError(
                f"the server changed the model's version from {self._model_version} to {version} "
                "while documents were encoded, and vectors of two versions do not go together"
            )
        self._model_version = version
