"""Scores of candidates against the client's, in blocks of any size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from bgem3_client import Client, FakeTransport
from bgem3_client.encode_request import ALL_OUTPUTS, Output
from bgem3_retrieval.evaluation import block_scores, ranking
from bgem3_retrieval.evaluation.dataset import Dataset, MemoryCorpus, Query
from bgem3_retrieval.evaluation.encoder import Encoded, ServedEncoder
from bgem3_retrieval.evaluation.ranking import ScoredDataset, score_dataset
from bgem3_retrieval.evaluation.systems import chosen_systems

WORDS = ["red", "green", "blue", "apple", "lemon", "pear", "tree", "leaf", "root", "bark"]


def _texts(count: int, longest: int, seed: int) -> list[str]:
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(WORDS, random.integers(1, longest))) for _ in range(count)]


DOCUMENTS = _texts(150, 30, 1)
QUERIES = _texts(12, 5, 2)


def _dataset() -> Dataset:
    ids = [f"d{place}" for place in range(len(DOCUMENTS))]
    queries = tuple(Query(f"q{place}", text, {}) for place, text in enumerate(QUERIES))
    judgements = {query.id: {"d0": 1} for query in queries}
    return Dataset("words", MemoryCorpus(ids, DOCUMENTS), queries, judgements)


@dataclass
class Counting:
    """Counts what is encoded."""

    inner: ServedEncoder
    texts: int = 0
    outputs: frozenset[Output] = ALL_OUTPUTS

    def encode(self, texts: list[str], outputs: frozenset[Output]) -> Encoded:
        self.texts += len(texts)
        return self.inner.encode(texts, outputs)


def _scored(candidates: int, outputs: frozenset[Output] = ALL_OUTPUTS) -> tuple[ScoredDataset, int]:
    with Client(transport=FakeTransport()) as client:
        encoder = Counting(ServedEncoder(client, 8192, 60))
        return score_dataset(_dataset(), encoder, outputs, candidates), encoder.texts


def _expected() -> np.ndarray:
    """The client's own scores: [12, 150, 3]."""
    pairs = [(query, document) for query in QUERIES for document in DOCUMENTS]
    with Client(transport=FakeTransport()) as client:
        scores = client.compute_score(pairs)
    columns = [np.reshape(scores[name], (12, 150)) for name in ("dense", "sparse", "colbert")]
    return np.stack(columns, axis=2)


def test_scores_of_a_small_corpus_are_the_clients() -> None:
    """Of every document, by every representation, each text encoded once."""
    scored, encoded = _scored(200)

    assert scored.complete
    assert len(DOCUMENTS) + len(QUERIES) == encoded
    for query, candidates in enumerate(scored.candidates):
        assert list(range(150)) == candidates.rows.tolist()
        np.testing.assert_allclose(candidates.scores, _expected()[query], atol=2e-6)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """However little is looked at together."""
    whole, _ = _scored(200)
    monkeypatch.setattr(ranking, "_BLOCK_TEXTS", 7)
    monkeypatch.setattr(block_scores, "_CELLS_AT_ONCE", 50)
    cut, _ = _scored(200)

    for left, right in zip(whole.candidates, cut.candidates, strict=True):
        assert left.rows.tolist() == right.rows.tolist()
        np.testing.assert_allclose(left.scores, right.scores, atol=2e-6)


def test_a_larger_corpus_keeps_the_best_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """The union of the best by dense and by sparse, with all three scores."""
    monkeypatch.setattr(ranking, "_BLOCK_TEXTS", 16)
    scored, _ = _scored(10)
    expected = _expected()

    assert not scored.complete
    for query, candidates in enumerate(scored.candidates):
        kept = set(candidates.rows.tolist())
        assert 10 <= len(kept) <= 20
        for column in (0, 1):
            best = np.sort(expected[query, :, column])[-10:]
            found = np.sort(candidates.scores[:, column])[-10:]
            np.testing.assert_allclose(found, best, atol=2e-6)
        np.testing.assert_allclose(candidates.scores, expected[query][candidates.rows], atol=2e-6)


def test_only_what_is_asked_for_is_computed() -> None:
    """ColBERT alone in a large corpus needs the others to find its candidates."""
    dense, _ = _scored(200, frozenset({"dense"}))
    colbert, _ = _scored(10, frozenset({"colbert"}))

    assert np.isnan(dense.candidates[0].scores[:, 1:]).all()
    assert not np.isnan(colbert.candidates[0].scores).any()


def test_a_document_with_the_querys_id_is_not_found() -> None:
    """As BEIR has it: the query is one of the documents."""
    dataset = Dataset(
        "same",
        MemoryCorpus(["a", "b"], ["red", "red apple"]),
        (Query("a", "red", {}),),
        {"a": {"b": 1}},
    )
    with Client(transport=FakeTransport()) as client:
        scored = score_dataset(dataset, ServedEncoder(client, 8192, 60), ALL_OUTPUTS, 200)
    (dense,) = chosen_systems(["dense"])

    assert {"a": ["b"]} == {
        query: list(found) for query, found in dense.run(dataset, scored).items()
    }


def test_systems_rank_by_their_scores() -> None:
    """Singles by one, hybrids as ``compute_score`` adds up, sparse only what shares a token."""
    scored, _ = _scored(200)
    dataset, expected = _dataset(), _expected()
    systems = {
        system.name: system.run(dataset, scored, 150)
        for system in chosen_systems(
            ["dense", "sparse", "dense+sparse", "dense+sparse+colbert", "rrf"], (1.0, 3.0, 4.0)
        )
    }
    for query in range(len(QUERIES)):
        dense, sparse, colbert = expected[query].T
        found = {name: run[f"q{query}"] for name, run in systems.items()}

        assert {f"d{row}" for row in np.flatnonzero(sparse > 0)} == set(found["sparse"])
        assert (
            pytest.approx((dense[5] + 3 * sparse[5]) / 4, abs=1e-5) == found["dense+sparse"]["d5"]
        )
        assert (
            pytest.approx((dense[5] + 3 * sparse[5] + 4 * colbert[5]) / 8, abs=1e-5)
            == (found["dense+sparse+colbert"]["d5"])
        )
        assert f"d{np.argmax(dense)}" == next(iter(found["dense"])) or np.isclose(
            np.max(dense), next(iter(found["dense"].values())), atol=1e-6
        )
        ranks = [1 + int((column > column[5] + 1e-6).sum()) for column in (dense, sparse)]
        assert (
            pytest.approx(
                1 / (60 + ranks[0]) + (1 / (60 + ranks[1]) if sparse[5] > 0 else 0), abs=2e-4
            )
            == found["rrf"]["d5"]
        )
