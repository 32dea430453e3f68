"""What every store does. See `conftest.py` for how one joins."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import numpy as np
import pytest
from some_points import SPEC, chunk, lexical, point, query, units
from store_kinds import StoreKind

from bgem3_client import InvalidInputError
from bgem3_retrieval.documents.document import MetadataValue
from bgem3_retrieval.errors import (
    CollectionExistsError,
    CollectionMismatchError,
    CollectionNotFoundError,
    StoreError,
)
from bgem3_retrieval.stores.collection import Storage
from bgem3_retrieval.stores.query import Condition, QueryVectors, StoredSource
from bgem3_retrieval.stores.store import Store

# Said by the in-memory Qdrant behind the HTTP interface.
pytestmark = pytest.mark.filterwarnings("ignore:Local mode performs exact")


def test_there_is_nothing_at_first(store: Store) -> None:
    """A new store has no collections, and says so."""
    assert [] == store.names()


def test_a_collection_knows_how_it_was_made(kind: StoreKind) -> None:
    """The specification comes back as it was given, also after the store was opened again."""
    spec = SPEC.model_copy(update={"colbert": "pooled", "pool_factor": 3, "overlap_tokens": 5})
    kind.open().create(spec)

    store = kind.open()

    assert spec == store.spec("notes")
    assert ["notes"] == store.names()
    assert 0 == store.count("notes")
    assert [] == list(store.sources("notes"))


def test_names_are_sorted(store: Store) -> None:
    """Whatever the order that the collections were made in."""
    for name in ("b", "a", "C"):
        store.create(SPEC.model_copy(update={"name": name}))

    assert ["C", "a", "b"] == store.names()


def test_a_collection_is_made_once(store: Store) -> None:
    """The second of a name is refused, and the first is left as it was."""
    store.create(SPEC)
    store.put("notes", [point()])

    with pytest.raises(CollectionExistsError, match="notes"):
        store.create(SPEC.model_copy(update={"dense_size": 16}))

    assert SPEC == store.spec("notes")
    assert 1 == store.count("notes")


def test_a_dropped_collection_is_gone(kind: StoreKind) -> None:
    """With its points; another of its name can be made."""
    store = kind.open()
    store.create(SPEC)
    store.put("notes", [point()])

    store.drop("notes")

    assert [] == store.names()
    with pytest.raises(CollectionNotFoundError):
        store.count("notes")
    store.create(SPEC.model_copy(update={"dense_size": 16}))
    assert 0 == store.count("notes")
    assert 16 == kind.open().spec("notes").dense_size


@pytest.mark.parametrize(
    "ask",
    [
        lambda store: store.spec("nothing"),
        lambda store: store.drop("nothing"),
        lambda store: store.count("nothing"),
        lambda store: list(store.sources("nothing")),
        lambda store: store.put("nothing", [point()]),
        lambda store: store.remove_source("nothing", "a.md"),
        lambda store: store.nearest("nothing", query(), 3),
        lambda store: store.scores("nothing", query(), [uuid4()]),
        lambda store: store.lexical_weights("nothing", [uuid4()]),
    ],
    ids=[
        *("spec", "drop", "count", "sources", "put", "remove_source", "nearest", "scores"),
        "lexical_weights",
    ],
)
def test_what_is_not_there_is_said(store: Store, ask: object) -> None:
    """Every request about a collection that there is not says which one is missing."""
    assert callable(ask)
    with pytest.raises(CollectionNotFoundError, match="nothing"):
        ask(store)


def test_points_outlive_the_store(kind: StoreKind) -> None:
    """What was written is there when the store is opened again: vectors, text, metadata."""
    metadata: dict[str, MetadataValue] = {"year": 2024, "lang": "zh", "share": 0.5, "final": True}
    stored = chunk("b.pdf", 3, count=7, metadata=metadata, page=12)
    store = kind.open()
    store.create(SPEC)
    store.put("notes", [point(stored, seed=4)])
    before = store.scores("notes", query(4), [stored.id])

    store = kind.open()
    found = store.nearest("notes", query(4), 5)

    assert [stored] == [candidate.stored for candidate in found]
    assert [stored.id] == [candidate.id for candidate in found]
    assert before[stored.id] == pytest.approx(
        store.scores("notes", query(4), [stored.id])[stored.id]
    )


def test_a_point_written_again_replaces_itself(store: Store) -> None:
    """The same chunk with other vectors is one point, with the later ones."""
    store.create(SPEC)
    store.put("notes", [point(seed=1), point(chunk("b.md"), seed=2)])
    store.put("notes", [point(seed=3)])

    assert 2 == store.count("notes")
    assert 1.0 == pytest.approx(
        store.scores("notes", query(3), [chunk().id])[chunk().id]["dense"], abs=1e-5
    )


def test_nothing_can_be_written(store: Store) -> None:
    """No points are no error."""
    store.create(SPEC)
    store.put("notes", [])

    assert 0 == store.count("notes")


def test_many_points(store: Store) -> None:
    """What was written at once is all there, and listed by document."""
    store.create(SPEC.model_copy(update={"colbert": "none"}))
    chunks = [chunk(f"{i % 3}.md", i, count=9) for i in range(900)]
    store.put("notes", [point(one, seed=0, colbert=False) for one in chunks])

    assert 900 == store.count("notes")
    assert [StoredSource(f"{i}.md", "f1", 300, 9) for i in range(3)] == sorted(
        store.sources("notes"), key=lambda one: one.source
    )


def test_sources_are_told_apart_by_state(store: Store) -> None:
    """A document that was indexed in part shows, and so does an older state of it."""
    store.create(SPEC)
    store.put(
        "notes",
        [
            point(chunk("a.md", 0, count=3)),
            point(chunk("a.md", 1, count=3)),
            point(chunk("a.md", 0, fingerprint="f2", count=1)),
            point(chunk("资料.md", 0, count=1)),
        ],
    )

    found = {(one.source, one.fingerprint): one for one in store.sources("notes")}

    assert {
        ("a.md", "f1"): StoredSource("a.md", "f1", 2, 3),
        ("a.md", "f2"): StoredSource("a.md", "f2", 1, 1),
        ("资料.md", "f1"): StoredSource("资料.md", "f1", 1, 1),
    } == found
    assert [False, True, True] == [found[key].complete for key in sorted(found)]


def test_a_document_is_removed(kind: StoreKind) -> None:
    """All of it, or all but one state; other documents stay, and so it is when opened again."""
    store = kind.open()
    store.create(SPEC)
    kept = [chunk("a.md", 0, fingerprint="f2"), chunk("ab.md")]
    store.put("notes", [point(chunk("a.md", i)) for i in range(3)] + [point(one) for one in kept])

    store.remove_source("notes", "a.md", keep_fingerprint="f2")
    store.remove_source("notes", "never there")

    assert {one.id for one in kept} == {c.id for c in store.nearest("notes", query(), 9)}
    store.remove_source("notes", "a.md")
    assert {} == store.scores("notes", query(), [kept[0].id])
    store = kind.open()
    assert [kept[1].id] == [c.id for c in store.nearest("notes", query(), 9)]
    assert {} == store.scores("notes", query(), [kept[0].id])


def test_a_removed_document_can_come_back(store: Store) -> None:
    """Points that were removed are written again as if they had never been there."""
    store.create(SPEC)
    store.put("notes", [point(seed=1)])
    store.remove_source("notes", "a.md")
    store.put("notes", [point(seed=1)])

    assert [chunk().id] == [c.id for c in store.nearest("notes", query(1), 9)]
    assert 1 == store.count("notes")


def test_the_nearest_by_each_representation(store: Store) -> None:
    """As many as asked for by each, once each, the best rank first, with the scores."""
    store.create(SPEC)
    chunks = [chunk(f"{i}.md") for i in range(6)]
    axis = np.eye(8, dtype=np.float32)
    angles = [0.9, 0.7, 0.5, 0.3, 0.2, 0.1]
    weights: list[dict[int, float]] = [{5: 1.0}, {}, {}, {9: 1.0}, {9: 2.0, 5: 0.25}, {8: 1.0}]
    points = [point(one, sparse=w) for one, w in zip(chunks, weights, strict=True)]
    points = [
        type(p)(
            p.stored, np.float32(a) * axis[0] + np.float32(1 - a) * axis[1], p.sparse, p.colbert
        )
        for p, a in zip(points, angles, strict=True)
    ]
    store.put("notes", points)

    found = store.nearest("notes", QueryVectors(axis[0], lexical({9: 3.0, 5: 1.0})), 2)

    by_source = {c.stored.chunk.source: c.found_by for c in found}
    assert {"0.md", "1.md", "3.md", "4.md"} == set(by_source)
    assert {"0.md", "4.md"} == {c.stored.chunk.source for c in found[:2]}
    assert {"dense": pytest.approx(0.9, abs=1e-5)} == by_source["0.md"]
    assert {"sparse": pytest.approx(6.25, abs=1e-5)} == by_source["4.md"]
    assert {"sparse": pytest.approx(3.0, abs=1e-5)} == by_source["3.md"]
    both = store.nearest("notes", QueryVectors(axis[0], lexical({5: 1.0})), 1)
    assert [{"dense": pytest.approx(0.9, abs=1e-5), "sparse": pytest.approx(1.0)}] == [
        c.found_by for c in both
    ]


def test_what_a_query_lacks_is_not_searched(store: Store) -> None:
    """By dense alone, by sparse alone, by words that no chunk has, and by nothing."""
    store.create(SPEC)
    store.put("notes", [point(seed=1)])

    def representations(vectors: QueryVectors) -> list[set[str]]:
        return [set(c.found_by) for c in store.nearest("notes", vectors, 3)]

    assert [{"dense"}] == representations(QueryVectors(dense=units(1, 8)))
    assert [{"sparse"}] == representations(QueryVectors(sparse=lexical({2: 1.0})))
    assert [] == representations(QueryVectors(sparse=lexical({99: 1.0})))
    assert [] == representations(QueryVectors(sparse=lexical({})))
    assert [] == representations(QueryVectors(colbert=units(1, 2, 4)))
    assert [] == representations(QueryVectors())


def test_scores_are_those_of_flag_embedding(store: Store) -> None:
    """Inner product, sum over common tokens, mean of the best products of a query's tokens."""
    store.create(SPEC)
    points = [point(chunk(f"{i}.md"), seed=i, rows=i + 1) for i in range(5)]
    store.put("notes", points)
    vectors = query(2, sparse={3: 2.0, 4: 1.0, 77: 9.0})
    assert vectors.dense is not None
    assert vectors.colbert is not None

    found = store.scores("notes", vectors, [one.stored.id for one in points[1:]])

    expected = {
        one.stored.id: {
            "dense": float(one.dense @ vectors.dense),
            "sparse": {2: 1.0, 3: 0.5}.get(int(one.sparse.indices[0]) - 1, 0.0),
            "colbert": float((vectors.colbert @ one.colbert.T).max(axis=1).mean()),
        }
        for one in points[1:]
        if one.colbert is not None
    }
    assert expected.keys() == found.keys()
    for point_id, scores in expected.items():
        assert found[point_id] == pytest.approx(scores, abs=1e-5)


