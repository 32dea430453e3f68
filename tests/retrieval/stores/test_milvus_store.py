"""Milvus: what the conformance suite does not ask, and how its failures are told.

No Milvus server can be started here. What is said of servers is tested against `milvus-lite`'s own
gRPC interface, which is the one that the embedded store talks to as well.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import grpc
import numpy as np
import pytest
from milvus_lite.adapter.grpc.server import start_server_in_thread
from pymilvus import MilvusClient
from some_points import SPEC, chunk, point, query, units

from bgem3_client import InvalidInputError
from bgem3_retrieval.errors import CollectionNotFoundError, ForeignCollectionError, StoreError
from bgem3_retrieval.stores.address import open_store
from bgem3_retrieval.stores.milvus import store as milvus_store
from bgem3_retrieval.stores.milvus.schema import SPEC_PROPERTY, rows_name
from bgem3_retrieval.stores.point import Point
from bgem3_retrieval.stores.query import Condition, QueryVectors, StoredSource
from bgem3_retrieval.stores.store import Store

_WRITER = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from some_points import SPEC, chunk, point
from bgem3_retrieval.stores.address import open_store
store = open_store(sys.argv[2])
store.create(SPEC)
store.put("notes", [point(chunk(position=i, count=3), seed=i) for i in range(3)])
if sys.argv[3] == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Store, MilvusClient]]:
    """A store by a URL, and a client of the same Milvus."""
    server, files, port = start_server_in_thread(str(tmp_path / "served.db"))
    client = MilvusClient(f"http://127.0.0.1:{port}", dedicated=True)
    with closing(open_store(f"milvus+http://127.0.0.1:{port}")) as store:
        yield store, client
    client.close()
    server.stop(grace=None).wait()
    files.close()


@pytest.mark.parametrize("end", ["kill", "exit"])
def test_what_was_written_outlives_the_process(tmp_path: Path, end: str) -> None:
    """Killed, or ended without `close`: all is there, nothing is said, no process is left."""
    address = f"milvus:{tmp_path / 'store.db'}"
    writer = subprocess.run(
        [sys.executable, "-c", _WRITER, str(Path(__file__).parent), address, end],
        capture_output=True,
        timeout=60,
        check=False,
    )

    with closing(open_store(address)) as store:
        scores = store.scores("notes", query(2), [chunk(position=2).id])
        found = store.nearest("notes", query(2), 5)
        sources = list(store.sources("notes"))

    assert (-signal.SIGKILL if end == "kill" else 0, b"", b"") == (
        writer.returncode,
        writer.stdout,
        writer.stderr,
    )
    assert [StoredSource("a.md", "f1", 3, 3)] == sources
    assert 3 == len(found)
    assert {"dense", "sparse", "colbert"} == set(scores[chunk(position=2).id])


def test_one_process_at_a_time(tmp_path: Path) -> None:
    """Whoever comes second is told what to do; after the first has closed it, it opens."""
    address = f"milvus:{tmp_path / 'store.db'}"
    first, second = open_store(address), open_store(address)
    assert [] == first.names()

    with pytest.raises(StoreError, match=r"open in another process.*Milvus server"):
        second.names()

    first.close()
    assert [] == second.names()
    second.close()


def test_what_is_no_embedded_milvus(tmp_path: Path) -> None:
    """A file, or a folder of something else, is left as it is."""
    file, folder = tmp_path / "file.db", tmp_path / "folder"
    file.write_text("something")
    folder.mkdir()
    (folder / "letter.txt").write_text("something")

    with pytest.raises(StoreError, match="is a file"):
        open_store(f"milvus:{file}").names()
    with pytest.raises(StoreError, match="something else"):
        open_store(f"milvus:{folder}").names()
    assert "something" == file.read_text()
    assert ["letter.txt"] == os.listdir(folder)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """The reason is the system's."""
    (tmp_path / "file").write_text("")

    with pytest.raises(StoreError, match="cannot be opened: Not a directory"):
        open_store(f"milvus:{tmp_path / 'file' / 'store.db'}").names()


