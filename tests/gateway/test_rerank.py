"""Reranking as the clients of Cohere and Jina ask for it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import cohere
import httpx
import numpy as np
import pytest
from cohere.core.api_error import ApiError
from starlette.testclient import TestClient

QUERY = "如何重置微信支付密码"
DOCUMENTS = [
    "今天天气很好",
    "微信支付密码忘了怎么办",
    "",
    "How do I reset my WeChat Pay password?",
    "今天天气很好",
]
PATHS = ["/rerank", "/v1/rerank", "/v2/rerank"]


def rerank(
    service: httpx.Client, path: str = "/rerank", query: str = QUERY, **body: Any
) -> dict[str, Any]:
    """Post a request that must succeed."""
    response = service.post(path, json={"query": query, "documents": DOCUMENTS, **body})

    assert 200 == response.status_code, response.text
    answer: dict[str, Any] = response.json()
    return answer


def problem(service: httpx.Client, status: int, **body: Any) -> dict[str, Any]:
    """Post a request that must be refused."""
    # Escaped, since some bodies hold what UTF-8 cannot.
    content = json.dumps({"query": QUERY, "documents": DOCUMENTS, **body})
    response = service.post("/rerank", content=content)

    assert status == response.status_code, response.text
    answer: dict[str, Any] = response.json()
    return answer


@pytest.fixture(scope="module")
def expected(flag_embedding: Any) -> dict[str, list[float]]:
    """FlagEmbedding's scores of the documents."""
    scores: dict[str, list[float]] = flag_embedding.compute_score(
        [(QUERY, document) for document in DOCUMENTS],
        batch_size=1,
        weights_for_different_modes=[0.4, 0.2, 0.4],
    )
    return scores


@pytest.mark.live
@pytest.mark.parametrize("path", PATHS)
def test_scores_are_flag_embeddings(
    service: httpx.Client, expected: dict[str, list[float]], path: str
) -> None:
    """The default is compute_score with 0.4, 0.2 and 0.4; the best comes first."""
    results = rerank(service, path, return_scores=True)["results"]

    wanted = np.argsort(-np.array(expected["colbert+sparse+dense"]), kind="stable")
    assert wanted.tolist() == [result["index"] for result in results]
    for result in results:
        index = result["index"]
        assert expected["colbert+sparse+dense"][index] == pytest.approx(
            result["relevance_score"], abs=1e-5
        )
        for output, score in result["scores"].items():
            assert expected[output][index] == pytest.approx(score, abs=1e-5)


@pytest.mark.live
@pytest.mark.parametrize("weights", [{"dense": 0.7, "sparse": 0.3}, [7, 3, 0]])
def test_seventy_thirty(
    service: httpx.Client, expected: dict[str, list[float]], weights: object
) -> None:
    """Dense and sparse alone, by names or by numbers; weights need not add up to 1."""
    results = rerank(service, weights=weights, return_scores=True)["results"]

    for result in results:
        dense, sparse = expected["dense"][result["index"]], expected["sparse"][result["index"]]
        assert 0.7 * dense + 0.3 * sparse == pytest.approx(result["relevance_score"], abs=1e-5)
        assert ["dense", "sparse"] == list(result["scores"])


@pytest.fixture(scope="module")
def cohere_v1(service_url: str) -> Iterator[cohere.Client]:
    """Cohere's own client of the first version."""
    with httpx.Client() as http:
        yield cohere.Client("no key", base_url=service_url, httpx_client=http)


@pytest.fixture(scope="module")
def cohere_v2(service_url: str) -> Iterator[cohere.ClientV2]:
    """Cohere's own client of the second version."""
    with httpx.Client() as http:
        yield cohere.ClientV2("no key", base_url=service_url, httpx_client=http)


@pytest.mark.live
def test_cohere_client_v1(cohere_v1: cohere.Client) -> None:
    """Strings and objects, and what its types promise."""
    documents: list[Any] = [*DOCUMENTS[:4], {"text": DOCUMENTS[1], "title": "again"}]
    answer = cohere_v1.rerank(
        query=QUERY, documents=documents, top_n=3, return_documents=True, max_chunks_per_doc=10
    )

    assert 3 == len(answer.results)
    assert [1, 4] == [result.index for result in answer.results[:2]]
    assert answer.results[0].relevance_score == answer.results[1].relevance_score > 0.5
    assert DOCUMENTS[1] == answer.results[0].document.text
    assert "again" == answer.results[1].document.title
    assert answer.id
    assert "1" == answer.meta.api_version.version
    assert 1 == answer.meta.billed_units.search_units
    assert not answer.meta.warnings


