"""`POST /index/files`: what it takes, answers and refuses, and what it leaves behind."""

from __future__ import annotations

import asyncio
import io
import json
import os
import subprocess
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from live_service import live_app, live_service
from starlette.testclient import TestClient

from bgem3_client import FakeTransport, InferRequest, InferResponse
from bgem3_client.errors import InvalidInputError
from bgem3_server.gateway.app import create_app
from bgem3_server.gateway.dialects.index_files_schema import FileAnswer
from bgem3_server.gateway.retrieval.upload_folder import UploadFolder, remove_left_behind
from bgem3_server.gateway.retrieval.upload_names import checked_name
from bgem3_server.gateway.settings import GatewaySettings

NOTE = ("passwords.md", b"# Passwords\n\nReset your password in the settings.")
TABLE = ("people.csv", "id,text,team\n1,Ann mends cars,blue\n2,Bo bakes bread,红\n".encode())


@pytest.fixture(autouse=True)
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the files of requests are, and nothing else."""
    folder = tmp_path / "spool"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def settings(tmp_path: Path) -> GatewaySettings:
    """With an embedded Qdrant."""
    return GatewaySettings(
        store=str(tmp_path / "store"),
        ready_interval_seconds=0,
        max_texts=8,
        max_file_bytes=10_000,
        max_upload_bytes=30_000,
        max_body_bytes=1024,
    )


@pytest.fixture
def service_with_store(settings: GatewaySettings) -> Iterator[TestClient]:
    """The application in this process."""
    with TestClient(create_app(settings, FakeTransport())) as service:
        yield service


def send(service: TestClient | httpx.Client, *files: tuple[str, bytes], **fields: Any) -> Any:
    """The answer to some files."""
    return service.post(
        "/index/files",
        data={"collection": "notes", **fields},
        files=[("files", file) for file in files],
    )


def index(
    service: TestClient | httpx.Client, *files: tuple[str, bytes], **fields: Any
) -> dict[str, Any]:
    """The report on files that are taken."""
    answer = send(service, *files, **fields)
    assert 200 == answer.status_code, answer.text
    report: dict[str, Any] = answer.json()
    return report


def done(report: dict[str, Any]) -> dict[str, tuple[int, int, int, int]]:
    """What was added, changed, left as it was, and removed, by file."""
    return {
        file["file"]: (file["added"], file["changed"], file["unchanged"], file["removed"])
        for file in report["files"]
    }


def parquet(**columns: list[Any]) -> bytes:
    """A table as Parquet."""
    stream = io.BytesIO()
    pq.write_table(pa.table(columns), stream)
    return stream.getvalue()


def test_files_are_found(service_with_store: TestClient, spool: Path) -> None:
    """Under their names, with their structure and metadata; nothing stays on the disk."""
    report = index(service_with_store, NOTE, TABLE, metadata='{"year": 2024}')
    answer = service_with_store.post("/search", json={"query": "password"}).json()
    by_source = {hit["source"]: hit for hit in answer["hits"]}

    assert {"passwords.md": (1, 0, 0, 0), "people.csv": (2, 0, 0, 0)} == done(report)
    assert (3, 3, 0) == (report["added"], report["chunks"], report["skipped_count"])
    assert [1, 2] == [file["chunks"] for file in report["files"]]
    assert "Passwords" == by_source["passwords.md"]["title"]
    assert {"team": "红", "year": 2024} == by_source["people.csv#2"]["metadata"]
    assert [] == list(spool.iterdir())


def test_the_same_again_is_not_encoded(service_with_store: TestClient) -> None:
    """What has changed replaces what was there, and rows that are gone go."""
    index(service_with_store, NOTE, TABLE)
    again = index(service_with_store, NOTE, TABLE)
    table = ("people.csv", b"id,text,team\n1,Ann mends cars,blue\n3,Cy sails,red\n")
    changed = index(service_with_store, ("passwords.md", b"No more passwords."), table)

    assert {"passwords.md": (0, 0, 1, 0), "people.csv": (0, 0, 2, 0)} == done(again)
    assert 0 == again["tokens"]
    assert {"passwords.md": (0, 1, 0, 0), "people.csv": (1, 0, 1, 1)} == done(changed)
    assert 1 == changed["removed"]


def test_rows_stay_where_a_table_breaks_off(service_with_store: TestClient) -> None:
    """And so do documents whose names only begin like a file's."""
    other = {"source": "passwords.md#1", "text": "Other."}
    index(service_with_store, NOTE, ("t.parquet", parquet(id=["a", "b"], text=["one", "two"])))
    service_with_store.post("/index", json={"collection": "notes", "documents": [other]})
    broken = parquet(id=["a", "b"], text=["one", "two"])[:-40]
    report = index(service_with_store, NOTE, ("t.parquet", broken))

    assert {"passwords.md": (0, 0, 1, 0), "t.parquet": (0, 0, 0, 0)} == done(report)
    assert "not a Parquet file" in report["files"][1]["reason"]
    assert 4 == service_with_store.get("/collections/notes").json()["documents"]


