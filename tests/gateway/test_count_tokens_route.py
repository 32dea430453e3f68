"""`POST /count_tokens`: what it takes, answers and refuses."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient


def test_a_length_for_each_text(fake_service: TestClient) -> None:
    """Special tokens included, longer than the model takes; in the order of the texts."""
    texts = ["one two three", "", "word " * 9000]
    answer = fake_service.post("/count_tokens", json={"texts": texts})

    assert 200 == answer.status_code
    assert {"model": "bge-m3", "token_lengths": [5, 2, 9002]} == answer.json()


def test_a_single_text(fake_service: TestClient) -> None:
    """Needs no list."""
    answer = fake_service.post("/count_tokens", json={"texts": "one two", "model": "bge_m3"})

    assert [4] == answer.json()["token_lengths"]


@pytest.mark.parametrize(
    ("body", "status", "code", "words"),
    [
        ({}, 422, "invalid_input", "texts"),
        ({"texts": []}, 422, "empty_input", "texts is empty"),
        ({"texts": ["a", 1]}, 422, "invalid_input", "token ids"),
        ({"texts": ["a"], "max_length": 5}, 422, "invalid_input", "max_length"),
        ({"texts": ["a"] * 2049}, 413, "too_large", "2049 texts"),
        ({"texts": ["a"], "model": "other"}, 404, "model_not_found", "other"),
    ],
)
def test_what_is_refused(
    fake_service: TestClient, body: dict[str, Any], status: int, code: str, words: str
) -> None:
    """With the status and code that the other routes have for it."""
    answer = fake_service.post("/count_tokens", json=body)

    assert (status, code) == (answer.status_code, answer.json()["code"])
    assert words in answer.json()["error"]


def test_a_text_that_no_utf_8_can_stand_for(fake_service: TestClient) -> None:
    """Its place is told."""
    answer = fake_service.post("/count_tokens", content=rb'{"texts": ["a", "\ud800"]}')

    assert (422, 1) == (answer.status_code, answer.json()["index"])


@pytest.mark.live
def test_the_model_counts_so(service: httpx.Client) -> None:
    """`/embed` finds the same lengths, where it cuts nothing."""
    texts = ["如何重置微信支付密码", "", "How do I reset my password? 🙂"]
    counted = service.post("/count_tokens", json={"texts": texts}).json()
    embedded = service.post("/embed", json={"texts": texts}).json()

    assert embedded["token_lengths"] == counted["token_lengths"]
