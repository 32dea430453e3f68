"""Scores of documents for queries, exact, in blocks, with memory that the corpus does not decide.

The corpus is encoded block by block. Each block is compared with all queries, and for each query
the best documents by dense and by sparse score are kept: its candidates. They are then scored by
every representation. A corpus of no more documents than candidates is scored whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np

from bgem3_client.colbert import ColbertEmbeddings
from bgem3_client.embeddings import Parts
from bgem3_client.encode_request import Output
from bgem3_client.errors import InvalidInputError
from bgem3_client.limits import Limits
from bgem3_client.sparse import SparseEmbeddings
from bgem3_client.splitting import split
from bgem3_retrieval.evaluation.block_scores import colbert_scores
from bgem3_retrieval.evaluation.candidates import FINDING, Candidates, Pool
from bgem3_retrieval.evaluation.dataset import Corpus, Dataset
from bgem3_retrieval.evaluation.encoder import Encoded, Encoder

# Characters, which are more than the tokens: at most 256 MB of ColBERT vectors (1,024 numbers in
# FP32) at once, and in most languages a third of that.
_BLOCK_TOKENS: Final = 65_536
_BLOCK_TEXTS: Final = 256
# Scores of a block for all queries: 48 MB, or some texts where there are very many queries.
_BLOCK_SCORES: Final = 2**21
_FEWEST_TEXTS: Final = 16


@dataclass(frozen=True)
class ScoredDataset:
    """A collection as one system sees it.

    Attributes:
        candidates: Of each query, in the order of the collection's queries.
        outputs: The representations that they are scored by.
        complete: Whether every document is a candidate of every query.
        truncated: How many documents were cut; None where it cannot be seen.
        tokens: Of all documents; None where it cannot be seen.
        bytes_per_document: What a document's representations take, on average: FP32 for dense,
            4 + 4 bytes for a sparse entry, FP16 for ColBERT.
    """

    candidates: tuple[Candidates, ...]
    outputs: frozenset[Output]
    complete: bool
    truncated: int | None
    tokens: int | None
    bytes_per_document: dict[Output, float]


def score_dataset(
    dataset: Dataset,
    encoder: Encoder,
    outputs: frozenset[Output],
    candidates: int,
    on_progress: Callable[[str, int, int], None] = lambda step, done, total: None,
) -> ScoredDataset:
    """Encode a collection and score the candidates of each query.

    Args:
        dataset: With N documents.
        encoder: Gives the vectors.
        outputs: What to score by.
        candidates: The best documents by dense and by sparse score that each query keeps; where N
            is no larger all are kept. A document with the query's own id is not one.
        on_progress: Called with what is done, and how much of how much.

    Raises:
        BgeM3Error: Texts cannot be read or encoded.
    """
    corpus = dataset.corpus
    complete = len(corpus.ids) <= candidates
    # ColBERT finds nothing in a large corpus; the others bring its candidates.
    finding = outputs & set(FINDING) or encoder.outputs & set(FINDING)
    first = outputs if complete else finding
    queries = _encode_queries(dataset, encoder, outputs | first, on_progress)
    limits = _block_limits(len(dataset.queries))
    pool = Pool(len(dataset.queries), len(corpus.ids) if complete else candidates, first)
    tally = _Tally()
    for rows, encoded in _encoded_blocks(corpus, range(len(corpus.ids)), encoder, first, limits):
        pool.add(rows[0], queries, encoded.parts)
        tally.add(encoded)
        on_progress("documents", rows[-1] + 1, len(corpus.ids))
    found = pool.candidates()
    if "colbert" in outputs - first:
        _rescore(found, corpus, queries, encoder, limits, tally, on_progress)
    same = {document: row for row, document in enumerate(corpus.ids)}
    return ScoredDataset(
        tuple(
            candidates.without(same.get(query.id))
            for candidates, query in zip(found, dataset.queries, strict=True)
        ),
        outputs,
        complete,
        tally.truncated,
        tally.tokens,
        tally.bytes_per_document(),
    )


def _encode_queries(
    dataset: Dataset,
    encoder: Encoder,
    outputs: frozenset[Output],
    on_progress: Callable[[str, int, int], None],
) -> Parts:
    texts = [query.text for query in dataset.queries]
    parts = []
    for block in split([len(text) + 2 for text in texts], _block_limits(1)):
        names = [f"query {query.id!r}" for query in dataset.queries[block]]
        parts.append(_encode(encoder, texts[block], names, outputs).parts)
        on_progress("queries", block.stop, len(texts))
    return joined_parts(parts)


def _encode(
    encoder: Encoder, texts: list[str], names: Sequence[str], outputs: frozenset[Output]
) -> Encoded:
    """Encode texts; an error about one of them says which."""
    try:
        return encoder.encode(texts, outputs)
    except InvalidInputError as error:
        if error.index is None:
            raise
        raise InvalidInputError(f"{names[error.index]}: {error}") from error


def joined_parts(parts: Sequence[Parts]) -> Parts:
    """Return the representations of all parts (one at least), in order."""
    dense = [part.dense for part in parts if part.dense is not None]
    sparse = [part.sparse for part in parts if part.sparse is not None]
    colbert = [part.colbert for part in parts if part.colbert is not None]
    return Parts(
        np.concatenate(dense) if dense else None,
        SparseEmbeddings.concatenate(sparse) if sparse else None,
        ColbertEmbeddings.concatenate(colbert) if colbert else None,
    )


def _block_limits(queries: int) -> Limits:
    texts = max(_FEWEST_TEXTS, min(_BLOCK_TEXTS, _BLOCK_SCORES // queries))
    return Limits(max_texts_per_request=texts, max_tokens_per_request=_BLOCK_TOKENS)


def _encoded_blocks(
    corpus: Corpus,
    rows: Sequence[int],
    encoder: Encoder,
    outputs: frozenset[Output],
    limits: Limits,
) -> Iterator[tuple[Sequence[int], Encoded]]:
    """Yield some documents in blocks, the next one on its way while one is looked at."""
    # A character is seldom more than a token.
    blocks = split([int(corpus.characters[row]) + 2 for row in rows], limits)

    def encode(block: slice) -> Encoded:
        names = [f"document {corpus.ids[row]!r}" for row in rows[block]]
        return _encode(encoder, corpus.texts(rows[block]), names, outputs)

    executor = ThreadPoolExecutor(1, "encode")
    try:
        ahead = None
        for block in blocks:
            current, ahead = ahead, (rows[block], executor.submit(encode, block))
            if current is not None:
                yield current[0], current[1].result()
        if ahead is not None:
            yield ahead[0], ahead[1].result()
    finally:
        # When it is interrupted, whoever closes the client ends what is on its way.
        executor.shutdown(wait=False, cancel_futures=True)


class _Tally:
    """What the documents came to."""

    def __init__(self) -> None:
        self.truncated: int | None = 0
        self.tokens: int | None = 0
        self._bytes: dict[Output, int] = {}
        self._documents: dict[Output, int] = {}

    def add(self, encoded: Encoded) -> None:
        """Count a block of documents that were not there before."""
        self.truncated = _sum(self.truncated, encoded.truncated)
        self.tokens = _sum(self.tokens, encoded.tokens)
        self.add_bytes(encoded.parts)

    def add_bytes(self, parts: Parts) -> None:
        """Count what the representations take, and of how many documents."""
        sizes: dict[Output, tuple[int, int]] = {}
        if parts.dense is not None:
            sizes["dense"] = (parts.dense.nbytes, len(parts.dense))
        if parts.sparse is not None:
            sizes["sparse"] = (8 * len(parts.sparse.indices), len(parts.sparse))
        if parts.colbert is not None:
            sizes["colbert"] = (2 * parts.colbert.vectors.size, len(parts.colbert))
        for output, (size, documents) in sizes.items():
            self._bytes[output] = self._bytes.get(output, 0) + size
            self._documents[output] = self._documents.get(output, 0) + documents

    def bytes_per_document(self) -> dict[Output, float]:
        """Return the mean of each representation."""
        return {output: size / self._documents[output] for output, size in self._bytes.items()}


def _sum(total: int | None, addition: int | None) -> int | None:
    return None if total is None or addition is None else total + addition


def _rescore(
    found: Sequence[Candidates],
    corpus: Corpus,
    queries: Parts,
    encoder: Encoder,
    limits: Limits,
    tally: _Tally,
    on_progress: Callable[[str, int, int], None],
) -> None:
    """Fill in the ColBERT scores of candidates, each document encoded once."""
    assert queries.colbert is not None
    everything = np.concatenate([candidates.rows for candidates in found])
    query_of = np.repeat(np.arange(len(found)), [len(candidates.rows) for candidates in found])
    place_of = np.concatenate([np.arange(len(candidates.rows)) for candidates in found])
    order = np.argsort(everything, kind="stable")
    rows, starts = np.unique(everything[order], return_index=True)
    asking = dict(zip(rows.tolist(), np.split(order, starts[1:]), strict=True))
    done = 0
    colbert: frozenset[Output] = frozenset({"colbert"})
    for block, encoded in _encoded_blocks(corpus, rows.tolist(), encoder, colbert, limits):
        vectors = encoded.parts.colbert
        assert vectors is not None
        tally.add_bytes(encoded.parts)
        for position, row in enumerate(block):
            pairs = asking[row]
            askers = ColbertEmbeddings.concatenate(
                [queries.colbert[int(query) : int(query) + 1] for query in query_of[pairs]]
            )
            scores = colbert_scores(askers, vectors[position : position + 1])[:, 0]
            for pair, score in zip(pairs, scores, strict=True):
                found[query_of[pair]].scores[place_of[pair], 2] = score
        done += len(block)
        on_progress("candidates", done, len(rows))
