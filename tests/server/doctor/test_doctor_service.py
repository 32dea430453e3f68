"""What is said of a running HTTP service, and of a vector store beside it."""

from __future__ import annotations

import socket
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from doctor_run import finding, findings, seen
from live_service import live_app, live_service
from starlette.applications import Starlette
from waiting import wait_until

from bgem3_client import FakeTransport, SparseEmbedding, UnavailableError
from bgem3_retrieval.chunks.chunk import Chunk
from bgem3_retrieval.stores.address import open_store
from bgem3_retrieval.stores.collection import CollectionSpec
from bgem3_retrieval.stores.point import Point, StoredChunk
from bgem3_server.doctor.checks import service
from bgem3_server.doctor.codes import Code
from bgem3_server.doctor.finding import Outcome
from bgem3_server.doctor.service_health import ask_health
from bgem3_server.doctor.subject import Subject
from bgem3_server.gateway.settings import GatewaySettings

WELL = [(Outcome.OK, None)]
NOTHING = [(Outcome.NOT_APPLICABLE, None)]


def ready(url: str, **facts: object) -> Subject:
    """A subject whose service has asked its model once."""
    subject = Subject(service=url, url=url.replace("http", "bgem3"), **facts)
    assert subject.service_address is not None
    address = subject.service_address

    def has_asked() -> bool:
        try:
            return bool(ask_health(address)["status"] != "loading")
        except OSError:  # on a busy machine an answer may be late
            return False

    wait_until(has_asked)
    return subject


def test_a_service_that_is_well():
    """It is ready, of this release, and answers with sound vectors."""
    with live_service(transport=FakeTransport()) as url:
        subject = ready(url)
        found = [*findings("service.health", subject), *findings("service.request", subject)]

    assert WELL * 2 == [(item.outcome, item.code) for item in found]
    assert 16 == found[1].details["dimension"]


def test_a_service_of_another_release(monkeypatch):
    """It may not know what this one knows."""
    monkeypatch.setattr(service.metadata, "version", lambda name: "9.9")
    with live_service(transport=FakeTransport()) as url:
        assert [(Outcome.WARNING, Code.SERVICE_OF_OTHER_RELEASE)] == seen(
            "service.health", ready(url)
        )


def test_a_service_whose_triton_is_away():
    """The service's own reason is handed on, and the Triton that it asks named."""
    away = FakeTransport(script=[UnavailableError("connection refused")] * 10_000)
    with live_service(transport=away) as url:
        subject = Subject(service=url)
        wait_until(lambda: "refused" in str(finding("service.health", subject).message))
        found = finding("service.health", subject)
        request = finding("service.request", subject)

    assert (Outcome.PROBLEM, Code.SERVICE_NOT_READY) == (found.outcome, found.code)
    assert "127.0.0.1:8001" == found.details["triton"]
    assert (Outcome.PROBLEM, Code.REQUEST_FAILED) == (request.outcome, request.code)
    assert "UnavailableError" == request.details["error"]


def test_a_service_that_wants_a_key():
    """None, a wrong one, and the right one."""
    with live_service(GatewaySettings(api_keys="the-right-key"), FakeTransport()) as url:
        found = [
            finding(
                "service.request", ready(url, headers=key and {"authorization": f"Bearer {key}"})
            )
            for key in (None, "a-wrong-key", "the-right-key")
        ]

    assert [Code.SERVICE_KEY_NEEDED, Code.SERVICE_KEY_NEEDED, None] == [item.code for item in found]
    assert ["none was given", "none of them", "two texts"] == [
        next(
            words
            for words in ("none was given", "none of them", "two texts")
            if words in item.message
        )
        for item in found
    ]
    assert "a-wrong-key" not in repr(found)


def test_no_service():
    """A problem where the user named one, and nothing to check otherwise."""
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    named = Subject(service=f"http://127.0.0.1:{port}")
    unnamed = Subject(service_settings=GatewaySettings(port=port))

    assert [(Outcome.PROBLEM, Code.SERVICE_UNREACHABLE)] == seen("service.health", named)
    assert NOTHING == seen("service.request", named)
    assert NOTHING * 2 == [*seen("service.health", unnamed), *seen("service.request", unnamed)]


def test_somebody_else_answers():
    """As Triton's own HTTP port would."""
    with live_app(Starlette()) as url:
        assert [(Outcome.PROBLEM, Code.SERVICE_FOREIGN)] == seen(
            "service.health", Subject(service=url)
        )


