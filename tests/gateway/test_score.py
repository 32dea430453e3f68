"""Scores of pairs over HTTP."""

from __future__ import annotations

from typing import Any

import httpx
import numpy as np
import pytest
from starlette.testclient import TestClient
from texts import load_records

NAMES = ["colbert", "sparse", "dense", "sparse+dense", "colbert+sparse+dense"]


def score(service: httpx.Client, pairs: list[Any], **body: Any) -> dict[str, Any]:
    """Post a request that must succeed."""
    response = service.post("/score", json={"pairs": pairs, **body})

    assert 200 == response.status_code, response.text
    answer: dict[str, Any] = response.json()
    return answer


def some_pairs() -> list[tuple[str, str]]:
    """Of short texts in many languages; some share nothing, two are equal, one is empty."""
    texts = [record.text for record in load_records() if record.kind == "short"]
    strangers = [
        ("החומה נבנתה במאה השש עשרה על יסודות עתיקים בהרבה.", "بازیابی رمز عبور"),
        ("", "空"),
        (texts[0], texts[0]),
    ]
    return [*zip(texts[::20], texts[1::20], strict=False), *strangers]


@pytest.mark.live
def test_scores_are_flag_embeddings(service: httpx.Client, flag_embedding: Any) -> None:
    """All five scores of compute_score, each pair alone: its padding would count as vectors."""
    pairs, weights = some_pairs(), [0.4, 0.2, 0.5]
    expected = flag_embedding.compute_score(
        pairs, batch_size=1, weights_for_different_modes=weights
    )
    actual = score(service, pairs, weights=weights)["scores"]

    assert len(pairs) > 5
    assert set(expected) == set(actual) == set(NAMES)
    for name in NAMES:
        np.testing.assert_allclose(actual[name], expected[name], atol=1e-5)


@pytest.mark.live
def test_default_weights_are_equal(service: httpx.Client) -> None:
    """As those of compute_score."""
    scores = score(service, some_pairs())["scores"]
    dense, sparse, colbert = (np.array(scores[name]) for name in ("dense", "sparse", "colbert"))

    np.testing.assert_allclose(scores["sparse+dense"], (dense + sparse) / 2)
    np.testing.assert_allclose(scores["colbert+sparse+dense"], (dense + sparse + colbert) / 3)


def test_answer_has_a_score_a_pair(fake_service: TestClient) -> None:
    """In the order of the pairs; equal texts count once."""
    answer = score(fake_service, [["a b", "a"], ["c", "a"], ["a b", "a"]])

    assert NAMES == list(answer["scores"])
    assert all(3 == len(scores) for scores in answer["scores"].values())
    assert answer["scores"]["dense"][0] == answer["scores"]["dense"][2]
    assert answer["scores"]["dense"][0] > answer["scores"]["dense"][1]
    assert {"prompt_tokens": 10, "total_tokens": 10} == answer["usage"]
    assert "bge-m3" == answer["model"]


@pytest.mark.parametrize("scale", [5e-324, 1e-3, 5e307])
def test_weights_count_by_their_proportion(fake_service: TestClient, scale: float) -> None:
    """However small or large they are."""
    expected = score(fake_service, [["a b", "a"]])["scores"]
    scores = score(fake_service, [["a b", "a"]], weights=[scale, scale, scale])["scores"]

    assert expected["colbert+sparse+dense"] == pytest.approx(scores["colbert+sparse+dense"])


def test_truncation_is_said(fake_service: TestClient) -> None:
    """For each pair, whichever of its texts it was."""
    pairs = [["a b c", "a"], ["a", "a b c"], ["a", "a b"]]
    answer = score(fake_service, pairs, max_query_length=3, max_passage_length=4)

    assert [True, True, False] == answer["truncated"]


@pytest.mark.parametrize(
    ("body", "status", "words", "index"),
    [
        ({"pairs": []}, 422, "pairs is empty", None),
        ({"pairs": ["query", "passage"]}, 422, 'pairs: write a list of pairs: [["query"', None),
        ({"pairs": "query"}, 422, "pairs: write a list of pairs", None),
        ({"pairs": [["a", "b"], ["a"]]}, 422, "pairs[1]: a pair is", 1),
        ({"pairs": [["a", "b"], ["a", 5]]}, 422, "pairs[1]: a pair is", 1),
        ({"weights": [0, 0, 1]}, 422, "weights: dense and sparse have no weight", None),
        ({"weights": [0, 0, 0]}, 422, "weights: one weight at least", None),
        ({"weight": [1, 1, 1]}, 422, "weight: extra inputs are not permitted", None),
        ({"max_query_length": 1}, 422, "max_query_length: ", None),
        ({"model": "gpt-4"}, 404, "'gpt-4'", None),
        ({"pairs": [["a", "b"]] * 2049}, 413, "2049", None),
    ],
)
def test_mistakes_are_named(
    fake_service: TestClient, body: dict[str, Any], status: int, words: str, index: int | None
) -> None:
    """With what is wrong, where, and the right form."""
    response = fake_service.post("/score", json={"pairs": [["a", "b"]], **body})

    assert status == response.status_code, response.text
    assert words in response.json()["error"]
    assert index == response.json().get("index")


def test_text_that_is_no_text_is_named(fake_service: TestClient) -> None:
    """Half of a surrogate pair, which JSON can write and UTF-8 cannot."""
    response = fake_service.post("/score", content=rb'{"pairs": [["a", "b"], ["a", "\ud800"]]}')

    assert 422 == response.status_code
    assert response.json()["error"].startswith("pairs[1][1]: a text must be valid Unicode")
    assert 1 == response.json()["index"]