def test_scores_of_some_representations(store: Store) -> None:
    """Only what the query has; what is not there has none; nobody asked for is nobody scored."""
    store.create(SPEC)
    store.put("notes", [point(sparse={}), point(chunk("b.md"), seed=1)])
    ids = [chunk().id, chunk("b.md").id, uuid4()]

    def representations(vectors: QueryVectors) -> list[set[str]]:
        scores = store.scores("notes", vectors, ids)
        assert set(ids[:2]) == set(scores)
        return [set(scores[one]) for one in ids[:2]]

    assert [{"dense"}] * 2 == representations(QueryVectors(dense=units(1, 8)))
    assert [{"sparse"}] * 2 == representations(QueryVectors(sparse=lexical({2: 1.0})))
    assert [{"sparse"}] * 2 == representations(QueryVectors(sparse=lexical({})))
    assert [{"colbert"}] * 2 == representations(QueryVectors(colbert=units(1, 2, 4)))
    assert {} == store.scores("notes", query(), [])
    assert {} == store.scores("notes", query(), [uuid4()])


def test_scores_without_colbert_vectors(store: Store) -> None:
    """A collection without them scores by the others."""
    store.create(SPEC.model_copy(update={"colbert": "none"}))
    store.put("notes", [point(colbert=False)])

    assert {"dense", "sparse"} == set(store.scores("notes", query(), [chunk().id])[chunk().id])


