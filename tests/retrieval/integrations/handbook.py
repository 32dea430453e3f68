"""A few passages of a handbook, in any store."""

from __future__ import annotations

from bgem3_client import Client
from bgem3_retrieval.chunks.chunk import Chunk
from bgem3_retrieval.documents.document import MetadataValue
from bgem3_retrieval.stores.collection import CollectionSpec
from bgem3_retrieval.stores.point import Point, StoredChunk
from bgem3_retrieval.stores.store import Store

COLLECTION = "handbook"
QUESTION = "annual leave is carried over"


def _stored(
    source: str, position: int, text: str, page: int | None, language: str
) -> tuple[str, StoredChunk]:
    metadata: dict[str, MetadataValue] = {"language": language, "year": 2026}
    chunk = Chunk(
        source=source,
        position=position,
        begin=100 * position,
        end=100 * position + len(text),
        text=text,
        headings=("Rules",) if page else (),
        tokens=8,
        title="Leave and travel" if page else "",
        page=page,
    )
    return text, StoredChunk(chunk, "state", 2, metadata)


PASSAGES = dict(
    [
        _stored("leave.pdf", 0, "Annual leave is thirty days a year.", 1, "en"),
        _stored("leave.pdf", 1, "Annual leave that is left is carried over to March.", 2, "en"),
        _stored("urlaub.md", 0, "Urlaub verfällt im März.", None, "de"),
        _stored("urlaub.md", 1, "如何重置密码：打开设置，选择安全。", None, "zh"),
    ]
)


def fill(store: Store, client: Client) -> None:
    """Make the collection."""
    model = client.model_info()
    store.create(
        CollectionSpec(
            name=COLLECTION,
            model=model.name,
            dense_size=model.hidden_size,
            colbert_size=model.colbert_size,
            storage="float32",
        )
    )
    embeddings = client.encode(list(PASSAGES), {"dense", "sparse", "colbert"})
    store.put(
        COLLECTION,
        [
            Point(stored, embedding.dense, embedding.sparse, embedding.colbert)
            for stored, embedding in zip(PASSAGES.values(), embeddings, strict=True)
        ],
    )
