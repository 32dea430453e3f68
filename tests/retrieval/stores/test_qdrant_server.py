"""A Qdrant server: what it is asked, and what its failures become."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from qdrant_double import QdrantDouble
from qdrant_grpc_double import QdrantGrpcDouble
from some_points import SPEC, chunk, lexical, point, query

from bgem3_client.retry_policy import RetryPolicy
from bgem3_retrieval.errors import (
    CollectionExistsError,
    CollectionNotFoundError,
    ForeignCollectionError,
    StoreError,
)
from bgem3_retrieval.stores.qdrant import server
from bgem3_retrieval.stores.qdrant.server import QdrantServer
from bgem3_retrieval.stores.query import Condition, QueryVectors

pytestmark = pytest.mark.filterwarnings("ignore:Local mode performs exact")
Connect = Callable[..., QdrantServer]


@pytest.fixture
def connect(qdrant_double: QdrantDouble) -> Iterator[Connect]:
    """Open a store at the double, or elsewhere."""
    opened: list[QdrantServer] = []

    def open_one(url: str | None = None, **options: Any) -> QdrantServer:
        retries = RetryPolicy(attempts=3, initial_backoff_seconds=0.001)
        opened.append(QdrantServer(url or qdrant_double.url, retries=retries, **options))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


@pytest.fixture
def store(connect: Connect) -> QdrantServer:
    """A store with the collection ``notes``."""
    one = connect()
    one.create(SPEC)
    return one


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _last(double: QdrantDouble, ending: str) -> Any:
    return [body for _, path, body in double.requests if path.endswith(ending)][-1]


def test_nobody_there(connect: Connect) -> None:
    """A refused connection says what was asked where, at once."""
    store = connect(f"http://127.0.0.1:{_free_port()}")

    with pytest.raises(StoreError, match=r"127\.0\.0\.1.*cannot be reached.*is it running"):
        store.names()


@pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")
def test_a_key_is_wanted(connect: Connect, qdrant_double: QdrantDouble) -> None:
    """Without one the message says where it goes; with it all is well."""
    qdrant_double.api_key = "secret"

    with pytest.raises(StoreError, match="BGEM3_STORE_API_KEY"):
        connect().names()
    with pytest.raises(StoreError, match="refuses the API key") as caught:
        connect(api_key="wrong").names()
    assert "wrong" not in str(caught.value)
    assert [] == connect(api_key="secret").names()


@pytest.mark.parametrize("status", [200, 404, 502])
def test_something_else_answers(connect: Connect, qdrant_double: QdrantDouble, status: int) -> None:
    """A web page is no Qdrant, and no missing collection either."""
    qdrant_double.fail_once(status, body=b"<html>Welcome!</html>")

    with pytest.raises(StoreError, match="no Qdrant"):
        connect().count("notes")


def test_an_old_server(connect: Connect, qdrant_double: QdrantDouble) -> None:
    """It could not keep how a collection was made; said before one is made."""
    qdrant_double.version = "1.15.9"

    with pytest.raises(StoreError, match=r"version 1\.15\.9: 1\.16 or later"):
        connect().create(SPEC)

    assert not qdrant_double.qdrant.collection_exists("notes")


def test_collections_of_others_are_left_alone(
    store: QdrantServer, qdrant_double: QdrantDouble
) -> None:
    """They are not listed, used, or removed."""
    qdrant_double.qdrant.create_collection("theirs", {})
    qdrant_double.indexes["theirs"] = {}

    assert ["notes"] == store.names()
    for ask in (store.spec, store.drop, store.count):
        with pytest.raises(ForeignCollectionError, match="theirs"):
            ask("theirs")
    with pytest.raises(CollectionExistsError, match="theirs"):
        store.create(SPEC.model_copy(update={"name": "theirs"}))
    assert qdrant_double.qdrant.collection_exists("theirs")


def test_a_collection_of_a_later_version(connect: Connect, qdrant_double: QdrantDouble) -> None:
    """What it is made for cannot be read, which is said, and not that it is another's."""
    later = {"bgem3": {"name": "notes"}}
    qdrant_double.qdrant.create_collection("notes", {}, metadata=later)
    qdrant_double.indexes["notes"] = {}

    with pytest.raises(StoreError, match=r"notes at http.* of a later version"):
        connect().spec("notes")


def test_failures_of_a_moment_are_overcome(
    store: QdrantServer, qdrant_double: QdrantDouble
) -> None:
    """A request is made again when the server is overloaded or restarts."""
    qdrant_double.fail_once(503, "shard is initializing")
    qdrant_double.fail_once(429, "too many requests")
    store.put("notes", [point()])

    assert 1 == store.count("notes")


