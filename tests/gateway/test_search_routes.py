"""`/search`, `/index` and `/collections`: what they take, answer and refuse."""

from __future__ import annotations

import asyncio
import re
import threading
import time
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import httpx
import pytest
from live_service import live_app, live_service
from pydantic import BaseModel
from starlette.testclient import TestClient

from bgem3_client import FakeTransport, InferRequest, InferResponse
from bgem3_client.errors import InvalidInputError
from bgem3_retrieval.errors import MissingLibraryError, StoreError
from bgem3_retrieval.stores.address import open_store
from bgem3_server.gateway.app import create_app
from bgem3_server.gateway.dialects.index_schema import DocumentRequest, IndexRequest
from bgem3_server.gateway.dialects.search_schema import SearchRequest
from bgem3_server.gateway.gateway import Gateway
from bgem3_server.gateway.process.workers import Workers
from bgem3_server.gateway.retrieval.store_setting import _LIBRARIES, check_store
from bgem3_server.gateway.settings import GatewaySettings
from bgem3_server.restarts import RestartPolicy
from bgem3_server.triton.addresses import Addresses

DOCUMENT = Path(__file__).parents[2] / "docs" / "http-search.md"

DOCUMENTS = [
    {
        "source": "passwords.md",
        "text": "---\nteam: support\n---\n# Passwords\n\nReset your password in the settings.",
        "format": "markdown",
        "metadata": {"year": 2024},
    },
    {"source": "cats", "text": "The cat sat on the mat.", "title": "Cats"},
    {
        "source": "page",
        "text": "<html><head><meta charset='gbk'><title>密码</title></head><body><p>重置密码</p>",
        "format": "html",
    },
]


@pytest.fixture
def service_with_store(tmp_path: Path) -> Iterator[TestClient]:
    """The application in this process, with an embedded Qdrant."""
    settings = GatewaySettings(store=str(tmp_path / "store"))
    with TestClient(create_app(settings, FakeTransport())) as service:
        yield service


def index(service: TestClient | httpx.Client, *documents: Any, **body: Any) -> dict[str, Any]:
    """The report on documents that can be indexed."""
    answer = service.post(
        "/index", json={"collection": "notes", "documents": documents or DOCUMENTS, **body}
    )
    assert 200 == answer.status_code, answer.text
    report: dict[str, Any] = answer.json()
    return report


def counts(report: dict[str, Any]) -> tuple[int, int, int]:
    """What was added, changed, and left as it was."""
    return report["added"], report["changed"], report["unchanged"]


def test_documents_are_found(service_with_store: TestClient) -> None:
    """With their text, title and metadata, whatever the encoding that a page claims."""
    report = index(service_with_store)
    answer = service_with_store.post(
        "/search", json={"query": "password", "collection": "notes", "explain": True}
    ).json()

    assert (3, 0, 0) == counts(report)
    assert 3 == report["chunks"]
    first = answer["hits"][0]
    assert ("passwords.md", "Passwords") == (first["source"], first["title"])
    assert {"team": "support", "year": 2024} == first["metadata"]
    assert ["password"] == [token["text"] for token in first["explanation"]["tokens"]]
    by_source = {hit["source"]: hit for hit in answer["hits"]}
    assert "Cats" == by_source["cats"]["title"]
    assert ("密码", "重置密码") == (by_source["page"]["title"], by_source["page"]["text"])


def test_the_same_again_is_not_encoded(service_with_store: TestClient) -> None:
    """And what has changed takes the place of what was there."""
    index(service_with_store)
    again = index(service_with_store)
    changed = index(service_with_store, {"source": "cats", "text": "A dog sat on the mat."})
    about = service_with_store.get("/collections/notes").json()

    assert ((0, 0, 3), 0) == (counts(again), again["tokens"])
    assert (0, 1, 0) == counts(changed)
    assert (3, 3, 0) == (about["documents"], about["chunks"], about["incomplete"])


def test_what_cannot_be_read_is_skipped(service_with_store: TestClient) -> None:
    """With the reason, and the others are indexed."""
    cats = {"source": "cats", "text": "The cat sat."}
    report = index(service_with_store, {"source": "empty", "text": " "}, cats, cats)

    assert (1, 0, 0) == counts(report)
    reasons = {item["source"]: item["reason"] for item in report["skipped"]}
    assert 2 == report["skipped_count"]
    assert "no text" in reasons["empty"]
    assert "another one of this name" in reasons["cats"]


def test_text_is_text(service_with_store: TestClient) -> None:
    """Whatever encoding a page says it was in."""
    page = "<meta charset='hz-gb-2312'><p>a ~{VXVC~} b</p>"
    index(service_with_store, {"source": "page", "text": page, "format": "html"})
    answer = service_with_store.post("/search", json={"query": "a"}).json()

    assert "a ~{VXVC~} b" == answer["hits"][0]["text"]