def test_lexical_weights_come_back(kind: StoreKind) -> None:
    """As they were put, also of a text without any and after opening again; of what is there."""
    some, none, other = chunk("a.md"), chunk("b.md"), chunk("c.md")
    weights: dict[int, float] = {7: 0.25, 250_001: 1.5}
    store = kind.open()
    store.create(SPEC.model_copy(update={"storage": "float16"}))
    store.put(
        "notes",
        [point(some, sparse=weights), point(none, sparse={}), point(other, sparse={7: 0.5})],
    )

    def read(store: Store) -> dict[UUID, dict[int, float]]:
        found = store.lexical_weights("notes", [some.id, none.id, uuid4()])
        return {one: embedding.as_dict() for one, embedding in found.items()}

    assert {some.id: weights, none.id: {}} == read(store)
    assert {} == store.lexical_weights("notes", [])
    store = kind.open()
    store.remove_source("notes", "b.md")
    assert {some.id: weights} == read(store)


@pytest.mark.parametrize(
    ("storage", "tolerance"), [("float32", 1e-5), ("float16", 2e-3), ("int8", 3e-2)]
)
def test_what_a_storage_rounds(kind: StoreKind, storage: Storage, tolerance: float) -> None:
    """Scores differ by what the numbers are rounded to, before and after opening again.

    A store that cannot keep such numbers refuses to make the collection.
    """
    store = kind.open()
    spec = SPEC.model_copy(update={"storage": storage})
    if storage not in kind.storages:
        with pytest.raises(InvalidInputError, match="choose float16"):
            store.create(spec)
        return
    store.create(spec)
    one = point(seed=3)
    store.put("notes", [one])
    vectors = query(3)
    assert one.colbert is not None
    assert vectors.colbert is not None
    expected = {
        "dense": 1.0,
        "sparse": 1.0,
        "colbert": float((vectors.colbert @ one.colbert.T).max(axis=1).mean()),
    }

    found = store.scores("notes", vectors, [chunk().id])[chunk().id]
    later = kind.open().scores("notes", vectors, [chunk().id])[chunk().id]

    assert found == pytest.approx(expected, abs=tolerance)
    assert later == pytest.approx(expected, abs=tolerance)


