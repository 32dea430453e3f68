"""The stores of the conformance suite. A store joins by a maker in `_MAKERS`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from qdrant_double import QdrantDouble
from qdrant_grpc_double import QdrantGrpcDouble
from store_kinds import StoreKind

from bgem3_client.retry_policy import RetryPolicy
from bgem3_retrieval.stores.address import open_store
from bgem3_retrieval.stores.qdrant.server import QdrantServer
from bgem3_retrieval.stores.store import Store


def _embedded_qdrant(folder: Path, stack: ExitStack) -> StoreKind:
    return StoreKind(
        "embedded Qdrant",
        _opener(lambda: open_store(str(folder / "store")), stack),
        (
            "float32",
            "float16",
        ),
    )


def _qdrant_http(folder: Path, stack: ExitStack) -> StoreKind:
    double = QdrantDouble()
    stack.callback(double.close)
    quick = RetryPolicy(attempts=3, initial_backoff_seconds=0.01)
    return StoreKind(
        "Qdrant's HTTP interface", _opener(lambda: QdrantServer(double.url, retries=quick), stack)
    )


def _qdrant_grpc(folder: Path, stack: ExitStack) -> StoreKind:
    double = QdrantGrpcDouble()
    stack.callback(double.close)
    return StoreKind("Qdrant's gRPC interface", _opener(lambda: QdrantServer(double.url), stack))


def _embedded_milvus(folder: Path, stack: ExitStack) -> StoreKind:
    return StoreKind(
        "embedded Milvus",
        _opener(lambda: open_store(f"milvus:{folder / 'store.db'}"), stack),
        ("float32", "float16"),
    )


def _milvus_server(folder: Path, stack: ExitStack) -> StoreKind:
    address = os.environ["BGEM3_TEST_MILVUS"]
    with closing(open_store(address)) as store:
        for name in store.names():
            store.drop(name)
    opener = _opener(lambda: open_store(address), stack)
    return StoreKind("a Milvus server", opener, ("float32", "float16"))


def _qdrant_server(folder: Path, stack: ExitStack) -> StoreKind:
    address = os.environ["BGEM3_TEST_QDRANT"]
    with closing(open_store(address)) as store:
        for name in store.names():
            store.drop(name)
    return StoreKind("a Qdrant server", _opener(lambda: open_store(address), stack))


_MAKERS: dict[str, Callable[[Path, ExitStack], StoreKind]] = {
    "embedded-qdrant": _embedded_qdrant,
    "qdrant-http": _qdrant_http,
    "qdrant-grpc": _qdrant_grpc,
    "embedded-milvus": _embedded_milvus,
}
if "BGEM3_TEST_QDRANT" in os.environ:
    _MAKERS["qdrant-server"] = _qdrant_server
if "BGEM3_TEST_MILVUS" in os.environ:
    _MAKERS["milvus-server"] = _milvus_server


@pytest.fixture(params=_MAKERS)
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StoreKind]:
    """One of the stores, empty."""
    with ExitStack() as stack:
        yield _MAKERS[request.param](tmp_path, stack)


@pytest.fixture
def store(kind: StoreKind) -> Store:
    """The store, open."""
    return kind.open()


@pytest.fixture
def qdrant_grpc_double() -> Iterator[QdrantGrpcDouble]:
    """Qdrant's gRPC interface."""
    double = QdrantGrpcDouble()
    yield double
    double.close()


@pytest.fixture
def qdrant_double() -> Iterator[QdrantDouble]:
    """Qdrant's HTTP interface."""
    double = QdrantDouble()
    yield double
    double.close()


def _opener(make: Callable[[], Store], stack: ExitStack) -> Callable[[], Store]:
    opened: list[Store] = []

    def open_again() -> Store:
        for one in opened:
            one.close()
        opened[:] = [make()]
        return opened[0]

    stack.callback(lambda: [one.close() for one in opened])
    return open_again
