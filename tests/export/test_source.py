"""A model's name leads to a folder, to a hub or a mirror of one, or to a message that helps.

huggingface_hub reads its environment when it is imported, so what concerns a hub runs in a process
of its own. No real hub is asked: there is a small one on a local port.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from tiny_checkpoint import write_tiny_checkpoint

from bgem3_export import demo_model
from bgem3_export.errors import SourceError
from bgem3_export.file_hash import file_sha256
from bgem3_export.source import find_source

REVISION = "4f0c1b2a3d4e5f60718293a4b5c6d7e8f9012345"
FILES = [
    "config.json",
    "tokenizer.json",
    "sparse_linear.pt",
    "colbert_linear.pt",
    "model.safetensors",
]
# Reads {"model", "environment"} a line, and prints what is found or raised: each in a fork, where
# huggingface_hub is imported anew, and torch is there already.
FINDER = """
import json, os, sys
from bgem3_export.source import find_source
assert "huggingface_hub" not in sys.modules
for line in sys.stdin:
    task = json.loads(line)
    if os.fork():
        os.wait()
        continue
    os.environ.update(task["environment"])
    try:
        source = find_source(task["model"])
    except Exception as error:
        found = {"error": type(error).__name__, "message": str(error)}
    else:
        found = {"name": source.name, "revision": source.revision,
                 "directory": str(source.directory), "is_demo": source.is_demo}
    print(json.dumps(found), flush=True)
    os._exit(0)
"""


def test_a_folder_is_a_source(tiny_directory):
    """Named after itself; nothing is copied."""
    source = find_source(str(tiny_directory))

    assert ("tiny-model", tiny_directory, False) == (source.name, source.directory, source.is_demo)


def test_a_folder_may_be_given_from_home(tiny_directory, monkeypatch):
    """``~`` is expanded, also where no shell does it."""
    monkeypatch.setenv("HOME", str(tiny_directory.parent))

    assert tiny_directory == find_source("~/tiny-model").directory


def test_the_revision_of_a_folder_is_its_content(tiny_directory):
    """Any file that an export reads counts, by name and content; others do not."""
    before = find_source(str(tiny_directory)).revision
    (tiny_directory / "README.md").write_text("words")
    same = find_source(str(tiny_directory)).revision
    revisions = {before}
    for name in FILES:
        path = tiny_directory / name
        content = path.read_bytes()
        path.write_bytes(content + b" ")
        revisions.add(find_source(str(tiny_directory)).revision)
        path.write_bytes(content)
    (tiny_directory / "model.safetensors").rename(tiny_directory / "pytorch_model.bin")
    revisions.add(find_source(str(tiny_directory)).revision)

    assert before == same
    assert 1 + len(FILES) + 1 == len(revisions)


def test_a_folder_of_the_demo_model_is_known_for_what_it_is(demo_model_directory):
    """Also when it is given by its path, or was copied."""
    source = find_source(str(demo_model_directory))

    assert (demo_model_directory.name, True) == (source.name, source.is_demo)


def test_demo_is_the_demo_model(tiny_directory, monkeypatch):
    """It is marked as such, so that it is always said aloud."""
    monkeypatch.setattr(demo_model, "demo_model", lambda progress: tiny_directory)
    source = find_source("demo")

    assert ("demo", tiny_directory, True) == (source.name, source.directory, source.is_demo)


@pytest.mark.parametrize(
    "model",
    ["no-such-folder", "./no-such-folder", "/no/such/folder", "../x", "a/b/c", "模型/甲"],
)
def test_neither_a_folder_nor_a_hub_name(model, tmp_path, monkeypatch):
    """A path that leads nowhere is not asked of a hub."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError) as caught:
        find_source(model)

    assert str(caught.value).startswith(f"there is no folder {model}, and it is no hub name")
    assert "BAAI/bge-m3" in str(caught.value)


def test_a_name_that_no_hub_allows(tmp_path, monkeypatch):
    """The hub's own rules, in the hub's own words."""
    monkeypatch.chdir(tmp_path)

    with pytest.raises(SourceError, match="no folder some--one/model, and it is no hub name eithe"):
        find_source("some--one/model")


def test_a_file_is_no_folder(tiny_directory):
    """The message says to give the folder that it lies in."""
    path = tiny_directory / "model.safetensors"

    with pytest.raises(SourceError, match=r"model\.safetensors is a file; give the folder"):
        find_source(str(path))


def test_the_hash_of_a_file(tmp_path):
    """SHA-256, as sha256sum prints it."""
    (tmp_path / "file").write_bytes(b"abc")

    assert "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" == file_sha256(
        tmp_path / "file"
    )


@dataclass
class Hub:
    """A hub with one model, ``someone/tiny``, on a local port.

    Attributes:
        endpoint: Its address.
        asked: The paths asked for.
        truncated: Whether it breaks off in the middle of each file.
    """

    directory: Path
    endpoint: str = ""
    asked: list[str] = field(default_factory=list)
    truncated: bool = False