def docx_bomb() -> bytes:
    """A small DOCX that unpacks to 300 MiB."""
    stream = io.BytesIO()
    with (
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as package,
        package.open("word/document.xml", "w") as entry,
    ):
        for _ in range(300):
            entry.write(bytes(1 << 20))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (("a.pdf", b"%PDF-1.7 no more"), "is damaged, or no PDF file"),
        (("a.bin", b"\0\1"), "is of no format that can be read"),
        (("a.txt", b" \n"), "no text"),
        (("a.txt", b"a" * 10_001), "is too large: 10,001 bytes, where a file may have 10,000"),
        (("a.jsonl", b'{"text": "a"}\n{"text": 1}\n'), "row 2: field 'text' must be a string"),
    ],
)
def test_what_cannot_be_read_is_skipped(
    service_with_store: TestClient, file: tuple[str, bytes], reason: str
) -> None:
    """With the reason, and the others are indexed."""
    report = index(service_with_store, file, NOTE)

    assert (1, file[0]) == (report["skipped_count"], report["skipped"][0]["source"])
    assert reason in report["skipped"][0]["reason"]
    assert report["skipped"][0]["reason"] == report["files"][0]["reason"]
    assert (1, 0, 0, 0) == done(report)["passwords.md"]


def test_a_bomb_is_not_unpacked(settings: GatewaySettings) -> None:
    """What a file would unpack to is known beforehand."""
    large = settings.model_copy(update={"max_file_bytes": 4 << 20, "max_upload_bytes": 4 << 20})
    with TestClient(create_app(large, FakeTransport())) as service:
        report = index(service, ("bomb.docx", docx_bomb()))

    assert "is too large: unpacked it has 314,572,800 bytes" in report["files"][0]["reason"]


def test_fields_of_tables(service_with_store: TestClient) -> None:
    """Are named as on the command line."""
    rows = [{"key": "x", "body": "nobody", "say": "Hello", "head": "Hi", "a": 1, "b": 2, "c": 3}]
    file = ("t.jsonl", "\n".join(map(json.dumps, rows)).encode())
    named = {"text_field": "say", "id_field": "key", "title_field": "head"}
    index(service_with_store, file, metadata_fields=["a", "b"], **named)
    (hit,) = service_with_store.post("/search", json={"query": "hello"}).json()["hits"]

    assert ("t.jsonl#x", "Hi", {"a": 1, "b": 2}) == (hit["source"], hit["title"], hit["metadata"])


