"""Versions of the model in a live Triton, while callers go on asking it."""

from __future__ import annotations

import json
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from live_server import live_triton
from tiny_checkpoint import HIDDEN_SIZE
from waiting import wait_until

from bgem3_client import Client
from bgem3_client.embeddings import Embeddings
from bgem3_client.errors import AccessError, ModelNotFoundError, UnavailableError
from bgem3_export.errors import RepositoryError
from bgem3_server.models.command import models
from bgem3_server.models.errors import IncompatibleModelError, ModelChangeError, VersionError
from bgem3_server.settings import ServeSettings
from bgem3_server.triton.addresses import Addresses
from bgem3_server.triton.events import Event, Ready
from bgem3_server.triton.session import session_processes

pytestmark = pytest.mark.live

_TEXT = "the password"
_ALL = {"dense", "sparse", "colbert"}


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(models, [str(argument) for argument in arguments])


def _ok(*arguments: object) -> str:
    result = _run(*arguments)
    assert 0 == result.exit_code, (result.output, result.exception)
    return result.stdout


def _numbers(answer: Embeddings) -> tuple[bytes, bytes, bytes]:
    """Dense, sparse and ColBERT of the one text, to the digit that versions differ in."""
    return tuple(
        np.round(values, 3).tobytes()
        for values in (answer.dense, answer.sparse.values, answer.colbert.vectors)
    )


class _Load:
    """Callers that ask without a pause, and what they were answered."""

    def __init__(self) -> None:
        self.answers: Counter[tuple[str, tuple[bytes, bytes, bytes]]] = Counter()
        self.errors: list[Exception] = []
        self.stop = threading.Event()

    def ask(self, url: str) -> None:
        """Ask until stopped; nothing is tried twice by the test itself."""
        with Client(url) as client:
            while not self.stop.is_set():
                try:
                    answer = client.encode([_TEXT], _ALL)
                except Exception as error:  # noqa: BLE001 - a test looks at them
                    self.errors.append(error)
                else:
                    self.answers[answer.model_version, _numbers(answer)] += 1

    def count(self, version: str) -> int:
        """How many answers said that they are a version's."""
        return sum(n for (answered, _), n in list(self.answers.items()) if answered == version)


@contextmanager
def _load(addresses: Addresses) -> Iterator[_Load]:
    load = _Load()
    threads = [
        threading.Thread(target=load.ask, args=(url,))
        for url in (addresses.grpc, addresses.http, addresses.grpc)
    ]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        load.stop.set()
        for thread in threads:
            thread.join()


def test_roll_over_and_back_under_load(served, exports):
    """Nobody is refused at a switch, over both protocols, and no answer mixes two versions."""
    repository, addresses = served
    with _load(addresses) as load:
        wait_until(lambda: load.count("1") > 5)
        said = _ok("load", repository, exports[1], "--url", addresses.grpc)
        wait_until(lambda: load.count("2") > 5)
        before = load.count("1")
        back = _ok("rollback", repository, "--url", addresses.grpc)
        wait_until(lambda: load.count("1") > before + 5)
        again = load.count("2")
        _ok("load", repository, "--version", "2", "--url", addresses.grpc)
        wait_until(lambda: load.count("2") > again + 5)
    with (
        Client(addresses.grpc, model="bge_m3_v1") as first,
        Client(addresses.http, model="bge_m3_v2") as second,
    ):
        one, two = (client.encode([_TEXT], _ALL) for client in (first, second))

    assert [] == load.errors
    assert {("1", _numbers(one)), ("2", _numbers(two))} == load.answers.keys()
    assert all(a != b for a, b in zip(_numbers(one), _numbers(two), strict=True))
    assert "version 2 serves; before it was version 1\n" == said
    assert "version 1 serves; before it was version 2\n" == back


