"""Passages in a store in memory, and queries as SentencePiece would cut them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from bgem3_client import Client, SparseEmbedding
from bgem3_client.embeddings import Embedding, Embeddings, Parts
from bgem3_client.sparse import SparseEmbeddings
from bgem3_retrieval.chunks.chunk import Chunk
from bgem3_retrieval.documents.document import MetadataValue
from bgem3_retrieval.stores.collection import ColbertChoice, CollectionSpec
from bgem3_retrieval.stores.point import Point, StoredChunk
from bgem3_retrieval.stores.store import Store

COLLECTION = "notes"

_FRONT = "▁"


def fill(
    store: Store,
    client: Client,
    texts: Sequence[str],
    *,
    name: str = COLLECTION,
    metadata: Sequence[Mapping[str, MetadataValue]] = (),
    colbert: ColbertChoice = "full",
) -> None:
    """Make a collection of documents of one chunk each, ``a``, ``b``, ``c`` and so on."""
    model = client.model_info()
    store.create(
        CollectionSpec(
            name=name,
            model=model.name,
            dense_size=model.hidden_size,
            colbert_size=model.colbert_size,
            storage="float32",
            colbert=colbert,
        )
    )
    if not texts:
        return
    embeddings = client.encode(texts, {"dense", "sparse", "colbert"})
    store.put(
        name,
        [
            Point(
                stored(
                    chr(ord("a") + number), text, metadata[number] if number < len(metadata) else {}
                ),
                embedding.dense,
                embedding.sparse,
                embedding.colbert if colbert == "full" else None,
            )
            for number, (text, embedding) in enumerate(zip(texts, embeddings, strict=True))
        ],
    )


def stored(
    source: str, text: str, metadata: Mapping[str, MetadataValue] | None = None
) -> StoredChunk:
    """A document's only chunk."""
    return StoredChunk(Chunk(source, 0, 0, len(text), text), "state", 1, metadata or {})


def cut(pieces: str, weights: Mapping[str, float] | None = None) -> tuple[str, Embedding]:
    """Return a query and its tokens, given as pieces between slashes: ``▁AX/-47/11/▁pump``.

    Args:
        pieces: A piece that begins with ``▁`` has white space in front of it.
        weights: Of pieces; those left out have none. Without, each weighs 1.
    """
    names = pieces.split("/")
    weights = dict.fromkeys(names, 1.0) if weights is None else weights
    ids = {name: number for number, name in enumerate(sorted(set(names)), start=10)}
    weighted = sorted((ids[name], weight) for name, weight in weights.items())
    sparse = SparseEmbeddings(
        np.array([token_id for token_id, _ in weighted], dtype=np.int32),
        np.array([weight for _, weight in weighted], dtype=np.float32),
        np.array([0, len(weighted)]),
        {token_id: name.lstrip(_FRONT) for name, token_id in ids.items()},
    )
    token_ids = np.array([0, *(ids[name] for name in names), 2], dtype=np.int32)
    tokens = ["<s>", *(name.lstrip(_FRONT) for name in names), "</s>"]
    embeddings = Embeddings(
        np.array([len(tokens)], dtype=np.int32),
        np.array([False]),
        "1",
        Parts(sparse=sparse, tokens=[tokens], token_ids=[token_ids]),
    )
    return "".join(names).replace(_FRONT, " ").strip(), embeddings[0]


def ids_of(embedding: Embedding, texts: Iterable[str]) -> list[int]:
    """Return the token ids of texts, in their order."""
    known: dict[str, int] = {}
    for text, token_id in zip(embedding.tokens, embedding.token_ids.tolist(), strict=True):
        known.setdefault(text, token_id)
    return [known[text] for text in texts]


def sparse(weights: Mapping[int, float]) -> SparseEmbedding:
    """Lexical weights by token id."""
    return SparseEmbedding(
        np.array(sorted(weights), dtype=np.int32),
        np.array([weights[token_id] for token_id in sorted(weights)], dtype=np.float32),
    )