@pytest.mark.parametrize(
    ("files", "fields", "status", "code", "words"),
    [
        ([("../a.md", b"a")], {}, 422, "invalid_input", "files[0]: the file name '../a.md'"),
        ([NOTE, ("/etc/passwd", b"a")], {}, 422, "invalid_input", "files[1]"),
        ([NOTE, NOTE], {}, 422, "invalid_input", "another file named 'passwords.md'"),
        ([NOTE] * 0, {}, 422, "invalid_input", "multipart/form-data"),
        ([NOTE], {"collection": "no name"}, 422, "invalid_input", "cannot be a collection's name"),
        ([NOTE], {"max_tokens": "many"}, 422, "invalid_input", "max_tokens"),
        ([NOTE], {"metadata": "{"}, 422, "invalid_input", "metadata"),
        ([NOTE], {"metadata": "x" * 70_000}, 413, "too_large", "bytes"),
        ([NOTE], {"root": "/"}, 422, "invalid_input", "root"),
        ([NOTE], {"storage": ["int8", "int8"]}, 422, "invalid_input", "storage: is there 2 times"),
        ([NOTE], {"metadata": r'{"k": "\ud800"}'}, 422, "invalid_input", "metadata: "),
        ([NOTE], {"max_tokens": "64"}, 409, "collection_mismatch", "DELETE /collections/notes"),
        ([(f"{n}.md", b"a") for n in range(9)], {}, 413, "too_large", "more than 8 files"),
        ([("a.md", b"a" * 31_000)], {}, 413, "too_large", "send fewer files"),
    ],
)
def test_what_is_refused(
    service_with_store: TestClient,
    spool: Path,
    files: list[tuple[str, bytes]],
    fields: dict[str, Any],
    status: int,
    code: str,
    words: str,
) -> None:
    """With a status, a code, and what was wrong; nothing stays on the disk."""
    index(service_with_store, NOTE)
    answer = send(service_with_store, *files, **fields)

    assert (status, code) == (answer.status_code, answer.json()["code"])
    assert words in answer.json()["error"]
    assert [] == list(spool.iterdir())


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "..",
        "a/../b",
        "/a",
        "a//b",
        "a/",
        "./a",
        "C:\\a",
        "a\nb",
        "a\0b",
        "a\u200bb",
        "a" * 1025,
    ],
)
def test_names_that_are_none(name: str) -> None:
    """Paths that lead elsewhere, and characters that nobody sees."""
    with pytest.raises(InvalidInputError, match=r"files\[3\]") as caught:
        checked_name(name, 3)
    assert 3 == caught.value.index


@pytest.mark.parametrize("name", ["a.md", "manuals/a b.md", "手册.pdf", "..a", "a..b/c#d"])
def test_names_that_are_some(name: str) -> None:
    """Folders may be part of them."""
    assert name == checked_name(name, 0)


@pytest.mark.parametrize(
    "body",
    [
        b"no boundary",
        b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.md"\r\n\r\nhalf',
        b'--b\r\nContent-Disposition: form-data; name="files"\r\n\r\nnameless\r\n--b--\r\n',
        b'--b\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\na\r\n--b--\r\n',
        b"--b\r\nContent-Disposition: form-data\r\n\r\na\r\n--b--\r\n",
        b'--b\r\nContent-Disposition: form-data; name="\xff"\r\n\r\na\r\n--b--\r\n',
    ],
)
def test_bodies_that_are_none(service_with_store: TestClient, spool: Path, body: bytes) -> None:
    """Are the caller's mistake."""
    answer = service_with_store.post(
        "/index/files", content=body, headers={"Content-Type": "multipart/form-data; boundary=b"}
    )

    assert (422, "invalid_input") == (answer.status_code, answer.json()["code"])
    assert [] == list(spool.iterdir())


def test_without_a_store_or_a_key(fake_service: TestClient, settings: GatewaySettings) -> None:
    """As the other routes."""
    locked = settings.model_copy(update={"api_keys": "secret"})
    with TestClient(create_app(GatewaySettings(**locked.model_dump()), FakeTransport())) as service:
        keyless = send(service, NOTE)

    assert 501 == send(fake_service, NOTE).status_code
    assert 401 == keyless.status_code


