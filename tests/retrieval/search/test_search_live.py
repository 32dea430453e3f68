"""Search with a real Triton through a real store: the scores are the model's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from search_texts import stored

from bgem3_client import Client
from bgem3_retrieval.search.options import SearchOptions
from bgem3_retrieval.search.searcher import Searcher
from bgem3_retrieval.stores.address import open_store
from bgem3_retrieval.stores.collection import CollectionSpec, Storage
from bgem3_retrieval.stores.point import Point
from bgem3_retrieval.stores.query import Condition
from bgem3_retrieval.stores.store import Store

pytestmark = pytest.mark.live

TEXTS = [
    "微信支付密码忘了怎么办？在“我”的页面里找到支付设置，重置密码。",
    "How do I reset my WeChat Pay password? Open the settings and choose reset.",
    "今天天气很好，我们去公园散步。",
    "The KX-4741-B circulation pump uses a single mechanical seal.",
    "The KX-4471-B circulation pump uses a double mechanical seal.",
    "Annual leave that was not taken may be carried over to March.",
]
QUERIES = ["如何重置微信支付密码", "seal of the KX-4471-B", "carry over annual leave"]
# Relative to scores of 0 to 1; FP16 has eleven bits.
TOLERANCE: dict[Storage, float] = {"float32": 1e-5, "float16": 2e-3}


@pytest.fixture(scope="module")
def embedded(client: Client, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """An embedded Qdrant with a collection for each storage."""
    folder: Path = tmp_path_factory.mktemp("store")
    model = client.model_info()
    embeddings = client.encode(TEXTS, {"dense", "sparse", "colbert"})
    points = [
        Point(stored(f"text-{number}", text, {"number": number}), e.dense, e.sparse, e.colbert)
        for number, (text, e) in enumerate(zip(TEXTS, embeddings, strict=True))
    ]
    with closing(open_store(str(folder))) as store:
        for storage in TOLERANCE:
            store.create(
                CollectionSpec(
                    name=storage,
                    model=model.name,
                    dense_size=model.hidden_size,
                    colbert_size=model.colbert_size,
                    storage=storage,
                )
            )
            store.put(storage, points)
        yield store


@pytest.mark.parametrize("storage", list(TOLERANCE))
def test_scores_are_those_of_compute_score(
    client: Client, embedded: Store, storage: Storage
) -> None:
    """Dense, sparse and ColBERT, of every hit, up to what the storage rounds."""
    results = Searcher(client, embedded).search_many(storage, QUERIES)
    for result in results:
        assert len(TEXTS) == len(result.hits)
        pairs = [(result.query, hit.stored.chunk.text) for hit in result.hits]
        expected = client.compute_score(pairs, weights=(0.35, 0.15, 0.5))
        for name in ("dense", "sparse", "colbert"):
            assert pytest.approx(expected[name], abs=TOLERANCE[storage]) == [
                hit.scores[name] for hit in result.hits
            ]
        assert pytest.approx(expected["colbert+sparse+dense"], abs=TOLERANCE[storage]) == [
            hit.score for hit in result.hits
        ]


def test_the_right_passages_and_words_are_found(client: Client, embedded: Store) -> None:
    """The model number that is meant, with the tokens that say so."""
    searcher = Searcher(client, embedded)
    (pay, pump, leave) = (
        searcher.search("float16", query, SearchOptions(explain=True)).hits[0] for query in QUERIES
    )

    assert ["text-0", "text-4", "text-5"] == [hit.stored.chunk.source for hit in (pay, pump, leave)]
    for hit, expected in (
        (pay, {"微信支付密码", "重置密码"}),
        (pump, {"KX-4471-B", "seal"}),
        (leave, {"leave", "over"}),
    ):
        text = hit.stored.chunk.text
        assert expected <= {text[mark.begin : mark.end] for mark in hit.marks}
        assert hit.tokens
        # The store's own arithmetic against that of its vectors.
        assert pytest.approx(hit.scores["sparse"], abs=1e-4) == sum(
            token.contribution for token in hit.tokens
        )


def test_conditions_and_one_representation(client: Client, embedded: Store) -> None:
    """Filters hold in every mode."""
    searcher = Searcher(client, embedded)
    for mode in ("hybrid", "dense", "sparse", "colbert"):
        options = SearchOptions(mode=mode, where=(Condition("number", "<", 2),))  # type: ignore[arg-type]
        hits = searcher.search("float32", QUERIES[0], options).hits
        assert "text-0" == hits[0].stored.chunk.source
        assert {"text-0", "text-1"} >= {hit.stored.chunk.source for hit in hits}
