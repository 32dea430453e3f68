"""Batches sent to the server, several at once, and given back in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from bgem3_client.client import Client
from bgem3_client.embeddings import Embeddings
from bgem3_client.encode_request import EncodeOptions
from bgem3_client.errors import InvalidInputError
from bgem3_retrieval.bulk.batches import Batch
from bgem3_retrieval.bulk.records import Record, Rejection


@dataclass(frozen=True)
class EncodedBatch:
    """What came of a batch.

    Attributes:
        records: The N texts that were encoded.
        embeddings: Of those, in the same order; None when there are none.
        rejections: The lines that were not, in order.
        end_bytes: As in the batch.
    """

    records: tuple[Record, ...]
    embeddings: Embeddings | None
    rejections: tuple[Rejection, ...]
    end_bytes: int


class BatchEncoder:
    """Sends batches through one client, so many at once, and holds twice as many in memory."""

    def __init__(
        self,
        client: Client,
        options: EncodeOptions,
        *,
        max_in_flight: int,
        timeout_seconds: float,
    ) -> None:
        """Make one.

        Args:
            client: It stays the caller's to close; that ends whatever is still on its way.
            options: How the texts are encoded.
            max_in_flight: Batches on their way at the same time.
            timeout_seconds: Time allowed for each batch, retries included.
        """
        self._client = client
        self._options = options
        self._max_in_flight = max_in_flight
        self._timeout_seconds = timeout_seconds

    def encode(self, batches: Iterable[Batch]) -> Generator[EncodedBatch]:
        """Yield what comes of each batch, in order, as soon as it is there.

        Raises:
            InvalidInputError: The server refuses a batch without saying which of its texts it
                means; what it says of one text becomes a rejection.
            ServerError: The server failed, or could not be reached, each time.
        """
        executor = ThreadPoolExecutor(self._max_in_flight, "encode")
        waiting: deque[Future[EncodedBatch]] = deque()
        try:
            for batch in batches:
                waiting.append(executor.submit(self._encode, batch))
                # The others keep the server busy while the first of them is waited for.
                while waiting and (waiting[0].done() or len(waiting) >= 2 * self._max_in_flight):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            executor.shutdown(wait=False, cancel_futures=True)

    def _encode(self, batch: Batch) -> EncodedBatch:
        records = list(batch.records)
        rejections = list(batch.rejections)
        embeddings = None
        while records and embeddings is None:
            try:
                embeddings = self._embeddings(records)
            except InvalidInputError as error:
                if error.index is None:
                    raise InvalidInputError(
                        f"{records[0].line} to {records[-1].line}: {error}"
                    ) from error
                # A refusal costs little: the server looks at all texts before it computes.
                rejections.append(Rejection(records.pop(error.index).line, str(error)))
        rejections.sort(key=lambda rejection: (rejection.line.end_bytes, rejection.line.number))
        return EncodedBatch(tuple(records), embeddings, tuple(rejections), batch.end_bytes)

    def _embeddings(self, records: list[Record]) -> Embeddings:
        options = self._options
        return self._client.encode(
            [record.text for record in records],
            options.outputs,
            max_length=options.max_length,
            truncate=options.truncate,
            return_tokens=options.return_tokens,
            colbert_dtype=options.colbert_dtype,
            timeout_seconds=self._timeout_seconds,
        )
