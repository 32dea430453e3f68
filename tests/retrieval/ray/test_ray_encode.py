"""``bgem3 encode --ray``: the folder of a run without Ray, byte for byte, whichever node dies."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from ray_cluster import add_node
from waiting import wait_until

import bgem3_retrieval.bulk.command
from bgem3_client import AsyncClient, BgeM3Error, FakeTransport, Limits, UnavailableError
from bgem3_client.encode_request import EncodeOptions
from bgem3_client.retry_policy import RetryPolicy
from bgem3_retrieval.bulk.corpus.endpoint import Endpoint, ServedModel
from bgem3_retrieval.bulk.ray.encoders import Servers
from bgem3_retrieval.bulk.ray.rows import Cut
from bgem3_retrieval.bulk.ray.worker import ShardWorker, WorkerSettings
from bgem3_retrieval.errors import OutputError

LINES = 240

pytestmark = pytest.mark.live
OPTIONS = ("a.jsonl", "--shard-texts", "20", "--batch-texts", "4", "--outputs", "dense,sparse")
SERVERS = ("--url", "a:8001,b:8001")


def slow_endpoints(delay_seconds: float) -> Callable[[str, Limits], Endpoint]:
    """Return what connects to a fake server that takes its time, in whatever process."""

    # Within a function: it goes to the workers by value, and they know nothing of the tests.
    def connect(url: str, limits: Limits) -> Endpoint:
        gone = [UnavailableError("nobody is there")] * (100 if url == "gone:8001" else 0)
        transport = FakeTransport(delay_seconds=delay_seconds, script=gone)
        retries = RetryPolicy(attempts=1)
        return Endpoint(url, AsyncClient(transport=transport, limits=limits, retries=retries))

    return connect


def endpoints_that_say_where(working: Path) -> Callable[[str, Limits], Endpoint]:
    """Return what connects to a slow fake server; a file named by the node is there meanwhile."""

    def connect(url: str, limits: Limits) -> Endpoint:
        import asyncio

        import ray

        class Slow(FakeTransport):
            async def infer(self, request: Any) -> Any:
                node = ray.get_runtime_context().get_node_id()
                mark = working / f"{node}.{uuid.uuid4()}"
                mark.touch()
                await asyncio.sleep(0.5)
                answer = await super().infer(request)
                mark.unlink()
                return answer

        retries = RetryPolicy(attempts=1)
        return Endpoint(url, AsyncClient(transport=Slow(), limits=limits, retries=retries))

    return connect


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to run in, with inputs, and bad lines among them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Endpoint, "connect", slow_endpoints(0))
    lines = [
        "no JSON" if i % 50 == 47 else json.dumps({"text": f"text {'x ' * (i % 9)}{i}"})
        for i in range(LINES)
    ]
    (tmp_path / "a.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return tmp_path


def run(*arguments: str, out: str = "out", options: tuple[str, ...] = OPTIONS) -> tuple[int, str]:
    """Run the command into a folder; return its exit code and what it said."""
    result = CliRunner().invoke(
        bgem3_retrieval.bulk.command.encode, [*options, *arguments, "-o", f"{out}/"]
    )
    error = result.exception
    if isinstance(error, BgeM3Error):
        return error.exit_code, f"{result.stderr}{type(error).__name__}: {error}"
    if error is not None and not isinstance(error, SystemExit):
        raise error
    return result.exit_code, result.stderr


def files(folder: Path) -> dict[str, bytes]:
    """Return the contents of all files of a folder, hidden ones too."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_node_that_dies_half_way(
    cluster: Any, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its shards are encoded on another one, and nothing is lost or doubled."""
    assert 3 == run(out="expected")[0]

    working = corpus / "working"
    working.mkdir()
    monkeypatch.setattr(Endpoint, "connect", endpoints_that_say_where(working))
    deaths: list[str] = []

    def kill_a_node() -> None:
        wait_until(lambda: (corpus / "out" / "part-00001.parquet").exists(), timeout_seconds=60)
        # One that encodes at this moment, and goes on for most of half a second.
        wait_until(lambda: any(working.iterdir()), timeout_seconds=60)
        busy = {path.stem for path in working.iterdir()}
        dying = next(node for node in cluster.worker_nodes if node.node_id in busy)
        cluster.remove_node(dying, allow_graceful=False)
        deaths.append(dying.node_id)

    killer = threading.Thread(target=kill_a_node)
    killer.start()
    try:
        exit_code, said = run("--ray", cluster.address, *SERVERS)
    finally:
        killer.join()
        if deaths:
            add_node(cluster)
    print(said, file=sys.stderr)

    assert 1 == len(deaths)
    assert 3 == exit_code
    assert files(corpus / "expected") == files(corpus / "out")


@pytest.mark.parametrize("begun_on_ray", [True, False])
def test_begun_with_ray_and_finished_without(
    cluster: Any, corpus: Path, begun_on_ray: bool
) -> None:
    """And the other way round: one manifest, one way to cut."""
    on_ray = ("--ray", cluster.address, *SERVERS)
    run(out="expected")
    # Line 48 ends it, and is in the third shard.
    begun, said = run("--on-error", "stop", *(on_ray if begun_on_ray else ()))
    whole = files(corpus / "out")
    finished, _ = run(*(() if begun_on_ray else on_ray))

    assert 2 == begun
    assert "RejectedLineError: a.jsonl:48: not JSON" in said
    assert {"_manifest.json", "part-00000.parquet", "part-00001.parquet"} == whole.keys()
    assert 3 == finished
    assert files(corpus / "expected") == files(corpus / "out")


def test_servers_that_are_not_there(
    cluster: Any, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error of the worker is the command's; the folder stays empty."""
    monkeypatch.setattr("bgem3_retrieval.bulk.ray.run.READY_SECONDS", 0.2)
    exit_code, said = run("--ray", cluster.address, "--url", "gone:8001")

    assert 1 == exit_code
    assert "UnavailableError: gone:8001: " in said
    assert [] == list((corpus / "out").iterdir())


