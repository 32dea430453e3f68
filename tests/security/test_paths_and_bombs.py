"""What a document or a request says leads to no file here, and takes no more than it may."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import docx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from starlette.testclient import TestClient

from bgem3_client import FakeTransport
from bgem3_retrieval.documents.document import Document
from bgem3_retrieval.documents.folder import SourceFile
from bgem3_retrieval.documents.options import ReaderOptions
from bgem3_retrieval.documents.reader import read
from bgem3_retrieval.errors import UnreadableDocumentError
from bgem3_server.gateway.access import keys
from bgem3_server.gateway.app import create_app
from bgem3_server.gateway.settings import GatewaySettings

SECRET = "not-for-others"


@pytest.fixture
def service(tmp_path: Path) -> TestClient:
    settings = GatewaySettings(store=str(tmp_path / "store"), ready_interval_seconds=0)
    return TestClient(create_app(settings, FakeTransport()))


def documents(path: Path, options: ReaderOptions | None = None) -> list[Document]:
    return list(read(SourceFile(path, path.name, path.stat().st_size), options))


def word_file(path: Path, prolog: bytes, text: bytes) -> Path:
    """A DOCX file whose document begins with a prolog and has a paragraph with this text."""
    stream = io.BytesIO()
    made = docx.Document()
    made.add_paragraph("HERE")
    made.save(stream)
    with zipfile.ZipFile(stream) as package, zipfile.ZipFile(path, "w") as changed:
        for entry in package.infolist():
            content = package.read(entry)
            if entry.filename == "word/document.xml":
                head, _, rest = content.partition(b"?>")
                content = head + b"?>" + prolog + rest.replace(b"HERE", text)
            changed.writestr(entry, content)
    return path


def texts_or_nothing(path: Path) -> str:
    try:
        return "".join(document.text for document in documents(path))
    except UnreadableDocumentError:
        return ""


def test_an_entity_reads_no_file(tmp_path: Path) -> None:
    """Neither in the text nor by its absence is anything of the file told."""
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    prolog = b'<!DOCTYPE a [<!ENTITY e SYSTEM "file://%s">]>' % str(secret).encode()
    text = texts_or_nothing(word_file(tmp_path / "a.docx", prolog, b"one &e; two"))

    assert SECRET not in text


def test_entities_in_entities_are_not_unfolded(tmp_path: Path) -> None:
    """Ten of ten of ten, and so on, are not a billion."""
    levels = b"".join(
        b'<!ENTITY e%d "%s">' % (level, b"&e%d;" % (level - 1) * 10) for level in range(1, 10)
    )
    prolog = b'<!DOCTYPE a [<!ENTITY e0 "lol">' + levels + b"]>"
    text = texts_or_nothing(word_file(tmp_path / "a.docx", prolog, b"one &e9; two"))

    assert len(text) < 1000


def test_a_word_file_that_unpacks_to_more_is_refused(tmp_path: Path) -> None:
    """Before anything of it is unpacked."""
    path = word_file(tmp_path / "a.docx", b"", b"one")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as package:
        package.writestr("word/media/a.png", bytes(20 << 20))

    assert path.stat().st_size < 100_000
    with pytest.raises(UnreadableDocumentError, match="too large: unpacked it has"):
        documents(path, ReaderOptions(max_unpacked_bytes=10 << 20))


def test_a_table_that_unpacks_to_more_is_refused(tmp_path: Path) -> None:
    """A text that is said once and meant for many rows."""
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["a" * 100_000] * 256}), path, compression="zstd")

    assert path.stat().st_size < 100_000
    with pytest.raises(UnreadableDocumentError, match="too large: 256 rows behind row 0 have"):
        documents(path, ReaderOptions(max_unpacked_bytes=10 << 20))
    assert 256 == len(documents(path))


@pytest.mark.parametrize("name", ["/etc/passwd", "../a.md", "a/../../b.md", "a\\b.md", "..", ""])
def test_an_upload_has_no_path(name: str, service: TestClient, tmp_path: Path) -> None:
    """What is no plain relative name is refused."""
    body = (
        b'--b\r\nContent-Disposition: form-data; name="collection"\r\n\r\nnotes\r\n--b\r\n'
        b'Content-Disposition: form-data; name="files"; filename="%s"\r\n\r\ntext\r\n--b--\r\n'
    ) % name.encode().replace(b"\\", b"\\\\")
    with service:
        answer = service.post(
            "/index/files",
            content=body,
            headers={"Content-Type": "multipart/form-data; boundary=b"},
        )

    assert 422 == answer.status_code
    assert not (tmp_path / "store").exists() or [] == list((tmp_path / "store").iterdir())


@pytest.mark.parametrize("name", ["../notes", "/tmp", "a/b", "%2e%2e", "a%2fb", ".x", "a.b"])
def test_a_collection_has_no_path(name: str, service: TestClient, tmp_path: Path) -> None:
    """Neither in a body nor in a path, to make one, to look at one or to remove one."""
    document = {"source": "a", "text": "b"}
    with service:
        answers = [
            service.post("/index", json={"collection": name, "documents": [document]}),
            service.post("/search", json={"collection": name, "query": "a"}),
            service.get(f"/collections/{name}"),
            service.delete(f"/collections/{name}"),
        ]

    assert all(answer.status_code in (404, 405, 422) for answer in answers)
    assert not (tmp_path / "store").exists() or [] == list((tmp_path / "store").iterdir())


@pytest.mark.parametrize(
    "path",
    ["../router.py", "..%2frouter.py", "%2e%2e/router.py", "/etc/passwd", "static/index.html"],
)
def test_the_page_has_its_own_files_only(path: str, service: TestClient) -> None:
    """They are looked up in what was read at the start."""
    with service:
        assert 404 == service.get(f"/page/{path}").status_code


@pytest.mark.parametrize("field", ["store", "path", "url", "api_key", "address"])
def test_a_request_names_no_place(field: str, service: TestClient) -> None:
    """Neither a file of this machine nor a host that the service would call."""
    place = {field: "http://169.254.169.254/"}
    document = {"source": "a", "text": "b"}
    with service:
        answers = [
            service.post("/search", json={"query": "a", **place}),
            service.post("/index", json={"collection": "a", "documents": [document], **place}),
            service.post("/embed", json={"texts": ["a"], **place}),
        ]

    assert [422] * 3 == [answer.status_code for answer in answers]
    assert all(field in answer.text for answer in answers), answers[0].text


def test_errors_do_not_tell_where_the_store_is(service: TestClient, tmp_path: Path) -> None:
    """Of what is wrong with a collection, its name is said."""
    document = {"source": "a", "text": "b"}
    with service:
        empty = service.post("/search", json={"query": "a"})
        service.post("/index", json={"collection": "notes", "documents": [document]})
        missing = service.get("/collections/others")
        (tmp_path / "store" / "strange").mkdir()
        foreign = service.get("/collections/strange")
        (tmp_path / "store" / "notes" / "spec.json").write_text("{")
        broken = service.get("/collections/notes")

    assert [404, 404, 409, 503] == [a.status_code for a in (empty, missing, foreign, broken)]
    assert not any(str(tmp_path) in a.text for a in (empty, missing, foreign, broken))
    assert "the store has no collection 'others': did you mean notes?" in missing.json()["error"]
    assert "its log says why" in broken.text or "log says why" in broken.text


def test_keys_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """By their digests, and with all of them, whichever it is."""
    compared = []
    compare = keys.hmac.compare_digest

    def watch(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return compare(one, other)

    monkeypatch.setattr(keys.hmac, "compare_digest", watch)
    known = keys.Keys(GatewaySettings(api_keys="first,second,third"))
    known.check("Bearer first")

    assert 3 == len({other for _, other in compared})
    assert {32} == {len(digest) for pair in compared for digest in pair}