def test_failures_that_last_are_said(store: QdrantServer, qdrant_double: QdrantDouble) -> None:
    """After the last attempt, with the server's words."""
    for _ in range(3):
        qdrant_double.fail_once(503, "shard is initializing")

    with pytest.raises(StoreError, match="503: shard is initializing"):
        store.count("notes")

    assert [] == qdrant_double.faults


def test_what_does_not_pass_is_not_repeated(
    store: QdrantServer, qdrant_double: QdrantDouble
) -> None:
    """A full disk, and a request that is refused."""
    store.put("notes", [point()])
    before = len(qdrant_double.requests)
    qdrant_double.fail_once(500, "Service internal error: No space left on device")

    with pytest.raises(StoreError, match="No space left on device"):
        store.put("notes", [point()])

    assert before + 1 == len(qdrant_double.requests)


def test_a_point_that_is_too_large(store: QdrantServer, qdrant_double: QdrantDouble) -> None:
    """What can be done about it is in the message."""
    store.put("notes", [])
    store._make_indexes("notes", [point()])
    qdrant_double.fail_once(413, "payload too large")

    with pytest.raises(StoreError, match=r"gRPC port.*pooled"):
        store.put("notes", [point()])


def test_a_collection_that_another_process_drops(connect: Connect, store: QdrantServer) -> None:
    """It is missed, also when it was there a moment ago, and seen when it is made again."""
    store.count("notes")
    other = connect()
    other.drop("notes")

    with pytest.raises(CollectionNotFoundError, match="notes"):
        store.count("notes")
    other.create(SPEC.model_copy(update={"dense_size": 16}))
    assert 16 == store.spec("notes").dense_size
    assert 0 == store.count("notes")


def test_what_a_collection_is_made_of(store: QdrantServer, qdrant_double: QdrantDouble) -> None:
    """ColBERT vectors have no graph; INT8 keeps 16 bits on the disk to score with."""
    full = _last(qdrant_double, "/collections/notes")
    store.create(SPEC.model_copy(update={"name": "small", "storage": "int8", "colbert": "none"}))
    small = _last(qdrant_double, "/collections/small")

    assert "float32" == full["vectors"]["dense"]["datatype"]
    assert 0 == full["vectors"]["colbert"]["hnsw_config"]["m"]
    assert "max_sim" == full["vectors"]["colbert"]["multivector_config"]["comparator"]
    assert {"dense"} == set(small["vectors"])
    assert "float16" == small["vectors"]["dense"]["datatype"]
    assert "int8" == small["vectors"]["dense"]["quantization_config"]["scalar"]["type"]


def test_int8_is_rescored(store: QdrantServer, qdrant_double: QdrantDouble) -> None:
    """What 8 bits found is scored by what is on the disk."""
    store.create(SPEC.model_copy(update={"name": "small", "storage": "int8"}))
    store.nearest("small", query(), 3)

    (dense, _) = _last(qdrant_double, "/points/query/batch")["searches"]
    assert dense["params"]["quantization"]["rescore"]


def test_round_trips(store: QdrantServer, qdrant_double: QdrantDouble) -> None:
    """Each question is one: the scores look at the chosen alone, and weights at nothing else."""
    store.put("notes", [point()])
    before = len(qdrant_double.requests)

    store.nearest("notes", query(), 3, [Condition("lang", "!=", "en")])
    store.scores("notes", query(), [chunk().id])
    store.lexical_weights("notes", [chunk().id])

    assert before + 3 == len(qdrant_double.requests)
    weights = _last(qdrant_double, "/points")
    assert (False, ["sparse"]) == (weights["with_payload"], weights["with_vector"])
    asked = _last(qdrant_double, "/points/query/batch")["searches"]
    assert ["dense", "sparse", "colbert"] == [one["using"] for one in asked]
    assert [[{"has_id": [str(chunk().id)]}]] * 3 == [one["filter"]["must"] for one in asked]
    assert [True, None, True] == [(one.get("params") or {}).get("exact") for one in asked]


def test_writes_are_waited_for(store: QdrantServer, qdrant_double: QdrantDouble) -> None:
    """A put or a removal that returned is done."""
    store.put("notes", [point()])
    store.remove_source("notes", "a.md")

    paths = [path for _, path, _ in qdrant_double.requests if "/points" in path]
    assert ["/collections/notes/points?wait=true"] == [p for p in paths if "delete" not in p]
    assert ["/collections/notes/points/delete?wait=true"] == [p for p in paths if "delete" in p]