def test_list_shows_what_each_version_does(served):
    """The one that serves, its size and where it came from; for programs as JSON."""
    repository, addresses = served
    table = _ok("list", repository, "--url", addresses.grpc)
    rows = json.loads(_ok("list", repository, "--url", addresses.grpc, "--json"))

    assert ["loaded", "serving"] == [row["state"] for row in rows]
    assert ["bge_m3_v1", "bge_m3_v2"] == [row["name"] for row in rows]
    assert ["checkpoint-0", "checkpoint-1"] == [Path(row["source"]).name for row in rows]
    assert {"fp32"} == {row["precision"] for row in rows}
    assert all(row["file_bytes"] > 1000 for row in rows)
    assert "serving" in table
    assert rows[0]["revision"][:12] in table
    assert "checkpoint-1" in table


def test_unload_frees_what_does_not_serve(served):
    """The version that serves stays; another one goes, and comes back at a rollback."""
    repository, addresses = served
    refused = _run("unload", repository, "2", "--url", addresses.grpc)
    _ok("unload", repository, "1", "--url", addresses.grpc)
    with (
        Client(addresses.grpc, model="bge_m3_v1", timeout_seconds=10) as client,
        pytest.raises((ModelNotFoundError, UnavailableError)),
    ):
        client.encode([_TEXT])
    rows = json.loads(_ok("list", repository, "--url", addresses.grpc, "--json"))
    twice = _run("unload", repository, "1", "--url", addresses.grpc)
    _ok("rollback", repository, "--url", addresses.grpc)
    with Client(addresses.grpc) as client:
        answer = client.encode([_TEXT])

    assert isinstance(refused.exception, VersionError)
    assert "version 2 serves" in str(refused.exception)
    assert ["not loaded", "serving"] == [row["state"] for row in rows]
    assert isinstance(twice.exception, VersionError)
    assert "1" == answer.model_version


def test_a_broken_version_leaves_the_old_one(served, exports, tmp_path):
    """A model that does not load is taken away again, and what served goes on serving."""
    repository, addresses = served
    broken = Path(shutil.copytree(exports[1], tmp_path / "broken"))
    head = broken / "bge_m3_sparse" / "1" / "sparse_linear.safetensors"
    head.write_bytes(b"no weights")
    _adopt(broken, head)
    result = _run("load", repository, broken, "--url", addresses.grpc)
    with Client(addresses.grpc) as client:
        answer = client.encode([_TEXT], _ALL)

    assert isinstance(result.exception, ModelChangeError)
    assert "version 1 goes on serving" in str(result.exception)
    assert "bge_m3_v3_sparse" in str(result.exception)
    assert "1" == answer.model_version
    assert not (repository / "bge_m3_v3_trunk").exists()


def test_another_folder_is_left_as_it_was(served, exports, tmp_path):
    """A copy of the served one has the right version, and Triton does not look into it."""
    _, addresses = served
    other = Path(shutil.copytree(exports[0], tmp_path / "other"))
    before = sorted(path.relative_to(other) for path in other.rglob("*"))

    result = _run("load", other, exports[1], "--url", addresses.grpc)

    assert isinstance(result.exception, VersionError)
    assert "does not see what is put into" in str(result.exception)
    assert before == sorted(path.relative_to(other) for path in other.rglob("*"))


def test_another_size_is_served_beside(served, wider_export):
    """Under its own name, while the first goes on; it cannot take that one's place."""
    repository, addresses = served
    refused = _run("load", repository, wider_export, "--url", addresses.grpc)
    _ok("load", repository, wider_export, "--keep-serving", "--url", addresses.grpc)
    rows = json.loads(_ok("list", repository, "--url", addresses.grpc, "--json"))
    number = rows[-1]["version"]
    chosen = _run("load", repository, "--version", number, "--url", addresses.grpc)
    with (
        Client(addresses.grpc) as first,
        Client(addresses.http, model=f"bge_m3_v{number}") as wider,
    ):
        sizes = [client.encode([_TEXT], _ALL).dense.shape[1] for client in (first, wider)]
    _ok("unload", repository, number, "--url", addresses.grpc)
    _ok("remove", repository, number, "--url", addresses.grpc)

    assert isinstance(refused.exception, IncompatibleModelError)
    assert isinstance(chosen.exception, IncompatibleModelError)
    assert [HIDDEN_SIZE, 2 * HIDDEN_SIZE] == sizes


