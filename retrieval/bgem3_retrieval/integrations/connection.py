"""What every retriever holds: where the model and the collections are, and a way to ask them."""

from __future__ import annotations

import os
import threading
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Final
from weakref import WeakSet

from bgem3_client.async_client import DEFAULT_TIMEOUT_SECONDS
from bgem3_client.integrations import connection as embedding
from bgem3_retrieval.connections import STORE_KEY_VARIABLE
from bgem3_retrieval.search.options import SearchOptions
from bgem3_retrieval.search.result import Hit
from bgem3_retrieval.search.searcher import Searcher
from bgem3_retrieval.stores.address import default_store_address, open_store

DEFAULT_URL: Final = embedding.DEFAULT_URL
STORE_VARIABLE: Final = "BGEM3_STORE"
"""The environment variable with the address of the store, where none is given."""


@dataclass(frozen=True)
class Place:
    """A server and a store.

    Attributes:
        url: As `Client` takes it.
        api_key: The HTTP service's; None for ``$BGEM3_API_KEY``, if that is set.
        timeout_seconds: Time allowed for a call of the server; None for no limit.
        store: As `open_store` takes it; None for ``$BGEM3_STORE``, or a folder of the user's.
        store_api_key: The store's; None for ``$BGEM3_STORE_API_KEY``, if that is set.
    """

    url: str = DEFAULT_URL
    api_key: str | None = field(default=None, repr=False)
    timeout_seconds: float | None = DEFAULT_TIMEOUT_SECONDS
    store: str | None = None
    store_api_key: str | None = field(default=None, repr=False)

    def resolved(self) -> Place:
        """Return the same with what the environment says in place of what is None."""
        variable = os.environ.get
        return replace(
            self,
            api_key=self.api_key or variable(embedding.API_KEY_VARIABLE) or None,
            store=self.store or variable(STORE_VARIABLE) or default_store_address(),
            store_api_key=self.store_api_key or variable(STORE_KEY_VARIABLE) or None,
        )


class _Opened:
    """A client and a store, for all connections of this process to one place."""

    def __init__(self, place: Place) -> None:
        assert place.store is not None
        self.users: WeakSet[SearchConnection] = WeakSet()
        with ExitStack() as resources:
            client = embedding.Connection(
                place.url, place.api_key, timeout_seconds=place.timeout_seconds
            ).client
            resources.callback(client.close)
            store = open_store(place.store, place.store_api_key)
            resources.callback(store.close)
            self.searcher = Searcher(client, store)
            self._resources = resources.pop_all()

    def close(self) -> None:
        self._resources.close()


_opened: Final[dict[Place, _Opened]] = {}
_guard: Final = threading.RLock()


@dataclass(frozen=True, eq=False)
class SearchConnection:
    """Searches at a place; any thread may call it.

    Connections of a process to the same place share a client and a store, since an embedded store
    can be opened once only. Frameworks copy and pickle what they are given: a copy shares them
    too, and one in another process opens its own.

    Attributes:
        place: Where.
    """

    place: Place

    def open(self) -> Searcher:
        """Return what searches; nothing is sent yet.

        Raises:
            InvalidInputError: The url, the key or the store's address is none.
            MissingLibraryError: The store's library is not installed.
        """
        place = self.place.resolved()
        with _guard:
            opened = _opened.get(place)
            if opened is None:
                opened = _opened[place] = _Opened(place)
            opened.users.add(self)
            return opened.searcher

    def search(self, collection: str, query: str, options: SearchOptions) -> tuple[Hit, ...]:
        """Return the chunks that answer a query best.

        Raises:
            BgeM3Error: As :meth:`open` and `Searcher.search`.
        """
        return self.open().search(collection, query, options).hits

    def close(self) -> None:
        """Let go of the server and the store; the next search opens them again.

        They are closed when the last connection of this process to the place lets go.
        """
        with _guard:
            for place, opened in list(_opened.items()):
                opened.users.discard(self)
                if not opened.users:
                    del _opened[place]
                    opened.close()