@pytest.mark.parametrize(
    "condition", ["year>=2024", {"field": "year", "operator": "in", "value": [2024, 2025]}]
)
def test_a_condition(service_with_store: TestClient, condition: Any) -> None:
    """As on the command line, or in parts; the only collection needs no name."""
    index(service_with_store)
    answer = service_with_store.post("/search", json={"query": "the", "where": [condition]}).json()

    assert "notes" == answer["collection"]
    assert ["passwords.md"] == [hit["source"] for hit in answer["hits"]]


def test_a_collection_comes_and_goes(service_with_store: TestClient) -> None:
    """Made with its options, listed, shown, removed."""
    options = {"colbert": "none", "max_tokens": 64}
    index(service_with_store, options=options)
    listed = service_with_store.get("/collections").json()
    about = service_with_store.get("/collections/notes").json()
    dropped = service_with_store.delete("/collections/notes")
    empty = service_with_store.get("/collections").json()

    assert {"collections": ["notes"]} == listed
    assert options == {name: about[name] for name in options}
    assert (204, b"") == (dropped.status_code, dropped.content)
    assert {"collections": []} == empty


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (rb'{"source": "a", "text": "b\ud800"}', "documents[0].text: must be valid Unicode"),
        (
            rb'{"source": "a", "text": "b", "metadata": {"k": "v\ud800"}}',
            "documents[0].metadata: the value of 'k' must be valid Unicode",
        ),
    ],
)
def test_what_no_store_can_keep(
    service_with_store: TestClient, document: bytes, words: str
) -> None:
    """Half of a surrogate pair, which JSON can write and UTF-8 cannot: the place is told."""
    body = b'{"collection": "notes", "documents": [' + document + b"]}"
    answer = service_with_store.post("/index", content=body)

    assert (422, "invalid_input") == (answer.status_code, answer.json()["code"])
    assert answer.json()["error"].startswith(words)
    assert 0 == answer.json()["index"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code", "words"),
    [
        ("POST", "/search", {"query": "a", "collection": "note"}, 404, "", "did you mean notes"),
        ("GET", "/collections/note", None, 404, "", "did you mean notes"),
        ("DELETE", "/collections/note", None, 404, "", "did you mean notes"),
        ("POST", "/search", {"query": " "}, 422, "invalid_input", "empty"),
        ("POST", "/search", {"query": "a", "limit": 0}, 422, "invalid_input", "limit"),
        ("POST", "/search", {"query": "a", "where": ["year=3"]}, 422, "invalid_input", "=="),
        ("POST", "/index", {"documents": []}, 422, "invalid_input", "documents"),
        ("POST", "/index", {"collection": "9"}, 422, "invalid_input", "'9'"),
        ("POST", "/index", {"options": {"max_tokens": 64}}, 409, "collection_mismatch", "64"),
        ("POST", "/index", {"documents": [DOCUMENTS[0]] * 2049}, 413, "too_large", "2049"),
    ],
)
def test_what_is_refused(
    service_with_store: TestClient,
    method: str,
    path: str,
    body: dict[str, Any] | None,
    status: int,
    code: str,
    words: str,
) -> None:
    """With a status, a code, and what was wrong."""
    index(service_with_store)
    if path == "/index":
        body = {"collection": "notes", "documents": DOCUMENTS, **(body or {})}
    answer = service_with_store.request(method, path, json=body)

    assert (status, code or "collection_not_found") == (answer.status_code, answer.json()["code"])
    assert words in answer.json()["error"]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/search", {"query": "a"}),
        ("POST", "/index", {"collection": "notes", "documents": DOCUMENTS}),
        ("GET", "/collections", None),
        ("GET", "/collections/notes", None),
        ("DELETE", "/collections/notes", None),
    ],
)
def test_without_a_store(fake_service: TestClient, method: str, path: str, body: Any) -> None:
    """The answer names the setting."""
    answer = fake_service.request(method, path, json=body)

    assert (501, "no_store") == (answer.status_code, answer.json()["code"])
    assert "--store" in answer.json()["error"]


def test_keys_are_asked_for(tmp_path: Path) -> None:
    """At every route, where there are some."""
    settings = GatewaySettings(store=str(tmp_path), api_keys="secret")
    with TestClient(create_app(settings, FakeTransport())) as service:
        statuses = [
            service.post("/search", json={"query": "a"}).status_code,
            service.post("/index", json={}).status_code,
            service.get("/collections").status_code,
            service.delete("/collections/notes").status_code,
        ]

    assert [401] * 4 == statuses


def test_a_store_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is told as such: it is not the caller's fault."""
    store = open_store(str(tmp_path))

    def fail() -> list[str]:
        raise StoreError("cannot be reached")

    monkeypatch.setattr(store, "names", fail)
    with TestClient(create_app(GatewaySettings(), FakeTransport(), store)) as service:
        answer = service.get("/collections")

    assert (503, "store_error") == (answer.status_code, answer.json()["code"])


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


def test_a_caller_that_goes_away(tmp_path: Path) -> None:
    """Leaves nothing behind: the same again does the rest, and all memory is given back."""
    transport = HeldTransport()
    app = create_app(GatewaySettings(store=str(tmp_path), ready_interval_seconds=0), transport)

    def send(timeout_seconds: float) -> dict[str, Any]:
        return index(httpx.Client(base_url=url, timeout=timeout_seconds))

    with live_app(app) as url:
        with pytest.raises(httpx.ReadTimeout):
            send(1.0)
        assert transport.asked.is_set()
        transport.released.set()
        report = send(10)
    gateway: Gateway = app.state.gateway

    assert (3, 0, 0) == counts(report)
    assert (0, 0) == (gateway.memory.used_bytes, gateway.scheduler.waiting_tokens)