@pytest.mark.parametrize("address", ["grpc://here:8001", "ftp://here", "http://"])
def test_addresses_that_are_none(address):
    """Of an HTTP service."""
    assert [(Outcome.PROBLEM, Code.SERVER_ADDRESS_INVALID)] == seen(
        "service.health", Subject(service=address)
    )


@pytest.mark.parametrize(
    "address", ["here:33330", "http://here:33330", "bgem3://here", "bgem3://here:33330/"]
)
def test_addresses_of_a_service(address):
    """As people write them."""
    found = Subject(service=address).service_address

    assert found is not None
    assert ("bgem3", "here:33330") == (found.protocol, found.target)


# The vector store

SIZES = {"hidden_size": 8, "colbert_size": 4}


@pytest.fixture
def store(tmp_path):
    """An embedded Qdrant with a collection for vectors of 8 numbers, 4 a token."""
    with closing(open_store(str(tmp_path / "store"))) as opened:
        opened.create(CollectionSpec(name="notes", model="bge_m3", dense_size=8, colbert_size=4))
    return str(tmp_path / "store")


def test_no_store_was_named():
    """Then none is opened."""
    assert NOTHING == seen("vector_store.collections")


def test_a_collection_of_the_model_that_is_served(store):
    """Compared with the service, with and without its name."""
    with live_service(transport=FakeTransport(**SIZES)) as url:
        named = seen("vector_store.collections", ready(url, store=store, collection="notes"))
        every = seen("vector_store.collections", ready(url, store=store))

    assert (WELL, WELL) == (named, every)


def test_a_wrong_dimension(store):
    """Both are said, and that the documents have to be indexed again."""
    with live_service(transport=FakeTransport(hidden_size=16, colbert_size=4)) as url:
        found = finding("vector_store.collections", ready(url, store=store))

    assert (Outcome.PROBLEM, Code.COLLECTION_OF_OTHER_MODEL) == (found.outcome, found.code)
    assert (8, 16) == (found.details["dimension"], found.details["served_dimension"])
    assert "index the documents again" in found.advice


def test_the_same_dimension_and_another_model(store):
    """Found by encoding a passage again: its vector is not the one that is there."""
    vector = np.zeros(8, np.float32)
    vector[0] = 1
    passage = StoredChunk(Chunk("a.md", 0, 0, 6, "a text"), "fingerprint", 1)
    sparse = SparseEmbedding(np.array([5], np.int32), np.array([0.5], np.float32))
    with closing(open_store(store)) as opened:
        opened.put("notes", [Point(passage, vector, sparse, np.ones((3, 4), np.float32) / 2)])
    with live_service(transport=FakeTransport(**SIZES)) as url:
        found = finding("vector_store.collections", ready(url, store=store))

    assert (Outcome.PROBLEM, Code.COLLECTION_OF_OTHER_MODEL) == (found.outcome, found.code)
    assert "another model" in found.message


def test_without_a_server_the_repository_is_compared(store, repository):
    """Of the demo model, which has 384 numbers; without either there is nothing to compare with."""
    away = {"url": "bgem3://127.0.0.1:1", "service": "http://127.0.0.1:1", "store": store}

    assert [(Outcome.PROBLEM, Code.COLLECTION_OF_OTHER_MODEL)] == seen(
        "vector_store.collections", Subject(repository=repository, **away)
    )
    assert NOTHING == seen("vector_store.collections", Subject(**away))


@pytest.mark.parametrize(
    ("collection", "expected"),
    [
        ("letters", Code.COLLECTION_NOT_FOUND),
        ("no name!", Code.COLLECTION_NOT_FOUND),
        ("foreign", Code.COLLECTION_FOREIGN),
    ],
)
def test_collections_that_cannot_be_compared(collection, expected, store):
    """One that is not there, one that cannot be, and one that somebody else has made."""
    (Path(store) / "foreign").mkdir()
    (Path(store) / "foreign" / "letter.txt").write_text("not a collection")

    found = finding("vector_store.collections", Subject(store=store, collection=collection))

    assert expected == found.code


@pytest.mark.parametrize("address", ["ftp://here", "http://127.0.0.1:1"])
def test_stores_that_cannot_be_opened(address):
    """By their address, or because nobody answers there."""
    found = finding("vector_store.collections", Subject(store=address, collection="notes"))

    assert (Outcome.PROBLEM, Code.STORE_UNAVAILABLE) == (found.outcome, found.code)


def test_an_empty_store_is_not_made(tmp_path):
    """Asking about a store leaves nothing behind."""
    assert NOTHING == seen("vector_store.collections", Subject(store=str(tmp_path / "none")))
    assert [] == list(tmp_path.iterdir())