def test_a_shard_that_takes_its_workers_down(
    cluster: Any, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither it nor its neighbour on the worker is tried for ever; what was whole stays."""

    def connect(url: str, limits: Limits) -> Endpoint:
        class Deadly(FakeTransport):
            async def infer(self, request: Any) -> Any:
                if any(b" 100" in b" " + text[-3:] for text in request.texts):
                    os._exit(1)
                return await super().infer(request)

        return Endpoint(url, AsyncClient(transport=Deadly(), limits=limits))

    monkeypatch.setattr(Endpoint, "connect", connect)
    monkeypatch.setattr("bgem3_retrieval.bulk.ray.pipeline._RETRIES", 1)
    exit_code, said = run("--ray", cluster.address)

    assert 1 == exit_code
    assert "ClusterError: workers died again and again over the shards after those that" in said
    assert not list((corpus / "out").glob(".*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_says_how_to_go_on(
    cluster: Any, corpus: Path, number: signal.Signals
) -> None:
    """Only whole shards are left, Ray logs nothing to standard error, and the next run goes on."""
    run(out="expected")
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", _PROCESS, *OPTIONS, "-o", "out/"),
            *("--ray", cluster.address, *SERVERS),
        ],
        cwd=corpus,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    try:
        give_up = time.monotonic() + 40
        while not (corpus / "out" / "part-00001.parquet").exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < give_up
            time.sleep(0.02)
        process.send_signal(number)
        _, said = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    left = files(corpus / "out")
    run()

    assert 130 == process.returncode
    assert re.fullmatch(r"interrupted; whole in out/: \d+ shards .* goes on from there\n", said), (
        said
    )
    assert not [name for name in left if name.startswith(".")]
    assert files(corpus / "expected") == files(corpus / "out")


_PROCESS = """
import sys
import bgem3_retrieval.bulk.command as command
from bgem3_retrieval.bulk.corpus.endpoint import Endpoint

def slow():
    from bgem3_client import AsyncClient, FakeTransport
    def connect(url, limits):
        transport = FakeTransport(delay_seconds=0.3)
        return Endpoint(url, AsyncClient(transport=transport, limits=limits))
    return connect

Endpoint.connect = slow()
command.encode(sys.argv[1:])
"""


def test_without_ray_it_says_what_to_install(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No traceback."""
    monkeypatch.setitem(sys.modules, "ray", None)
    exit_code, said = run("--ray")

    assert 1 == exit_code
    assert "MissingLibraryError: --ray needs Ray: pip install 'bgem3-triton[ray]'" in said


def test_where_no_cluster_is(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said within seconds, whether nobody listens there or something else does."""
    monkeypatch.setattr("bgem3_retrieval.bulk.ray.cluster._CONNECT_SECONDS", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        something_else = run("--ray", f"127.0.0.1:{port}")
    nobody = run("--ray", f"127.0.0.1:{port}")

    for exit_code, said in (something_else, nobody):
        assert 1 == exit_code
        assert f"ClusterError: no Ray cluster answers at 127.0.0.1:{port}" in said


@pytest.mark.parametrize("address", ["a.jsonl", "head:", ":6379", "head:99999", "ray://head:10001"])
def test_what_is_no_address(corpus: Path, address: str) -> None:
    """As a file behind a bare --ray, which is taken for one."""
    exit_code, said = run("--ray", address)

    assert 2 == exit_code
    assert f"'{address}' is no address: HOST:PORT, auto or local" in said


def test_ray_needs_a_folder(corpus: Path) -> None:
    """And its workers need Ray."""
    encode = bgem3_retrieval.bulk.command.encode
    no_folder = CliRunner().invoke(encode, ["a.jsonl", "--ray"])
    no_ray = CliRunner().invoke(encode, ["a.jsonl", "-o", "out/", "--ray-workers", "2"])

    assert (2, 2) == (no_folder.exit_code, no_ray.exit_code)
    assert "--ray: the output must be a folder" in no_folder.stderr
    assert "--ray-workers is about a Ray cluster: add --ray" in no_ray.stderr


def test_what_a_killed_command_left_goes(corpus: Path) -> None:
    """The hidden folder of its workers is no shard, and is removed by the next run."""
    run(out="expected")
    run("--on-error", "stop")
    left = corpus / "out" / ".ray-0123.partial"
    left.mkdir()
    (left / "4567-part-00002.parquet").write_bytes(b"half")
    exit_code, _ = run()

    assert 3 == exit_code
    assert files(corpus / "expected") == files(corpus / "out")


def test_a_node_without_the_folder(tmp_path: Path) -> None:
    """It is named, and nothing is written where nobody looks for it."""
    settings = WorkerSettings(
        folder=tmp_path / "out" / ".ray-0123.partial",
        encoders=Servers(("a:8001",), slow_endpoints(0)),
        options=EncodeOptions(),
        limits=Limits(),
        dense_dtype="float32",
        timeout_seconds=10,
        ready_seconds=1,
    )
    worker = ShardWorker(settings, ServedModel("bge_m3", "1", 16, 16))

    with pytest.raises(OutputError, match=f"{socket.gethostname()} is not the folder that"):
        worker.encode(Cut(0))
    assert not (tmp_path / "out").exists()
