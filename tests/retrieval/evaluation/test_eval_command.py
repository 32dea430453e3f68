"""``bgem3 eval``: tables, JSON, files, other people's runs, and what is wrong with an option."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from eval_run import EvalCommand, small_collection, write_rows

from bgem3_bench.errors import WorkerError
from bgem3_client import FakeTransport, InternalServerError
from bgem3_retrieval.evaluation import peers
from bgem3_retrieval.evaluation.systems import SYSTEM_NAMES

PNG = b"\x89PNG"


def test_tables_are_printed(eval_command: EvalCommand, collection: Path) -> None:
    """Quality of every system, by kind and language, and the buyer's table."""
    outcome = eval_command(collection, "--quick")

    assert 0 == outcome.exit_code
    for name in SYSTEM_NAMES:
        assert re.search(rf"^\| {re.escape(name)} \| \S+", outcome.stdout, re.MULTILINE)
    assert "nDCG@10, by kind of query | lexical (1) | plain (1)" in outcome.stdout
    assert "Keyword precision: P@1 over the 1 queries of kind 'lexical'" in outcome.stdout
    assert "3 documents, 0 of more than 5,000 characters" in outcome.stdout


def test_json_has_the_figures(eval_command: EvalCommand, collection: Path) -> None:
    """Words in common are what the fake server's vectors know, so its sparse weights are right."""
    collections = eval_command(collection, "--json", "--quick").json["collections"]
    systems = {system["name"]: system for system in collections[0]["systems"]}

    assert 1.0 == systems["sparse"]["measures"]["P@1"]
    assert 1.0 == systems["sparse"]["groups"]["language"]["zh"]["MRR@10"]
    assert 15 == len(collections[0]["comparisons"])
    (buyer,) = collections[0]["buyer"]
    assert 1.0 == buyer["keyword_precision"]
    assert systems["dense"]["measures"]["recall@10"] == buyer["dense_recall"]
    assert systems["dense+sparse+colbert"]["measures"]["MRR@10"] == buyer["hybrid_mrr"]
    assert ([], None) == (
        collections[0]["weight_searches"],
        systems["dense"]["documents_per_second"],
    )


def test_the_folder_has_report_plots_and_runs(eval_command: EvalCommand, collection: Path) -> None:
    """With the weight search of a collection that has enough queries."""
    more = [{"_id": f"q{n}", "text": "red fruit" if n % 2 else "水果"} for n in range(3, 30)]
    write_rows(collection / "queries.jsonl", more)
    lines = [f"q{n}\t{'apple' if n % 2 else '香蕉'}\t1\n" for n in range(3, 30)]
    (collection / "qrels" / "test.tsv").write_text("".join(lines))
    outcome = eval_command(collection, "-o", "out")
    out = eval_command.folder / "out"
    report = (out / "report.md").read_text()

    assert 0 == outcome.exit_code
    assert "report: out/report.md" in outcome.stderr
    pictures = re.findall(r"!\[[^]]*\]\(([^)]+)\)", report)
    assert ["plots/fruit/quality_speed.png", "plots/fruit/quality_weights.png"] == pictures
    assert all((out / name).read_bytes().startswith(PNG) for name in pictures)
    assert all((out / name).with_suffix(".svg").is_file() for name in pictures)
    assert "on 13 queries, drawn by seed 0, and are judged on the 14 others" in report
    assert {f"{name}.trec" for name in SYSTEM_NAMES} == {
        path.name for path in (out / "runs" / "fruit").iterdir()
    }
    (result,) = json.loads((out / "results.json").read_text())["collections"]
    assert result["systems"][0]["documents_per_second"] > 0
    assert result["buyer"][0]["long_all_per_second"] > 0
    assert "made by joining documents" in result["long_texts"]


def test_a_run_reads_back_as_a_system(eval_command: EvalCommand, collection: Path) -> None:
    """What was written for one evaluation is the same in another, without a server."""
    eval_command(collection, "--quick", "--systems", "sparse", "-o", "out")
    eval_command.transport = FakeTransport(script=[InternalServerError("not asked")])
    outcome = eval_command(
        *(collection, "--systems", "none", "--run", "theirs=out/runs/fruit/sparse.trec"),
        *("--run", "best=out/runs/fruit/sparse.trec", "--json"),
    )
    before = json.loads((eval_command.folder / "out" / "results.json").read_text())
    (result,) = outcome.json["collections"]

    assert [] == eval_command.transport.requests
    assert None is outcome.json["model"]
    assert ["theirs", "best"] == [system["name"] for system in result["systems"]]
    assert before["collections"][0]["systems"][0]["measures"] == result["systems"][0]["measures"]
    assert 1.0 == result["comparisons"][0]["p"]


def test_collections_of_one_name_are_told_apart(
    eval_command: EvalCommand, collection: Path
) -> None:
    """By their places."""
    other = small_collection(eval_command.folder / "other" / "fruit")
    results = eval_command(collection, other, "--quick", "--json").json

    assert ["fruit (1)", "fruit (2)"] == [item["name"] for item in results["collections"]]