def test_two_at_once_take_turns(tmp_path: Path) -> None:
    """The second finds what the first has written."""
    transport = HeldTransport()
    settings = GatewaySettings(store=str(tmp_path), ready_interval_seconds=0)
    reports: list[dict[str, Any]] = []
    with live_service(settings, transport) as url, httpx.Client(base_url=url) as client:
        threads = [threading.Thread(target=lambda: reports.append(index(client))) for _ in range(2)]
        threads[0].start()
        assert transport.asked.wait(10)
        threads[1].start()
        time.sleep(0.3)  # until it waits, or does not
        transport.released.set()
        for thread in threads:
            thread.join()

    assert [(3, 0, 0), (0, 0, 3)] == [counts(report) for report in reports]


def test_several_workers_cannot_share_a_folder(tmp_path: Path) -> None:
    """It is said before anything is started; a server they can share."""
    embedded = GatewaySettings(store=str(tmp_path), workers=2)

    with pytest.raises(InvalidInputError, match=r"embedded.*--workers is 2"):
        Workers(embedded, None, print, RestartPolicy())  # type: ignore[arg-type]
    check_store(embedded.model_copy(update={"store": "http://127.0.0.1:6333"}))


def test_a_library_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says what to install."""
    monkeypatch.setattr(
        "bgem3_client.command_line.requirements.find_spec",
        lambda name: None if name == "pypdfium2" else True,
    )

    with pytest.raises(MissingLibraryError, match=r"pip install 'bgem3-triton\[retrieval\]'"):
        create_app(GatewaySettings(store=str(tmp_path)), FakeTransport())


@pytest.mark.parametrize("model", [SearchRequest, IndexRequest, DocumentRequest])
def test_every_field_is_documented(model: type[BaseModel]) -> None:
    """In one of the tables of docs/http-search.md."""
    text = DOCUMENT.read_text(encoding="utf-8")
    cells = [row.split("|")[1] for row in text.splitlines() if row.startswith("| `")]
    documented = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}

    assert set() == model.model_fields.keys() - documented


def test_the_examples_of_the_document(service_with_store: TestClient) -> None:
    """Are answered, in their order."""
    text = DOCUMENT.read_text(encoding="utf-8")
    examples = re.findall(r"33330(/\w+) -d '(.*?)'\n```", text, re.DOTALL)
    answers = [service_with_store.post(path, content=body) for path, body in examples]

    assert [("/index", 200), ("/search", 200)] == [
        (path, answer.status_code) for (path, _), answer in zip(examples, answers, strict=True)
    ]


@pytest.mark.live
def test_in_front_of_a_live_triton(
    triton: Addresses, demo_repository: Path, tmp_path: Path
) -> None:
    """The right passage is first, and what matched is marked."""
    settings = GatewaySettings(
        triton=triton.grpc,
        tokenizer=demo_repository,
        ready_interval_seconds=0,
        store=str(tmp_path),
    )
    with live_service(settings) as url, httpx.Client(base_url=url, timeout=60) as client:
        index(client)
        hit = client.post("/search", json={"query": "Reset password"}).json()["hits"][0]
        metrics = client.get("/metrics").text

    assert "passwords.md" == hit["source"]
    marked = {hit["text"][mark["begin"] : mark["end"]].lower() for mark in hit["marks"]}
    assert {"reset", "password"} == marked
    assert 'route="/search"' in metrics


def test_an_empty_store_is_told_with_routes(service_with_store: TestClient) -> None:
    """Not with commands, which a caller over HTTP does not have."""
    answer = service_with_store.post("/search", json={"query": "a"})

    assert (404, "collection_not_found") == (answer.status_code, answer.json()["code"])
    assert "POST /index" in answer.json()["error"]
    assert "bgem3 index" not in answer.json()["error"]


def test_other_options_are_told_with_routes(service_with_store: TestClient) -> None:
    """As the request has them."""
    index(service_with_store)
    answer = service_with_store.post(
        "/index",
        json={"collection": "notes", "documents": DOCUMENTS, "options": {"max_tokens": 64}},
    )

    assert "made with max_tokens 512, not with max_tokens 64" in answer.json()["error"]
    assert "DELETE /collections/notes" in answer.json()["error"]


def test_what_a_store_needs_comes_with_the_extra() -> None:
    """What is looked for before the start is what is told to install."""
    project = tomllib.loads((DOCUMENT.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = {
        re.split(r"[^\w-]", requirement)[0].lower()
        for requirement in project["project"]["optional-dependencies"]["retrieval"]
    }
    distributions = packages_distributions()
    found = {name: {d.lower() for d in distributions[name]} for name in _LIBRARIES}

    assert [] == [name for name, owners in found.items() if not owners & wanted]