def test_a_server_that_is_not_there(capfd: pytest.CaptureFixture[str]) -> None:
    """The error says so and is all that is said."""
    with pytest.raises(StoreError, match=r"milvus\+http://127.0.0.1:9: it cannot be reached"):
        open_store("milvus+http://127.0.0.1:9").names()

    assert ("", "") == capfd.readouterr()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (grpc.StatusCode.UNAUTHENTICATED, "refuses the token.*BGEM3_STORE_API_KEY"),
        (grpc.StatusCode.UNIMPLEMENTED, "no Milvus"),
    ],
)
def test_a_server_that_refuses(code: grpc.StatusCode, message: str) -> None:
    """A wrong token and a wrong server are told apart; the token is not shown."""
    refusing = grpc.server(ThreadPoolExecutor(1))
    refusing.add_generic_rpc_handlers([_Refusal(code)])
    port = refusing.add_insecure_port("127.0.0.1:0")
    refusing.start()

    with pytest.raises(StoreError, match=message) as caught:
        open_store(f"milvus+http://127.0.0.1:{port}", "my-token").names()

    refusing.stop(None).wait()
    assert "my-token" not in str(caught.value)


def test_what_a_server_says_is_passed_on(
    served: tuple[Store, MilvusClient], capfd: pytest.CaptureFixture[str]
) -> None:
    """A request that it cannot serve fails at once, with its reason and nothing else said."""
    store, client = served
    store.create(SPEC)
    store.put("notes", [point()])
    client.release_collection("notes")

    with pytest.raises(StoreError, match=r"collection notes at milvus\+http.*load"):
        store.nearest("notes", query(), 3)

    assert ("", "") == capfd.readouterr()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("milvus+http://user:secret@host:19530", "BGEM3_STORE_API_KEY"),
        ("milvus+http://host:99999", "no URL"),
        ("milvus+http://host:19530?a=b", "no URL"),
    ],
)
def test_what_is_no_url_of_a_server(url: str, message: str) -> None:
    """With what is wrong, and never with a password."""
    with pytest.raises(InvalidInputError, match=message) as caught:
        open_store(url)

    assert "secret" not in str(caught.value)


def test_8_bits_are_refused(tmp_path: Path) -> None:
    """With what to choose instead; no collection is made."""
    with closing(open_store(f"milvus:{tmp_path / 'store.db'}")) as store:
        with pytest.raises(InvalidInputError, match="choose float16"):
            store.create(SPEC.model_copy(update={"storage": "int8"}))

        assert [] == store.names()


def test_large_collections_are_warned_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, served: tuple[Store, MilvusClient]
) -> None:
    """Sooner where it keeps ColBERT vectors; a server is not warned about."""
    monkeypatch.setattr(milvus_store, "_WARN_CHUNKS_WITH_COLBERT", 1)
    with closing(open_store(f"milvus:{tmp_path / 'store.db'}")) as store:
        for other, colbert in ((store, True), (store, False), (served[0], True)):
            name = f"colbert_{colbert}"
            spec = {"name": name, "colbert": "full" if colbert else "none"}
            other.create(SPEC.model_copy(update=spec))
            other.put(name, [point(colbert=colbert)])

        warning = store.size_warning("colbert_True")
        assert warning is not None
        assert "--colbert none" in warning
        assert store.size_warning("colbert_False") is None
        assert served[0].size_warning("colbert_True") is None


def test_what_others_made_is_left_alone(served: tuple[Store, MilvusClient]) -> None:
    """A collection of another program is not listed, not read and not removed."""
    store, client = served
    client.create_collection("theirs", dimension=4)
    store.create(SPEC)

    for ask in (store.spec, store.count, store.drop):
        with pytest.raises(ForeignCollectionError, match="theirs"):
            ask("theirs")
    assert ["notes"] == store.names()
    assert client.has_collection("theirs")


def test_a_collection_of_a_later_version(served: tuple[Store, MilvusClient]) -> None:
    """What it is made for cannot be read, which is said, and not that it is another's."""
    store, client = served
    store.create(SPEC)
    client.alter_collection_properties("notes", {SPEC_PROPERTY: '{"name": "notes"}'})

    with pytest.raises(StoreError, match=r"notes at milvus\+http.* of a later version"):
        store.spec("notes")


def test_colbert_vectors_in_several_parts(served: tuple[Store, MilvusClient]) -> None:
    """They come back in their order, and are replaced and removed with their chunk."""
    store, client = served
    spec = SPEC.model_copy(update={"colbert_size": 1024, "storage": "float16"})
    tokens = units(7, 60, 1024)
    one = Point(chunk(), units(0, 8), point().sparse, tokens)
    store.create(spec)
    store.put("notes", [one])
    asked = QueryVectors(colbert=units(8, 5, 1024))
    assert asked.colbert is not None
    rounded = tokens.astype(np.float16).astype(np.float32)
    expected = float((asked.colbert @ rounded.T).max(axis=1).mean())

    scores = store.scores("notes", asked, [chunk().id])
    parts = _count(client, rows_name("notes"))
    store.put("notes", [Point(chunk(), one.dense, one.sparse, tokens[:2])])
    fewer = store.scores("notes", asked, [chunk().id])
    store.remove_source("notes", "a.md")

    assert {chunk().id: {"colbert": pytest.approx(expected, abs=1e-6)}} == scores
    assert 3 == parts
    shorter = float((asked.colbert @ rounded[:2].T).max(axis=1).mean())
    assert {chunk().id: {"colbert": pytest.approx(shorter, abs=1e-6)}} == fewer
    assert 0 == _count(client, rows_name("notes"))