@pytest.fixture
def hub(tmp_path) -> Iterator[Hub]:
    """A mirror that holds a tiny model, and a large file that no export reads."""
    directory = tmp_path / "hub"
    directory.mkdir()
    write_tiny_checkpoint(directory)
    (directory / "onnx.bin").write_bytes(b"gigabytes")
    hub = Hub(directory)

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(with_body=False)

        def do_GET(self) -> None:
            self.answer(with_body=True)

        def answer(self, *, with_body: bool) -> None:
            path = self.path.split("?")[0]
            hub.asked.append(path)
            names = sorted(file.name for file in directory.iterdir())
            headers = {"X-Repo-Commit": REVISION}
            if path.startswith("/api/models/someone/tiny/revision/"):
                siblings = [{"rfilename": name} for name in names]
                content = {"id": "someone/tiny", "sha": REVISION, "siblings": siblings}
                body = json.dumps(content).encode()
            elif path.startswith("/api/models/someone/tiny/tree/"):
                sizes = {name: (directory / name).stat().st_size for name in names}
                body = json.dumps(
                    [
                        {"type": "file", "path": name, "size": size, "oid": "0" * 40}
                        for name, size in sizes.items()
                    ]
                ).encode()
            elif path.startswith(f"/someone/tiny/resolve/{REVISION}/"):
                body = (directory / path.rsplit("/", 1)[1]).read_bytes()
                headers["ETag"] = f'"{file_sha256(directory / path.rsplit("/", 1)[1])}"'
            else:
                self.send_response(404)
                self.send_header("X-Error-Code", "RepoNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(200)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if with_body and hub.truncated and "/resolve/" in path:
                self.wfile.write(body[: len(body) // 2])
                self.close_connection = True
            elif with_body:
                self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    yield hub
    server.shutdown()
    thread.join()
    server.server_close()


class Finder:
    """Finds sources in processes whose environment the tests choose."""

    def __init__(self, folder: Path) -> None:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.lower().endswith("_proxy") and not name.startswith("HF_")
        }
        self._process = subprocess.Popen(
            [sys.executable, "-c", FINDER],
            env=kept | {"PYTHONWARNINGS": "ignore"},
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, model: str, home: Path, **environment: str) -> dict[str, object]:
        """Find a source with ``HF_HOME`` and more in the environment."""
        task = {"model": model, "environment": {"HF_HOME": str(home)} | environment}
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        """End the process."""
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


@pytest.fixture(scope="module")
def find(tmp_path_factory) -> Iterator[Finder]:
    """The finder."""
    finder = Finder(tmp_path_factory.mktemp("empty"))
    yield finder
    finder.close()


def test_a_hub_name_is_fetched_from_the_mirror_once(find, hub, tmp_path):
    """``HF_ENDPOINT`` counts; the revision is the commit; later it works without the mirror."""
    first = find("someone/tiny", tmp_path, HF_ENDPOINT=hub.endpoint)
    asked = {path for path in hub.asked if "/resolve/" in path}
    offline = find("someone/tiny", tmp_path, HF_HUB_OFFLINE="1")

    assert ("someone/tiny", REVISION, False) == (
        first["name"],
        first["revision"],
        first["is_demo"],
    )
    assert sorted(FILES) == sorted(path.name for path in Path(str(first["directory"])).iterdir())
    assert {f"/someone/tiny/resolve/{REVISION}/{name}" for name in FILES} == asked
    assert first == offline


def assert_helps(found: dict[str, object], because: str) -> None:
    """Expect the error that says how to do without the hub."""
    message = str(found["message"])

    assert "HubError" == found["error"]
    assert message.startswith(f"someone/tiny cannot be fetched from the hub: {because}")
    assert "hf download someone/tiny config.json tokenizer.json sparse_linear.pt" in message
    assert "--local-dir tiny\n" in message
    assert "bgem3 export ./tiny --output DIR" in message
    assert "HF_ENDPOINT" in message


def test_a_hub_that_cannot_be_reached(find, tmp_path):
    """The message says what to do on another machine, and then on this one."""
    with socket.socket() as closed:
        # Bound, so that nobody else takes it, and not listening.
        closed.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{closed.getsockname()[1]}"

        assert_helps(find("someone/tiny", tmp_path, HF_ENDPOINT=endpoint), "Got: ConnectError")


def test_offline_and_not_fetched_before(find, tmp_path):
    """``HF_HUB_OFFLINE`` counts."""
    assert_helps(
        find("someone/tiny", tmp_path, HF_HUB_OFFLINE="1"),
        "Cannot find an appropriate cached snapshot folder",
    )


def test_a_model_that_the_hub_does_not_have(find, hub, tmp_path):
    """Another model's message, the same help."""
    found = find("someone/else", tmp_path, HF_ENDPOINT=hub.endpoint)

    assert "HubError" == found["error"]
    assert "404 Client Error" in str(found["message"])


def test_a_proxy_that_cannot_be_reached(find, hub, tmp_path):
    """The way to the hub is broken, rather than the hub."""
    found = find(
        "someone/tiny",
        tmp_path,
        HF_ENDPOINT="http://hub.invalid",
        http_proxy="http://127.0.0.1:9",
    )

    assert_helps(found, "")


def test_a_hub_that_breaks_off(find, hub, tmp_path):
    """Half a file is not taken for a whole one."""
    hub.truncated = True

    assert_helps(find("someone/tiny", tmp_path, HF_ENDPOINT=hub.endpoint), "")
