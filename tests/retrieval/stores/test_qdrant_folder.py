"""The embedded Qdrant: what is on the disk, who may use it, and what a kill leaves."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from qdrant_client import QdrantClient
from some_points import SPEC, chunk, point, query

from bgem3_client import InvalidInputError
from bgem3_retrieval.errors import CollectionNotFoundError, ForeignCollectionError, StoreError
from bgem3_retrieval.stores.qdrant.folder import EmbeddedQdrant, embedded_warning

_HERE = Path(__file__).parent


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EmbeddedQdrant]:
    """An empty one."""
    one = EmbeddedQdrant(tmp_path / "store")
    yield one
    one.close()


def _run(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Start Python in a process of its own, with this folder's modules."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=_HERE,
        env=os.environ | {"PYTHONPATH": str(_HERE)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_store_that_is_only_looked_at_makes_no_folder(tmp_path: Path) -> None:
    """A folder that is not there is a store without collections, and stays away."""
    with pytest.raises(CollectionNotFoundError, match="it has none"):
        EmbeddedQdrant(tmp_path / "store").spec("notes")

    assert [] == EmbeddedQdrant(tmp_path / "store").names()
    assert not (tmp_path / "store").exists()


def test_eight_bits_are_refused(store: EmbeddedQdrant) -> None:
    """Nothing is kept in other numbers than were asked for."""
    with pytest.raises(InvalidInputError, match="float16, or a Qdrant server"):
        store.create(SPEC.model_copy(update={"storage": "int8"}))

    assert [] == store.names()


def test_two_bytes_a_number(store: EmbeddedQdrant, tmp_path: Path) -> None:
    """FP16 is two bytes on the disk and in memory, after writing as after loading."""
    spec = SPEC.model_copy(update={"storage": "float16", "colbert_size": 256})
    store.create(spec)
    store.put("notes", [point(chunk(position=i), rows=200, spec=spec) for i in range(10)])
    written = store._open["notes"].contents.multivectors["colbert"]
    vectors_bytes = 10 * 200 * 256 * 2

    assert {np.dtype(np.float16)} == {rows.dtype for rows in written}
    store.close()
    again = EmbeddedQdrant(tmp_path / "store")
    assert 10 == again.count("notes")
    loaded = again._open["notes"].contents.multivectors["colbert"]
    assert {np.dtype(np.float16)} == {rows.dtype for rows in loaded}
    assert vectors_bytes < again.size_bytes("notes") < 1.2 * vectors_bytes
    again.close()


def test_one_process_at_a_time(store: EmbeddedQdrant, tmp_path: Path) -> None:
    """Another process is told who waits for what; other collections are free."""
    store.create(SPEC)
    store.create(SPEC.model_copy(update={"name": "free"}))
    holder = _run(
        "import sys; from pathlib import Path\n"
        "from bgem3_retrieval.stores.qdrant.folder import EmbeddedQdrant\n"
        "store = EmbeddedQdrant(Path(sys.argv[1])); store.count('notes')\n"
        "print('ready', flush=True); sys.stdin.read()",
        tmp_path / "store",
    )
    try:
        assert holder.stdout is not None
        assert "ready\n" == holder.stdout.readline()

        with pytest.raises(StoreError, match=r"open in another process.*Qdrant server"):
            store.count("notes")
        with pytest.raises(StoreError, match="open in another process"):
            store.drop("notes")
        assert 0 == store.count("free")
        assert ["free", "notes"] == store.names()
    finally:
        holder.kill()
        holder.communicate()
    assert 0 == store.count("notes")


def test_another_program_at_a_time(store: EmbeddedQdrant, tmp_path: Path) -> None:
    """Whoever uses the folder by Qdrant's own client is waited for as well."""
    store.create(SPEC)
    client = QdrantClient(path=str(tmp_path / "store" / "notes"))
    try:
        with pytest.raises(StoreError, match="open in another process"):
            store.count("notes")
    finally:
        client.close()

    assert 0 == store.count("notes")


