"""What retrievers open, share and close."""

from __future__ import annotations

import copy
import pickle

import pytest
from handbook import COLLECTION, QUESTION
from opened_places import Opened

from bgem3_client import InvalidInputError
from bgem3_retrieval.errors import CollectionNotFoundError
from bgem3_retrieval.integrations.connection import Place, SearchConnection
from bgem3_retrieval.search.options import SearchOptions


def ask(connection: SearchConnection) -> list[str]:
    """The passages that a connection finds."""
    hits = connection.search(COLLECTION, QUESTION, SearchOptions())
    return [hit.stored.chunk.text for hit in hits]


def test_hits_are_the_searcher_s(opened: Opened) -> None:
    """All of them, as they are."""
    connection = SearchConnection(Place(store="here"))

    hits = connection.search(COLLECTION, QUESTION, SearchOptions())

    assert 4 == len(hits)
    assert opened.hits() == hits


def test_connections_to_one_place_share_what_is_opened(opened: Opened) -> None:
    """Also copies and unpickled ones; an embedded store can be opened once only."""
    connection = SearchConnection(Place(store="here"))
    others = [
        SearchConnection(Place(store="here")),
        copy.deepcopy(connection),
        pickle.loads(pickle.dumps(connection)),
    ]

    answers = [ask(one) for one in [connection, *others]]

    assert [answers[0]] * 4 == answers
    assert [("here", None)] == opened.addresses
    assert 1 == len(opened.clients)


def test_other_places_are_opened_apart(opened: Opened) -> None:
    """Another store, or another server."""
    places = [Place(store="here"), Place(store="there"), Place(url="grpc://a:1", store="there")]

    for place in places:
        ask(SearchConnection(place))

    assert ["here", "there", "there"] == [address for address, _ in opened.addresses]
    assert ["bgem3://127.0.0.1:33330"] * 2 + ["grpc://a:1"] == opened.urls


def test_the_last_one_closes(opened: Opened) -> None:
    """Then the next search opens again, and closing twice does nothing."""
    first, second = (SearchConnection(Place(store="here")) for _ in range(2))
    ask(first)
    ask(second)

    first.close()
    first.close()
    while_used = opened.stores[0].closed
    second.close()
    after_use = opened.stores[0].closed
    again = ask(first)
    first.close()

    assert (False, True) == (while_used, after_use)
    assert 4 == len(again)
    assert [True, True] == [store.closed for store in opened.stores]
    for client in opened.clients:
        with pytest.raises(Exception, match="closed"):
            client.model_info()


def test_one_that_is_gone_keeps_nothing_open(opened: Opened) -> None:
    """Forgotten without being closed, it does not count as a user."""
    kept = SearchConnection(Place(store="here"))
    ask(kept)
    ask(SearchConnection(Place(store="here")))

    kept.close()

    assert opened.stores[0].closed


def test_environment_says_what_is_left_out(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys and the store; what is given is taken instead."""
    monkeypatch.setenv("BGEM3_STORE", "http://qdrant:6333")
    monkeypatch.setenv("BGEM3_STORE_API_KEY", "store key")
    monkeypatch.setenv("BGEM3_API_KEY", "key")

    ask(SearchConnection(Place()))
    ask(SearchConnection(Place(api_key="own", store="here", store_api_key="own store")))

    assert [("http://qdrant:6333", "store key"), ("here", "own store")] == opened.addresses
    assert [{"authorization": "Bearer key"}, {"authorization": "Bearer own"}] == opened.headers


def test_keys_are_not_shown() -> None:
    """Where a connection is printed."""
    place = Place(api_key="secret", store_api_key="secret")

    assert "secret" not in repr(SearchConnection(place))


def test_a_store_that_is_none_leaves_nothing_open(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client was made already."""

    def refuse(address: str, api_key: str | None) -> None:
        raise InvalidInputError("no store")

    monkeypatch.setattr("bgem3_retrieval.integrations.connection.open_store", refuse)

    with pytest.raises(InvalidInputError, match="no store"):
        SearchConnection(Place(store="ftp://x")).open()
    with pytest.raises(Exception, match="closed"):
        opened.clients[0].model_info()


def test_errors_are_the_project_s(opened: Opened) -> None:
    """With the name that was meant."""
    connection = SearchConnection(Place(store="here"))

    with pytest.raises(CollectionNotFoundError, match="did you mean handbook"):
        connection.search("handbok", QUESTION, SearchOptions())
