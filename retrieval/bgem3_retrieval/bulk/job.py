"""The whole way: records in, representations written."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

from bgem3_client.embeddings import Embeddings
from bgem3_retrieval.bulk.batches import Batch
from bgem3_retrieval.bulk.encoder import BatchEncoder, EncodedBatch
from bgem3_retrieval.bulk.records import Rejection
from bgem3_retrieval.bulk.writers import Writer
from bgem3_retrieval.errors import ModelChangedError


@dataclass
class Tally:
    """What was done so far.

    Attributes:
        texts: Texts written.
        tokens: Their tokens, special tokens included.
        truncated: How many of the texts were cut to ``max_length``.
        skipped: Lines rejected.
        read_bytes: Bytes of the inputs that all this came from.
        model_version: The version of the model that answered; None before the first answer.
    """

    texts: int = 0
    tokens: int = 0
    truncated: int = 0
    skipped: int = 0
    read_bytes: int = 0
    model_version: str | None = None


class Observer(Protocol):
    """Is told what happens; what it raises ends the job."""

    def rejected(self, rejection: Rejection) -> None:
        """A line is left out. Called in the order of the lines, before what follows is written."""

    def written(self, tally: Tally) -> None:
        """Another batch is done."""


def run_job(
    batches: Iterable[Batch], encoder: BatchEncoder, writer: Writer, observer: Observer
) -> Tally:
    """Encode all batches and write them in their order.

    Raises:
        ModelChangedError: The server changed the model's version on the way.
        InvalidInputError: As :meth:`BatchEncoder.encode`, and from reading.
        ServerError: As :meth:`BatchEncoder.encode`.
        OSError: The writer's stream cannot be written to.
    """
    tally = Tally()
    with closing(encoder.encode(batches)) as encoded_batches:
        for encoded in encoded_batches:
            for rejection in encoded.rejections:
                observer.rejected(rejection)
            tally.skipped += len(encoded.rejections)
            if encoded.embeddings is not None:
                _write(encoded, encoded.embeddings, writer, tally)
            tally.read_bytes = encoded.end_bytes
            observer.written(tally)
    writer.finish()
    return tally


def _write(encoded: EncodedBatch, embeddings: Embeddings, writer: Writer, tally: Tally) -> None:
    if tally.model_version not in (None, embeddings.model_version):
        raise ModelChangedError(
            f"the server changed the model's version from {tally.model_version} to "
            f"{embeddings.model_version} at {encoded.records[0].line}, and vectors of two versions "
            "do not go together: run the command again"
        )
    writer.write([record.id for record in encoded.records], embeddings)
    tally.model_version = embeddings.model_version
    tally.texts += len(embeddings)
    tally.tokens += int(embeddings.token_lengths.sum())
    tally.truncated += int(embeddings.truncated.sum())
