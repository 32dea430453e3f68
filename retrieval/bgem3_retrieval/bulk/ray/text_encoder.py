"""For pipelines of one's own: what ``ray.data.Dataset.map_batches`` takes."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import pyarrow as pa

from bgem3_client.encode_request import (
    DENSE_ONLY,
    ColbertDtype,
    EncodeOptions,
    Output,
    checked_outputs,
)
from bgem3_client.errors import InvalidInputError
from bgem3_client.limits import Limits
from bgem3_retrieval.bulk.corpus.window_encoder import WindowEncoder
from bgem3_retrieval.bulk.ray.encoders import Encoders, OwnModel, Servers
from bgem3_retrieval.bulk.ray.repository_export import RepositoryExport


class BGEM3Encoder:
    """Adds representations to batches of a Ray dataset; each actor has connections of its own.

        dataset = ray.data.read_parquet("corpus/").map_batches(
            BGEM3Encoder,
            fn_constructor_kwargs={"urls": ["gpu-1:8001", "gpu-2:8001"]},
            batch_format="pyarrow",
            batch_size=1024,
            compute=ray.data.ActorPoolStrategy(size=2),
        )

    The columns are those of ``bgem3 encode``'s Parquet, without its ``id``: ``dense``, or what is
    asked for, ``token_count`` and ``truncated``. A batch is sorted by length and sent in requests
    of like texts, so batches of 1,024 texts are better than those of 32. An actor of Ray keeps one
    for its life; who makes one of one's own closes it.
    """

    def __init__(
        self,
        urls: Sequence[str] = (),
        *,
        repository: str | Path | None = None,
        text_column: str = "text",
        outputs: Collection[Output] = DENSE_ONLY,
        max_length: int = 8192,
        truncate: bool = True,
        return_tokens: bool = False,
        dense_dtype: ColbertDtype = "float32",
        colbert_dtype: ColbertDtype = "float32",
        limits: Limits | None = None,
        threads: int = 1,
        on_gpu: bool = False,
        ready_seconds: float = 60.0,
    ) -> None:
        """Connect to servers, or load a model.

        Args:
            urls: Servers of one model, as :class:`bgem3_client.Client` takes them.
            repository: Instead: a folder that ``bgem3 export`` made, on each node; the model runs
                in the actor.
            text_column: Where the texts are.
            outputs: Some of dense, sparse and colbert.
            max_length: Tokens a text is cut to, special tokens included.
            truncate: False makes a longer text an error.
            return_tokens: Add the texts of the sparse weights' tokens: ``sparse_tokens``.
            dense_dtype: Of dense vectors; ``"float16"`` halves what they weigh.
            colbert_dtype: Of ColBERT vectors.
            limits: What fits in a request, and how many are on their way to each server at once.
            threads: Of the model on a CPU; ask for as many by ``num_cpus``.
            on_gpu: Run the model on the GPU that ``num_gpus`` asks for.
            ready_seconds: So long the servers may take to answer the first time.

        Raises:
            InvalidInputError: An argument is wrong.
            UnavailableError: None of the servers answered.
            ModelChangedError: They serve unlike models or versions.
            RepositoryError: There is no such repository here.
            ClusterError: The model cannot be loaded here.
        """
        if bool(urls) == (repository is not None):
            raise InvalidInputError("BGEM3Encoder takes urls, or else a repository")
        encoders: Encoders = Servers(tuple(urls))
        if repository is not None:
            export = RepositoryExport.read(Path(repository))
            encoders = OwnModel(export, threads, on_gpu)
        limits = limits or Limits()
        self._text_column = text_column
        self._encoder = WindowEncoder(
            encoders.endpoints(limits),
            EncodeOptions(
                checked_outputs(outputs), max_length, truncate, return_tokens, colbert_dtype
            ),
            limits=limits,
            dense_dtype=dense_dtype,
            ready_seconds=ready_seconds,
        )
        # Where nobody closes it, as in an actor: at the process' end.
        self.close: Callable[[], object] = weakref.finalize(self, self._encoder.close)
        """Close the connections, or let go of the model. Again: nothing."""

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Return the batch with the representations of its texts.

        Args:
            batch: An Arrow table: ``batch_format="pyarrow"``.

        Raises:
            InvalidInputError: It is none, it has no such column of texts, or a text is missing or
                refused.
            ServerError: The servers failed at a request several times, or all of them are gone.
        """
        texts = self._texts(batch)
        if not texts:
            # Ray wants the columns of all batches to be the same.
            encoded = pa.RecordBatch.from_pylist([], self._encoder.schema)
        else:
            window = self._encoder.encode([""] * len(texts), texts)
            for row, why in window.refusals.items():
                raise InvalidInputError(f"a text cannot be encoded ({texts[row][:60]!r}): {why}")
            encoded = window.batch
        for name in encoded.schema.names:
            if name != "id":
                batch = batch.append_column(name, encoded[name])
        return batch

    def _texts(self, batch: pa.Table) -> list[str]:
        if not isinstance(batch, pa.Table):
            raise InvalidInputError(
                f"BGEM3Encoder takes Arrow tables, not {type(batch).__name__}: give map_batches "
                "batch_format='pyarrow'"
            )
        if self._text_column not in batch.column_names:
            raise InvalidInputError(
                f"there is no column {self._text_column!r} among {', '.join(batch.column_names)}: "
                "say text_column"
            )
        texts: list[str] = batch[self._text_column].to_pylist()
        for text in texts:
            if not isinstance(text, str):
                raise InvalidInputError(
                    f"column {self._text_column!r} holds {text!r}, which is no text: filter such "
                    "rows out"
                )
        return texts