def test_long_documents_are_measured_apart(eval_command: EvalCommand, collection: Path) -> None:
    """Speed with them, and the queries that they answer as a group."""
    path = collection / "corpus.jsonl"
    path.write_text(path.read_text().replace("a red fruit", "red " * 1500))
    outcome = eval_command(collection, "--systems", "dense,sparse", "--max-length", "64")

    assert "3 documents, 1 of more than 5,000 characters, 1 cut, " in outcome.stdout
    assert "1 of the 1 long document." in outcome.stdout
    assert "over 5,000 characters (1) | all others (1)" in outcome.stdout
    assert 64 == eval_command.transport.requests[-1].parameters["max_length"]


def test_a_peer_that_is_not_there_is_a_row(
    eval_command: EvalCommand, collection: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That says why."""

    def missing(*_: object, **__: object) -> None:
        raise WorkerError("not_installed", "install it")

    monkeypatch.setattr(peers, "running_peer", missing)
    outcome = eval_command(collection, "--quick", "--peers", "flag-embedding")

    assert 0 == outcome.exit_code
    assert "| flag-embedding | – |" in outcome.stdout
    assert "- flag-embedding: not installed (install it)" in outcome.stdout


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (["nowhere"], 2, "error: nowhere is no folder: a collection is a folder with corpus.jsonl"),
        (["fruit", "--split", "x"], 0, ""),
        (["fruit", "--systems", "dense,best"], 2, "there is no system called 'best'"),
        (["fruit", "--systems", "none"], 2, "--systems none compares run files"),
        (["fruit", "--weights", "1,2"], 2, "--weights are three numbers"),
        (["fruit", "--weights", "1,0,1"], 2, "the weights of dense+sparse must be above 0"),
        (["fruit", "--run", "bm25"], 2, "--run is NAME=FILE"),
        (["fruit", "--run", "dense=a.trec"], 2, "there is a system called 'dense' already"),
        (["fruit", "--run", "a=none.trec"], 2, "error: none.trec cannot be read: No such file"),
        (["fruit", "--run", "a=other.trec"], 2, "run 'a' has none of the queries of fruit"),
        (["fruit", "fruit", "--run", "a=other.trec"], 2, "--run belongs to one collection"),
        (["fruit", "--peers", "nobody"], 2, "there is no peer called 'nobody': choose some of"),
        (["fruit", "-o", "other.trec/x"], 1, "error: other.trec/x cannot be written"),
    ],
)
def test_a_mistake_is_named(
    eval_command: EvalCommand,
    collection: Path,
    arguments: list[str],
    exit_code: int,
    message: str,
) -> None:
    """And what to do about it; nothing is sent first where an option is wrong."""
    (eval_command.folder / "other.trec").write_text("other Q0 a 1 1.0 x\n")
    outcome = eval_command(*arguments, "--quick")

    assert exit_code == outcome.exit_code
    assert message in outcome.stderr
    assert exit_code != 2 or not eval_command.transport.requests


def test_a_text_that_cannot_be_encoded_is_named(
    eval_command: EvalCommand, collection: Path
) -> None:
    """By the id of its document."""
    path = collection / "corpus.jsonl"
    path.write_text(path.read_text().replace("yellow", "\\ud800"))
    outcome = eval_command(collection, "--quick")

    assert 2 == outcome.exit_code
    assert "error: document 'lemon': a text must be valid Unicode" in outcome.stderr


def test_a_server_that_fails_is_exit_code_1(eval_command: EvalCommand, collection: Path) -> None:
    """With what it said."""
    eval_command.transport = FakeTransport(script=[None, InternalServerError("out of order")])
    outcome = eval_command(collection, "--quick")

    assert (1, "error: out of order\n") == (outcome.exit_code, outcome.stderr)


def test_what_is_not_installed_is_said_where_it_is_asked_for(
    eval_command: EvalCommand, collection: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server is evaluated without what the peers need."""
    monkeypatch.delitem(sys.modules, "bgem3_retrieval.evaluation.peers", raising=False)
    monkeypatch.setitem(sys.modules, "filelock", None)
    for name in [name for name in sys.modules if name.startswith("bgem3_bench.peers")]:
        monkeypatch.delitem(sys.modules, name)
    outcome = eval_command(collection, "--quick", "--peers", "vllm")

    assert 0 == eval_command(collection, "--quick").exit_code
    assert (1, "error: --peers needs filelock: pip install 'bgem3-triton[all]'\n") == (
        outcome.exit_code,
        outcome.stderr,
    )


def test_a_task_without_mteb_says_what_to_install(
    eval_command: EvalCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And ends with 1."""
    monkeypatch.setitem(sys.modules, "mteb", None)
    outcome = eval_command("--task", "NFCorpus")

    assert 1 == outcome.exit_code
    assert "error: --task NFCorpus needs MTEB's own package: pip install mteb" in outcome.stderr