@pytest.mark.live
def test_cohere_client_v2(cohere_v2: cohere.ClientV2) -> None:
    """Strings alone, a model that is named, and documents that are cut."""
    answer = cohere_v2.rerank(
        model="bge_m3", query=QUERY, documents=DOCUMENTS, top_n=2, max_tokens_per_doc=4
    )

    assert 2 == len(answer.results)
    assert "2" == answer.meta.api_version.version
    assert answer.meta.warnings == [
        "longer than allowed, and cut: documents[0], documents[1], documents[3], documents[4]"
    ]


@pytest.mark.live
def test_cohere_client_tells_errors_apart(cohere_v2: cohere.ClientV2) -> None:
    """By its own types, with our message inside."""
    with pytest.raises(cohere.NotFoundError, match=r"rerank-v3\.5.*bge_m3"):
        cohere_v2.rerank(model="rerank-v3.5", query=QUERY, documents=DOCUMENTS)
    with pytest.raises(cohere.UnprocessableEntityError, match=r"documents is empty"):
        cohere_v2.rerank(model="bge_m3", query=QUERY, documents=[])
    with pytest.raises(ApiError) as caught:
        cohere_v2.rerank(model="bge_m3", query=QUERY, documents=DOCUMENTS, top_n=0)
    assert "top_n" in caught.value.body["message"]


@pytest.mark.live
def test_jina_request(service: httpx.Client) -> None:
    """As Jina's users post it; their clients read each result's text without asking for it."""
    answer = rerank(service, "/v1/rerank", model="bge_m3", top_n=2)

    assert {"id", "model", "object", "results", "meta", "usage"} == answer.keys()
    assert answer["usage"]["total_tokens"] == answer["usage"]["prompt_tokens"] > 20
    first = answer["results"][0]
    assert {"index", "relevance_score", "document"} == first.keys()
    assert {"text": DOCUMENTS[first["index"]]} == first["document"]


def test_equal_scores_keep_their_order(fake_service: TestClient) -> None:
    """Of equal documents the earlier one comes first, and each is counted once."""
    documents = ["b", "a"] * 50
    answer = rerank(fake_service, query="a", documents=documents)

    expected = [*range(1, 100, 2), *range(0, 100, 2)]
    assert expected == [result["index"] for result in answer["results"]]
    assert 6 == answer["usage"]["total_tokens"]


@pytest.mark.parametrize("top_n", [1, 5, 100, None])
def test_top_n_bounds_the_results(fake_service: TestClient, top_n: int | None) -> None:
    """More than there are is all of them."""
    everything = rerank(fake_service)["results"]

    assert everything[:top_n] == rerank(fake_service, top_n=top_n)["results"]
    assert 5 == len(everything)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("asked", [True, False, None])
def test_documents_are_repeated_on_demand(
    fake_service: TestClient, path: str, asked: bool | None
) -> None:
    """Where a request does not say, as the path's clients expect; objects as they came."""
    documents = ["a", {"text": "b", "id": 7}]
    answer = rerank(fake_service, path, query="a", documents=documents, return_documents=asked)
    repeated = asked if asked is not None else path != "/v2/rerank"
    expected = [{"text": "a"}, {"text": "b", "id": 7}] if repeated else [None, None]

    assert expected == [result.get("document") for result in answer["results"]]


def test_rank_fields_say_what_is_scored(fake_service: TestClient) -> None:
    """In their order, a line each."""
    document = {"title": "red", "body": "apple", "note": "green"}
    answer = rerank(
        fake_service,
        query="red\napple",
        documents=["blue", document],
        rank_fields=["title", "body"],
        weights=[1, 0, 0],
    )

    assert 1 == answer["results"][0]["index"]
    assert 1 == pytest.approx(answer["results"][0]["relevance_score"])
    assert document == answer["results"][0]["document"]


def test_lengths_of_query_and_documents(fake_service: TestClient) -> None:
    """``max_length`` is for both, the others come before it, and what was cut is said."""
    documents = ["a b c d", "a b", "a b c"]

    def warnings(**lengths: int) -> list[str]:
        answer = rerank(fake_service, query="a b c", documents=documents, **lengths)
        found: list[str] = answer["meta"].get("warnings", [])
        return found

    cut = "longer than allowed, and cut: "
    assert [] == warnings()
    assert [cut + "query, documents[0], documents[2]"] == warnings(max_length=4)
    assert [cut + "documents[0]"] == warnings(max_query_length=10, max_length=5)
    assert [cut + "query"] == warnings(max_length=4, max_tokens_per_doc=100_000)


def test_many_cut_documents_are_counted(fake_service: TestClient) -> None:
    """The warning stays readable."""
    answer = rerank(fake_service, documents=["a b c"] * 100, query="a", max_tokens_per_doc=4)

    assert answer["meta"]["warnings"][0].endswith("documents[9] and 90 more")


def test_unknown_fields_are_ignored_and_said(fake_service: TestClient) -> None:
    """Clients send what other services know; a slip of the pen does not go unseen."""
    answer = rerank(fake_service, priority=3, weight=[1, 0, 0])

    assert ["fields unknown here, and ignored: priority, weight"] == answer["meta"]["warnings"]