@pytest.mark.parametrize("key", [None, "wrong"])
def test_without_the_key_nothing_changes(served, key, monkeypatch, tmp_path):
    """Who has no key, or another one, is told what the key is and where it is kept."""
    repository, addresses = served
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("BGEM3_TRITON_KEY", raising=False)
    if key is not None:
        monkeypatch.setenv("BGEM3_TRITON_KEY", key)
    result = _run("list", repository, "--url", addresses.grpc)

    assert isinstance(result.exception, AccessError)
    assert "BGEM3_TRITON_KEY" in str(result.exception)
    assert ("not its own" if key else "no key was found") in str(result.exception)


def test_a_restart_comes_up_with_the_choice(repository, exports):
    """Triton dies after a switch and a load beside: both are there again, and the choice serves."""
    events: list[Event] = []
    settings = ServeSettings(
        grpc_port=0,
        http_port=0,
        metrics_port=0,
        restart_delay_seconds=0.1,
        probe_interval_seconds=0,
        profile="cpu_heads",
    )
    with live_triton(repository, events.append, settings) as addresses:
        _ok("load", repository, exports[1], "--url", addresses.grpc)
        _ok("load", repository, exports[0], "--keep-serving", "--url", addresses.grpc)
        _ok("unload", repository, "1", "--url", addresses.grpc)
        _kill(addresses)
        wait_until(lambda: sum(isinstance(event, Ready) for event in events) == 2, 60)
        rows = json.loads(_ok("list", repository, "--url", addresses.grpc, "--json"))
        refused = [
            str(_run("remove", repository, number, "--url", addresses.grpc).exception)
            for number in ("1", "2", "3", "4")
        ]
        _ok("unload", repository, "3", "--url", addresses.grpc)
        _ok("remove", repository, "3", "--url", addresses.grpc)
        removed = json.loads(_ok("list", repository, "--url", addresses.grpc, "--json"))
        left = [path.name for path in repository.glob("bge_m3_v3*")]
        _ok("load", repository, exports[0], "--keep-serving", "--url", addresses.grpc)
        with Client(addresses.grpc) as client:
            serving = client.encode([_TEXT]).model_version
        with Client(addresses.grpc, model="bge_m3_v3") as client:
            beside = client.encode([_TEXT]).model_version

    assert ["1", "2"] == [row["version"] for row in removed]
    assert [] == left
    assert "is the export that the repository began with" in refused[0]
    assert "version 2 is loaded" in refused[1]
    assert "version 3 is loaded" in refused[2]
    assert "there is no version 4" in refused[3]
    assert "2" == serving
    assert "3" == beside
    assert ["not loaded", "serving", "loaded"] == [row["state"] for row in rows]

    weights = repository / "bge_m3_v2_trunk" / "2" / "model.onnx.data"
    content = weights.read_bytes()
    weights.unlink()  # it is linked to the export
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with (
        pytest.raises(RepositoryError, match=r"bge_m3_v2_trunk/2/model.onnx.data is damaged"),
        live_triton(repository, settings=settings),
    ):
        pass


def _adopt(export: Path, changed: Path) -> None:
    """Write a changed file's hash into the manifest, as if it had been exported so."""
    from bgem3_export.file_hash import file_sha256

    manifest = json.loads((export / "manifest.json").read_text())
    name = str(changed.relative_to(export))
    manifest["versions"]["1"]["files"][name] = file_sha256(changed)
    (export / "manifest.json").write_text(json.dumps(manifest))


def _kill(addresses: Addresses) -> None:
    """Kill the Triton that listens there, and nothing else."""
    import os
    import signal

    from bgem3_server.triton.session import listening_ports

    sessions = [
        int(entry.name)
        for entry in Path("/proc").glob("[0-9]*")
        if addresses.grpc_port in listening_ports(int(entry.name))
    ]
    assert 1 == len(sessions)
    assert session_processes(sessions[0])
    os.kill(sessions[0], signal.SIGKILL)