def test_vectors_without_their_chunk_go_with_the_document(
    served: tuple[Store, MilvusClient],
) -> None:
    """A process that was killed between the two leaves them; the next one removes them."""
    store, client = served
    store.create(SPEC)
    store.put("notes", [point(chunk(fingerprint="old")), point(chunk("b.md"))])
    client.delete("notes", filter='source == "a.md"')

    store.put("notes", [point(chunk(fingerprint="new"))])
    store.remove_source("notes", "a.md", keep_fingerprint="new")

    assert 2 == _count(client, rows_name("notes"))
    assert 2 == len(store.scores("notes", query(), [chunk(fingerprint="new").id, chunk("b.md").id]))


def test_a_collection_that_was_half_removed_is_made_anew(
    served: tuple[Store, MilvusClient],
) -> None:
    """What a killed process left of the ColBERT vectors is not in the new one."""
    store, client = served
    store.create(SPEC)
    store.put("notes", [point()])
    client.drop_collection("notes")

    store.create(SPEC)

    assert 0 == store.count("notes")
    assert 0 == _count(client, rows_name("notes"))


def test_a_collection_that_another_process_makes_anew(
    served: tuple[Store, MilvusClient],
) -> None:
    """It is missed, also when it was there a moment ago, and then known as it is now."""
    store, _ = served
    store.create(SPEC)
    store.put("notes", [point()])
    wide = SPEC.model_copy(update={"dense_size": 16})

    with closing(open_store(store.address)) as other:
        other.drop("notes")
        with pytest.raises(CollectionNotFoundError, match="notes"):
            store.count("notes")
        other.create(wide)
        store.put("notes", [point(spec=wide)])

        assert 1 == other.count("notes")


@pytest.mark.parametrize(
    "text", ['"', "'", "\\", '" or id != "', "a\nb\0", "100%", "%22", "词" * 300]
)
def test_texts_are_never_more_than_values(served: tuple[Store, MilvusClient], text: str) -> None:
    """Of sources, of fingerprints, of metadata, and of their names without quotation marks."""
    store, _ = served
    name = text.replace('"', "")
    mine = chunk(text, fingerprint=text, metadata={"k": text, f"number{name}": 1})
    store.create(SPEC)
    store.put("notes", [point(mine), point(chunk("other.md", metadata={"k": "x"}))])

    for condition in (
        Condition("source", "==", text),
        Condition("k", "==", text),
        Condition("k", "in", (text, 1)),
        Condition(f"number{name}", ">", 0),
    ):
        assert [mine] == [c.stored for c in store.nearest("notes", query(), 5, [condition])]
    assert text in {one.fingerprint for one in store.sources("notes")}
    store.remove_source("notes", text)
    assert ["other.md"] == [one.source for one in store.sources("notes")]


def test_what_is_too_long_is_refused(served: tuple[Store, MilvusClient]) -> None:
    """With the document and what to do; nothing of the request is written."""
    store, _ = served
    long = chunk("long.md", metadata={"abstract": "x" * 70_000})
    store.create(SPEC)

    with pytest.raises(InvalidInputError, match=r"long\.md: the payload of chunk 0 has 70,\d+"):
        store.put("notes", [point(), point(long)])

    assert 0 == store.count("notes")


def test_a_chunk_twice_in_a_request(served: tuple[Store, MilvusClient]) -> None:
    """The later one is kept."""
    store, _ = served
    store.create(SPEC)

    store.put("notes", [point(seed=1), point(seed=3)])

    assert 1 == store.count("notes")
    assert 1.0 == pytest.approx(store.scores("notes", query(3), [chunk().id])[chunk().id]["dense"])


class _Refusal(grpc.GenericRpcHandler):  # type: ignore[misc]
    def __init__(self, code: grpc.StatusCode) -> None:
        self._code = code

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        def refuse(request: bytes, context: grpc.ServicerContext) -> bytes:
            context.abort(self._code, "no")
            raise AssertionError

        return grpc.unary_unary_rpc_method_handler(refuse)


def _count(client: MilvusClient, collection: str) -> int:
    return int(client.query(collection, filter="", output_fields=["count(*)"])[0]["count(*)"])
