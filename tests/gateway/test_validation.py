"""What is wrong with a body, in words and with the text's index."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from bgem3_client import FakeTransport
from bgem3_server.gateway.app import create_app
from bgem3_server.gateway.settings import GatewaySettings


@pytest.mark.parametrize(
    ("path", "body", "complaint", "index"),
    [
        ("/embed", {"texts": ["a", "b", 5]}, "texts[2]: ", 2),
        ("/v1/embeddings", {"input": "a", "outputs": ["dense", "nothing"]}, "outputs[1]: ", None),
        ("/rerank", {"query": "a", "documents": ["b", 7]}, "documents[1]", 1),
        ("/score", {"pairs": [["a", "b"], ["c"]]}, "pairs[1]", 1),
        ("/embed", {"texts": ["a"], "max_length": "many"}, "max_length: ", None),
    ],
)
def test_place_is_named_and_texts_have_an_index(
    fake_service: TestClient, path: str, body: dict[str, object], complaint: str, index: int | None
) -> None:
    """The index is that of a text, and of nothing else."""
    answer = fake_service.post(path, json=body).json()
    answer = answer["error"] if isinstance(answer["error"], dict) else answer

    assert complaint in (answer.get("message") or answer["error"])
    assert index == answer.get("index")


def test_body_that_is_not_json(fake_service: TestClient) -> None:
    """The place is told in words."""
    answer = fake_service.post("/embed", content=b'{"texts": ["a"')

    assert 422 == answer.status_code
    assert answer.json()["error"].startswith("the body is not JSON: ")
    assert "at character" in answer.json()["error"]
    assert "index" not in answer.json()


def test_a_bad_condition_has_its_place(tmp_path: Path) -> None:
    """Which of the conditions it is, and where in it, in characters."""
    body = {
        "query": "a",
        "where": ["page>=3", {"field": "a", "operator": "==", "value": 1}, "语=1"],
    }
    settings = GatewaySettings(store=str(tmp_path))
    with TestClient(create_app(settings, FakeTransport())) as service:
        answer = service.post("/search", json=body)

    assert 422 == answer.status_code
    problem = answer.json()
    place = {name: problem[name] for name in ("code", "field", "index", "position")}
    assert {"code": "invalid_input", "field": "where", "index": 2, "position": 1} == place