_DOCUMENTS: Mapping[str, dict[str, MetadataValue]] = {
    "a.md": {"year": 2020, "lang": "en", "final": True, "share": 0.5, "a.b c": "x", "年": 1},
    "b.md": {"year": 2022, "lang": "zh", "final": False, "share": 2},
    "c.md": {"year": 2024.0, "lang": "en", "id": 2**60 + 1},
    "d.md": {"year": "2022", "final": 1},
}


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ([Condition("lang", "==", "en")], "ac"),
        ([Condition("lang", "!=", "en")], "bd"),
        ([Condition("lang", "in", ("zh", "fr", "en"))], "abc"),
        ([Condition("lang", "in", ("fr",))], ""),
        ([Condition("year", "==", 2022)], "b"),
        ([Condition("year", "==", 2024)], "c"),
        ([Condition("year", "==", "2022")], "d"),
        ([Condition("year", "!=", 2022)], "acd"),
        ([Condition("year", "in", (2020, 2024, "2022"))], "acd"),
        ([Condition("year", ">", 2020)], "bc"),
        ([Condition("year", ">=", 2020)], "abc"),
        ([Condition("year", "<", 2022)], "a"),
        ([Condition("year", "<=", 2022.5)], "ab"),
        ([Condition("year", ">", 2020), Condition("year", "<", 2024)], "b"),
        ([Condition("lang", "==", "en"), Condition("year", "!=", 2020)], "c"),
        ([Condition("final", "==", True)], "a"),
        ([Condition("final", "!=", True)], "bcd"),
        ([Condition("final", "==", 1)], "d"),
        ([Condition("final", ">", 0)], "d"),
        ([Condition("share", "==", 0.5)], "a"),
        ([Condition("share", "==", 2)], "b"),
        ([Condition("share", "<", 1)], "a"),
        ([Condition("id", "==", 2**60 + 1)], "c"),
        ([Condition("id", "==", 2**60)], ""),
        ([Condition("a.b c", "==", "x")], "a"),
        ([Condition("年", "==", 1)], "a"),
        ([Condition("nobody has it", "==", 1)], ""),
        ([Condition("nobody has it", "!=", 1)], "abcd"),
        ([Condition("source", "==", "b.md")], "b"),
        ([Condition("source", "in", ("b.md", "d.md"))], "bd"),
        ([Condition("title", "!=", "Title of b.md")], "acd"),
        ([Condition("page", ">=", 2)], "cd"),
        ([Condition("page", "==", 1)], "b"),
        ([Condition("page", "!=", 1)], "acd"),
    ],
    ids=lambda value: (
        None
        if isinstance(value, str)
        else " and ".join(f"{one.field}{one.operator}{one.value}" for one in value)
    ),
)
def test_conditions(filled: Store, conditions: list[Condition], expected: str) -> None:
    """Each condition lets through what it says, whatever the types of the others' values are."""
    found = filled.nearest("notes", QueryVectors(dense=units(0, 8)), 9, conditions)

    assert [f"{letter}.md" for letter in expected] == sorted(c.stored.chunk.source for c in found)