def test_large_puts_are_parted(
    store: QdrantServer, qdrant_double: QdrantDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request stays below what a server takes; a point that is larger travels alone."""
    monkeypatch.setattr(server, "_REQUEST_NUMBERS", {False: 100, True: 100})
    sizes = [5, 5, 5, 5, 100, 5]  # rows of 4 numbers, and 8 numbers of the dense vector
    store.put("notes", [point(chunk(position=i), rows=rows) for i, rows in enumerate(sizes)])

    puts = [body for _, path, body in qdrant_double.requests if "/points?" in path]
    assert [3, 1, 1, 1] == [len(body["points"]) for body in puts]
    assert 6 == store.count("notes")


def test_indexes_are_made_once(
    connect: Connect, store: QdrantServer, qdrant_double: QdrantDouble
) -> None:
    """For what documents are found by, and for their metadata, by its type."""
    metadata = {"lang": "zh", "year": 2024, "final": True, "a b": "x"}
    store.put("notes", [point(chunk(metadata=metadata))])
    again = connect()
    before = len(qdrant_double.requests)
    again.put("notes", [point(chunk(metadata={"lang": "en", "new": 0.5}))])

    assert {
        "source": "keyword",
        "fingerprint": "keyword",
        "title": "keyword",
        "page": "float",
        "metadata.lang": "keyword",
        "metadata.year": "float",
        "metadata.final": "bool",
        'metadata."a b"': "keyword",
        "metadata.new": "float",
    } == qdrant_double.indexes["notes"]
    later = [body for _, path, body in qdrant_double.requests[before:] if "/index" in path]
    assert ["metadata.new"] == [body["field_name"] for body in later]


def test_a_server_writes_paths_in_its_own_way(
    connect: Connect, store: QdrantServer, qdrant_double: QdrantDouble
) -> None:
    """An index that it lists without the quotation marks is not made again."""
    store.put("notes", [point(chunk(metadata={"年": 2024}))])
    listed = qdrant_double.indexes["notes"]
    listed["metadata.年"] = listed.pop('metadata."年"')

    connect().put("notes", [point(chunk(metadata={"年": 2025}))])

    assert 'metadata."年"' not in listed


def test_indexes_are_not_without_end(store: QdrantServer, qdrant_double: QdrantDouble) -> None:
    """A table of a hundred columns gets 32 of them; the others are filtered without."""
    metadata = {f"column{i}": i for i in range(100)}
    store.put("notes", [point(chunk(metadata=metadata))])

    assert 32 == len(qdrant_double.indexes["notes"])
    found = store.nearest(
        "notes", QueryVectors(sparse=lexical({1: 1.0})), 3, [Condition("column99", "==", 99)]
    )
    assert 1 == len(found)


def test_listings_are_read_in_pages(store: QdrantServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every page counts, and each of them once."""
    monkeypatch.setattr("bgem3_retrieval.stores.qdrant.store._SCROLL_POINTS", 7)
    store.put("notes", [point(chunk(position=i, count=30)) for i in range(30)])

    assert [30] == [one.points for one in store.sources("notes")]


def test_by_grpc_nothing_goes_by_http(
    connect: Connect, qdrant_grpc_double: QdrantGrpcDouble
) -> None:
    """Where its port is open; the HTTP port of the address is closed here."""
    store = connect(qdrant_grpc_double.url)
    store.create(SPEC)
    store.put("notes", [point()])

    assert "UpsertPoints" in qdrant_grpc_double.calls
    assert 1 == store.count("notes")


def test_grpc_failures_of_a_moment_are_overcome(
    connect: Connect, qdrant_grpc_double: QdrantGrpcDouble
) -> None:
    """As by HTTP; after the last attempt the code and the server's words are said."""
    store = connect(qdrant_grpc_double.url)
    store.create(SPEC)
    qdrant_grpc_double.failures = [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED]

    assert 0 == store.count("notes")
    qdrant_grpc_double.failures = [grpc.StatusCode.UNAVAILABLE] * 3
    with pytest.raises(StoreError, match=r"UNAVAILABLE: of the double.*grpc_port=0"):
        store.count("notes")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (grpc.StatusCode.UNAUTHENTICATED, "BGEM3_STORE_API_KEY"),
        (grpc.StatusCode.PERMISSION_DENIED, "BGEM3_STORE_API_KEY"),
        (grpc.StatusCode.INTERNAL, "INTERNAL: of the double"),
        (grpc.StatusCode.UNIMPLEMENTED, "UNIMPLEMENTED"),
    ],
)
def test_grpc_failures_that_do_not_pass(
    connect: Connect, qdrant_grpc_double: QdrantGrpcDouble, code: grpc.StatusCode, message: str
) -> None:
    """They are said at once."""
    store = connect(qdrant_grpc_double.url)
    assert [] == store.names()
    qdrant_grpc_double.failures = [code]

    with pytest.raises(StoreError, match=message):
        store.names()