@pytest.mark.parametrize(
    ("body", "words", "index"),
    [
        ({"query": None}, "query: input should be a valid string", None),
        ({"documents": []}, "documents is empty", None),
        ({"documents": "a"}, 'documents: write a list: ["a document"]', None),
        ({"documents": ["a", 5]}, "documents[1]: a document is a string or an object", 1),
        ({"documents": ["a", {"title": "b"}]}, "documents[1]: 'text' is missing", 1),
        ({"documents": ["a", {"text": 5}]}, "documents[1]: 'text' is no string", 1),
        ({"documents": [{"text": "a"}], "rank_fields": ["title"]}, "'title' is missing", 0),
        ({"top_n": 0}, "top_n: input should be greater than or equal to 1, not 0", None),
        ({"weights": [0, 0, 0]}, "weights: one weight at least must be above 0", None),
        ({"weights": [1, 1]}, "weights: not three numbers", None),
        ({"weights": [1, -1, 1]}, "weights: not three numbers of 0 or more", None),
        ({"weights": {}}, "weights: one weight at least must be above 0", None),
        ({"weights": {"bm25": 1}}, "weights: there is no representation 'bm25'", None),
        ({"weights": [1e308, 1e308, 1e308]}, "weights: ", None),
        ({"weights": [10**400, 1, 1]}, "weights: not three numbers", None),
        ({"documents": [{"a": "b"}], "rank_fields": ["\ud800"]}, r"'\ud800' is missing", 0),
        ({"max_length": 8193}, "max_length: input should be less than or equal to 8192", None),
        ({"max_tokens_per_doc": 1}, "max_tokens_per_doc: input should be greater", None),
    ],
)
def test_mistakes_are_named(
    fake_service: TestClient, body: dict[str, Any], words: str, index: int | None
) -> None:
    """In the fields that Cohere's, Jina's and text-embeddings-inference's clients read."""
    answer = problem(fake_service, 422, **body)

    assert words in answer["message"]
    assert answer["message"] == answer["detail"] == answer["error"]
    assert index == answer.get("index")


@pytest.mark.parametrize(
    "document",
    [
        rb'{"text": "a", "n": 1180591620717411303424}',
        rb'{"text": "a", "n": "\ud800"}',
        rb'{"text": "a", "\ud800": 1}',
        b'{"text": "a", "n": ' + b"[" * 500 + b"]" * 500 + b"}",
    ],
)
def test_document_that_cannot_be_repeated_is_refused(
    fake_service: TestClient, document: bytes
) -> None:
    """What Python can read and JSON cannot say again is named, before any work."""
    body = b'{"query": "a", "documents": ["a", ' + document + b"]"
    refused = fake_service.post("/v1/rerank", content=body + b"}")
    scored = fake_service.post("/v1/rerank", content=body + b', "return_documents": false}')

    assert 422 == refused.status_code
    assert refused.json()["message"].startswith("documents[1]: the object cannot be sent back")
    assert 200 == scored.status_code


def test_missing_query_is_named(fake_service: TestClient) -> None:
    """With the name of the field."""
    response = fake_service.post("/v2/rerank", json={"documents": ["a"]})

    assert 422 == response.status_code
    assert "query: field required" == response.json()["message"]


def test_other_models_are_refused(fake_service: TestClient) -> None:
    """The message lists the names that are known."""
    answer = problem(fake_service, 404, model="rerank-v3.5")

    assert "'rerank-v3.5'" in answer["message"]
    assert "'bge-m3'" in answer["message"]
    assert "model_not_found" == answer["code"]


def test_too_many_documents_are_refused(fake_service: TestClient) -> None:
    """With the figures."""
    answer = problem(fake_service, 413, documents=["a"] * 3000)

    assert (3000, 2048) == (answer["request_texts"], answer["limit_texts"])


def test_texts_are_answered_as_text_embeddings_inference_does(fake_service: TestClient) -> None:
    """The same path, told apart by the body; with the same scores."""
    response = fake_service.post("/rerank", json={"query": QUERY, "texts": DOCUMENTS})
    wanted = [
        (result["index"], result["relevance_score"]) for result in rerank(fake_service)["results"]
    ]

    assert 200 == response.status_code
    assert wanted == [(rank["index"], rank["score"]) for rank in response.json()]


def test_documented_examples_work(fake_service: TestClient) -> None:
    """Each as it stands."""
    paths = fake_service.get("/openapi.json").json()["paths"]
    tried = 0
    for path in [*PATHS, "/score"]:
        content = paths[path]["post"]["requestBody"]["content"]["application/json"]
        for example in content["examples"].values():
            response = fake_service.post(path, json=example["value"])
            tried += 1

            assert 200 == response.status_code, response.text
    assert 9 == tried