@pytest.fixture
def filled(store: Store) -> Store:
    """A collection of four documents with metadata."""
    store.create(SPEC)
    store.put(
        "notes",
        [
            point(
                chunk(source, metadata=metadata, page=page, title=f"Title of {source}"),
                seed=page or 0,
            )
            for page, (source, metadata) in zip((None, 1, 2, 3), _DOCUMENTS.items(), strict=True)
        ],
    )
    return store


def test_conditions_hold_for_every_representation(filled: Store) -> None:
    """What is found by its words is filtered too."""
    found = filled.nearest(
        "notes", QueryVectors(sparse=lexical({2: 1.0, 3: 1.0})), 9, [Condition("lang", "==", "zh")]
    )

    assert ["b.md"] == [c.stored.chunk.source for c in found]


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (Condition("year", "<", "2022"), "only numbers have an order"),
        (Condition("final", ">=", True), "only numbers have an order"),
        (Condition("lang", "in", "en"), "tuple"),
        (Condition("lang", "in", ()), "one value or more"),
        (Condition("lang", "==", ("en", "zh")), "only 'in'"),
        (Condition("", "==", 1), "name"),
        (Condition('a"b', "==", 1), "quotation mark"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    store: Store, condition: Condition, message: str
) -> None:
    """With the condition in the message."""
    store.create(SPEC)

    with pytest.raises(InvalidInputError, match=message):
        store.nearest("notes", query(), 3, [condition])


def test_a_search_finds_at_least_one(store: Store) -> None:
    """A limit below 1 is refused."""
    store.create(SPEC)

    with pytest.raises(InvalidInputError, match="not 0"):
        store.nearest("notes", query(), 0)


def test_vectors_of_another_model_are_refused(store: Store) -> None:
    """Points and queries of other sizes, or without what is kept; nothing is written."""
    store.create(SPEC)
    wrong = SPEC.model_copy(update={"dense_size": 9})
    narrow = SPEC.model_copy(update={"colbert_size": 3})

    for bad in (point(spec=wrong), point(spec=narrow), point(colbert=False)):
        with pytest.raises(CollectionMismatchError, match="notes"):
            store.put("notes", [point(chunk("good.md")), bad])
    with pytest.raises(CollectionMismatchError, match="notes"):
        store.nearest("notes", QueryVectors(dense=units(0, 9)), 3)
    with pytest.raises(CollectionMismatchError, match="notes"):
        store.scores("notes", QueryVectors(colbert=units(0, 2, 3)), [uuid4()])
    assert 0 == store.count("notes")


def test_colbert_vectors_that_are_not_kept_are_refused(store: Store) -> None:
    """A collection without them takes none."""
    store.create(SPEC.model_copy(update={"colbert": "none"}))

    with pytest.raises(CollectionMismatchError, match="without ColBERT"):
        store.put("notes", [point()])


def test_any_thread_may_ask(store: Store) -> None:
    """Writing, counting and searching at the same time ends with all of it there."""
    store.create(SPEC)

    def work(number: int) -> int:
        store.put("notes", [point(chunk(f"{number}.md", i), seed=i) for i in range(5)])
        store.nearest("notes", query(), 3)
        return store.count("notes")

    with ThreadPoolExecutor(4) as threads:
        counts = list(threads.map(work, range(8)))

    assert 40 == max(counts) == store.count("notes")


def test_a_closed_store_says_so(kind: StoreKind) -> None:
    """Closing it twice is nothing; asking it after is an error that says why."""
    store = kind.open()
    store.create(SPEC)
    store.close()
    store.close()

    with pytest.raises(StoreError, match="closed"):
        store.count("notes")


@pytest.mark.parametrize("name", ["", "a b", "../x", "1a", "x" * 65])
def test_names_that_are_none(store: Store, name: str) -> None:
    """A name that no collection can have is refused wherever it is given."""
    with pytest.raises(InvalidInputError, match="name"):
        store.spec(name)
