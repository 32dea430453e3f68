"""MTEB's own package: its tasks as collections, and our server as its model."""

from __future__ import annotations

from typing import Any

import datasets
import mteb
import pytest
from eval_run import EvalCommand
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.task_metadata import TaskMetadata

from bgem3_client import Client, FakeTransport
from bgem3_retrieval.evaluation.mteb_model import ServedModel

DOCUMENTS = {
    "apple": ("Apple", "a red fruit"),
    "lemon": ("", "a yellow fruit"),
    "leaf": ("", "green and thin"),
}
QUERIES = {"q1": "red fruit", "q2": "yellow", "q3": "what is green"}
RELEVANT = {"q1": {"apple": 1}, "q2": {"lemon": 1}, "q3": {"leaf": 1}}


class LocalTask(AbsTaskRetrieval):
    """A task whose data are here: no hub is asked."""

    metadata = TaskMetadata(
        name="LocalRetrieval",
        dataset={"path": "local/none", "revision": "1"},
        description="Three documents.",
        type="Retrieval",
        category="t2t",
        modalities=["text"],
        eval_splits=["test"],
        eval_langs=["eng-Latn"],
        main_score="ndcg_at_10",
        reference=None,
        date=None,
        domains=None,
        task_subtypes=None,
        license=None,
        annotations_creators=None,
        dialect=None,
        sample_creation=None,
        bibtex_citation=None,
    )

    def load_data(self, num_proc: int | None = None, **_: Any) -> None:
        """Make the data."""
        self.dataset = {
            "default": {
                "test": {
                    "corpus": datasets.Dataset.from_list(
                        [
                            {"id": name, "title": title, "text": text}
                            for name, (title, text) in DOCUMENTS.items()
                        ]
                    ),
                    "queries": datasets.Dataset.from_list(
                        [{"id": name, "text": text} for name, text in QUERIES.items()]
                    ),
                    "relevant_docs": RELEVANT,
                    "top_ranked": None,
                }
            }
        }
        self.data_loaded = True


def test_mteb_evaluates_the_served_model() -> None:
    """Its encoder protocol, its loaders and its scores, over our client."""
    transport = FakeTransport(hidden_size=256)
    with Client(transport=transport) as client:
        model = ServedModel(client, "our/fake", max_length=64)
        results = mteb.evaluate(model, LocalTask(), cache=None, show_progress_bar=False)
    (scores,) = results.task_results[0].scores["test"]
    sent = [text.decode() for request in transport.requests for text in request.texts]

    assert 1.0 == scores["main_score"]
    assert {"Apple a red fruit", *QUERIES.values()} <= set(sent)
    assert {64} == {request.parameters["max_length"] for request in transport.requests}
    assert ("our/fake", "1", 256) == (
        model.mteb_model_meta.name,
        model.mteb_model_meta.revision,
        model.mteb_model_meta.embed_dim,
    )


def test_a_task_is_a_collection(eval_command: EvalCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluated by its name, with the same dense nDCG@10 as MTEB's."""
    monkeypatch.setattr(mteb, "get_task", lambda name: LocalTask())
    (result,) = eval_command(
        "--task", "LocalRetrieval", "--json", "--quick", "--split", "anything"
    ).json["collections"]
    with Client(transport=FakeTransport()) as client:
        theirs = mteb.evaluate(
            ServedModel(client, "our/fake"), LocalTask(), cache=None, show_progress_bar=False
        )

    assert ("LocalRetrieval", 3, 3) == (result["name"], result["documents"], result["queries"])
    assert (
        pytest.approx(theirs.task_results[0].scores["test"][0]["ndcg_at_10"], abs=1e-4)
        == (result["systems"][0]["measures"]["nDCG@10"])
    )


def test_a_task_that_cannot_be_fetched_says_so(
    eval_command: EvalCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what to do instead."""

    def unreachable(self: LocalTask, **_: Any) -> None:
        raise ConnectionError("Couldn't reach the Hub\nand more")

    monkeypatch.setattr(LocalTask, "load_data", unreachable)
    monkeypatch.setattr(mteb, "get_task", lambda name: LocalTask())
    outcome = eval_command("--task", "LocalRetrieval")

    assert 1 == outcome.exit_code
    assert (
        "error: LocalRetrieval cannot be fetched from its hub (Couldn't reach the Hub). Where no "
        "hub can be reached, copy the collection in BEIR's layout and name its folder\n"
    ) == outcome.stderr


def test_a_task_that_is_none_is_named(eval_command: EvalCommand) -> None:
    """One that MTEB does not have, and one of another kind."""
    assert (2, True) == _outcome(eval_command("--task", "NoSuchTask"), "MTEB has no task")
    assert (2, True) == _outcome(eval_command("--task", "STS12"), "STS12 is a task of STS")


def _outcome(outcome: Any, words: str) -> tuple[int, bool]:
    return outcome.exit_code, words in outcome.stderr