class HeldTransport(FakeTransport):
    """Encodes nothing before it is released."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Event()
        self.released = threading.Event()

    async def infer(self, request: InferRequest) -> InferResponse:
        """Answer as the fake does, but vectors only when released."""
        if any(output.name == "colbert_fp16" for output in request.outputs):
            self.asked.set()
            await asyncio.to_thread(self.released.wait, 10)
        return await super().infer(request)


def test_a_caller_that_goes_away(settings: GatewaySettings, spool: Path) -> None:
    """While it is encoded, or while it still sends: nothing stays on the disk."""
    transport = HeldTransport()
    with live_app(create_app(settings, transport)) as url:
        with pytest.raises(httpx.ReadTimeout), httpx.Client(base_url=url, timeout=1) as client:
            index(client, NOTE)
        transport.released.set()
        with pytest.raises(ZeroDivisionError), httpx.Client(base_url=url, timeout=5) as client:
            client.post(
                "/index/files",
                content=broken_off(),
                headers={"Content-Type": "multipart/form-data; boundary=b"},
            )
        deadline = time.monotonic() + 5
        while list(spool.iterdir()) and time.monotonic() < deadline:
            time.sleep(0.02)
        with httpx.Client(base_url=url, timeout=10) as client:
            report = index(client, NOTE)
            metrics = client.get("/metrics").text

    assert transport.asked.is_set()
    assert 'route="/index/files",status="499"} 2.0' in metrics
    assert [] == list(spool.iterdir())
    assert {"passwords.md": (1, 0, 0, 0)} == done(report)


def broken_off() -> Iterator[bytes]:
    """A body whose sender fails on the way."""
    yield b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.md"\r\n\r\nhalf'
    time.sleep(0.2)
    yield str(1 // 0).encode()


def test_what_a_killed_service_left_is_removed(spool: Path) -> None:
    """At the next start, but not what another one uses, nor what is not ours."""
    left = spool / "bgem3-upload-left"
    (left / "sub").mkdir(parents=True)
    (left / "0.pdf").write_bytes(b"a")
    other = spool / "theirs"
    other.mkdir()
    used = UploadFolder()
    young = spool / "bgem3-upload-young"
    young.mkdir()
    for folder in (left, other, used.path):
        os.utime(folder, (0, 0))
    count = remove_left_behind()

    assert 1 == count
    assert {other, used.path, young} == set(spool.iterdir())
    used.remove()
    assert {other, young} == set(spool.iterdir())


def test_every_field_of_the_answer_is_documented() -> None:
    """In docs/http-search.md."""
    text = (Path(__file__).parents[2] / "docs" / "http-search.md").read_text(encoding="utf-8")
    section = text.partition("## Files")[2].partition("\n## ")[0]

    assert [] == [name for name in FileAnswer.model_fields if f"`{name}`" not in section]


def test_curl_sends_files(settings: GatewaySettings, tmp_path: Path) -> None:
    """As the document says."""
    text = (Path(__file__).parents[2] / "docs" / "http-search.md").read_text(encoding="utf-8")
    (command,) = [
        block
        for block in text.split("```")
        if block.startswith("sh\ncurl -s http") and "-F" in block
    ]
    (tmp_path / "people.csv").write_bytes(TABLE[1])
    (tmp_path / "manual.docx").write_bytes(b"none")
    (tmp_path / "handbook.md").write_bytes(NOTE[1])
    with live_service(settings, FakeTransport()) as url:
        run = subprocess.run(
            ["bash", "-c", command.removeprefix("sh\n").replace("http://127.0.0.1:33330", url)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
    report = json.loads(run.stdout)

    assert ["handbook.md", "manual.docx", "hr/people.csv"] == [f["file"] for f in report["files"]]
    assert (3, 1) == (report["added"], report["skipped_count"])