def test_a_kill_while_writing_loses_nothing_that_was_written(tmp_path: Path) -> None:
    """After SIGKILL every put that had returned is there, and the rest is whole points."""
    folder = tmp_path / "store"
    writer = _run(
        "import sys; from pathlib import Path\n"
        "from some_points import SPEC, chunk, point\n"
        "from bgem3_retrieval.stores.qdrant.folder import EmbeddedQdrant\n"
        "store = EmbeddedQdrant(Path(sys.argv[1])); store.create(SPEC)\n"
        "number = 0\n"
        "while True:\n"
        "    store.put('notes', [point(chunk(f'{number}.md', i, count=20)) for i in range(20)])\n"
        "    number += 1; print(number, flush=True)\n",
        folder,
    )
    assert writer.stdout is not None
    done = 0
    while done < 5:
        done = int(writer.stdout.readline())
    os.kill(writer.pid, signal.SIGKILL)
    rest, _ = writer.communicate()
    done = max([done, *map(int, rest.split())])

    store = EmbeddedQdrant(folder)
    found = {one.source: one for one in store.sources("notes")}

    assert all(found[f"{number}.md"].complete for number in range(done))
    assert len(found) <= done + 1
    assert 20 * done <= store.count("notes") <= 20 * (done + 1)
    store.put("notes", [point(chunk(f"{done}.md", i, count=20)) for i in range(20)])
    assert 20 * (done + 1) == store.count("notes")
    store.close()


def test_a_kill_while_making_a_collection_leaves_none(
    store: EmbeddedQdrant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was made in part is no collection, and goes when the next one is made."""

    def killed(self: Path, target: Path) -> Path:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            store.create(SPEC)
    left = [path.name for path in (tmp_path / "store").iterdir()]

    assert [] == store.names()
    assert 1 == len(left)
    store.create(SPEC)
    assert ["notes"] == [path.name for path in (tmp_path / "store").iterdir()]


def test_other_folders_are_left_alone(store: EmbeddedQdrant, tmp_path: Path) -> None:
    """A folder of a collection's name that holds something else is neither used nor removed."""
    precious = tmp_path / "store" / "notes" / "thesis.txt"
    precious.parent.mkdir(parents=True)
    precious.write_text("years of work")

    with pytest.raises(ForeignCollectionError, match="notes"):
        store.create(SPEC)
    with pytest.raises(ForeignCollectionError, match="notes"):
        store.drop("notes")
    assert [] == store.names()
    assert "years of work" == precious.read_text()


def test_damage_is_said(store: EmbeddedQdrant, tmp_path: Path) -> None:
    """A database that is none is the store's failure, with its name; it is left as it is."""
    store.create(SPEC)
    (database,) = (tmp_path / "store").rglob("storage.sqlite")
    database.write_bytes(b"no database at all" * 100)

    with pytest.raises(StoreError, match=r"notes.*not a database") as caught:
        store.count("notes")

    assert isinstance(caught.value.__cause__, sqlite3.DatabaseError)


def test_a_damaged_description_is_said(store: EmbeddedQdrant, tmp_path: Path) -> None:
    """Cut off, or of a version that this one does not know."""
    store.create(SPEC)
    (tmp_path / "store" / "notes" / "spec.json").write_text('{"name": "notes"')

    with pytest.raises(StoreError, match="damaged, or of a later version"):
        store.spec("notes")


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """A file where the folder should be is reported with its name."""
    (tmp_path / "store").write_text("")

    with pytest.raises(StoreError, match="store cannot be read or written"):
        EmbeddedQdrant(tmp_path / "store").create(SPEC)


def test_the_disk_is_full(store: EmbeddedQdrant, monkeypatch: pytest.MonkeyPatch) -> None:
    """What SQLite says of it reaches the user, and what was there stays readable."""
    store.create(SPEC)
    store.put("notes", [point()])
    (connection,) = [store._open["notes"].contents.storage.storage]  # type: ignore[union-attr]
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")

    with pytest.raises(StoreError, match="full"):
        store.put("notes", [point(chunk(position=i), rows=500) for i in range(20)])

    assert [chunk().id] == [c.id for c in store.nearest("notes", query(), 1)]


def test_qdrant_can_read_it(store: EmbeddedQdrant, tmp_path: Path) -> None:
    """A collection's folder is one of Qdrant's own client."""
    store.create(SPEC)
    store.put("notes", [point(chunk("b.md"), seed=3)])
    store.close()
    client = QdrantClient(path=str(tmp_path / "store" / "notes"))

    found = client.query_points("notes", query(3).dense, using="dense").points

    assert [(str(chunk("b.md").id), "b.md")] == [(p.id, p.payload["source"]) for p in found]
    client.close()


def test_large_collections_are_warned_about(store: EmbeddedQdrant) -> None:
    """By the number of chunks and by their size, with what to do instead."""
    store.create(SPEC)

    assert store.size_warning("notes") is None
    assert embedded_warning(9_999, 10**9) is None
    by_count = embedded_warning(10_000, 10**9)
    by_size = embedded_warning(2_000, 6 * 1024**3)
    assert by_count is not None
    assert by_size is not None
    assert "10,000 chunks" in by_count
    assert "6.0 GiB" in by_size
    assert "--store http://HOST:6333" in by_size
