"""``bgem3 perf``: options, and what it says; no server here."""

import json

import pytest
from click.testing import CliRunner

import bgem3_bench.perf.job
from bgem3_bench.perf.command import perf
from bgem3_bench.perf.errors import PerfAnalyzerMissingError
from bgem3_bench.perf.loads import parse_loads
from bgem3_client.errors import UnavailableError


def run(*arguments):
    """Run the command in this process."""
    return CliRunner().invoke(perf, arguments)


@pytest.fixture
def given(monkeypatch):
    """What a valid command line asks for; nothing is measured."""
    settings = []
    monkeypatch.setattr(bgem3_bench.perf.job, "run_job", settings.append)

    def given(*arguments):
        result = run(*arguments)
        assert result.exit_code == 0, result.output
        return settings[-1]

    return given


def test_by_default_the_three_representations_of_a_server_of_its_own(given):
    """At 1 to 64 requests under way."""
    settings = given()

    assert (None, None, ()) == (settings.repository, settings.url, settings.protocol)
    assert ("dense", "sparse", "colbert") == settings.asked_outputs
    assert parse_loads("1:64:x2", "concurrency") == settings.loads


def test_on_a_running_server_nothing_is_loaded_unless_asked_for(given):
    """perf_analyzer then asks for all that the model has."""
    assert () == given("--url", "127.0.0.1:8001").asked_outputs
    assert ("dense", "sparse") == given("--url", "x:1", "--outputs", "sparse,dense").asked_outputs
    assert () == given("--outputs", "all").asked_outputs


def test_options_behind_the_dashes_are_perf_analyzers(given):
    """With and without a repository before them."""
    alone = given("--", "--max-trials", "3")
    behind = given("models/demo", "--request-rate-range", "10,20", "--", "-s", "20")

    assert (None, ("--max-trials", "3")) == (alone.repository, alone.perf_analyzer_options)
    assert ("models/demo", ("-s", "20")) == (
        str(behind.repository),
        behind.perf_analyzer_options,
    )
    assert parse_loads("10,20", "request_rate") == behind.loads


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["models/demo", "--url", "127.0.0.1:8001"], "not both"),
        (["-i", "http", "--max-length", "512"], "over HTTP"),
        (["--url", "http://x:1", "--max-length", "512"], "over HTTP"),
        (["-i", "grpc", "-i", "grpc"], "twice"),
        (["--measurement-interval", "5", "--measurement-request-count", "5"], "not by both"),
        (["--concurrency-range", "8:1"], "before it starts"),
        (["--outputs", "dense,tokens"], "'tokens' is none of"),
    ],
)
def test_what_contradicts_itself_is_refused(arguments, reason):
    """Before anything is started."""
    result = run(*arguments)

    assert 2 == result.exit_code
    assert reason in result.output


@pytest.mark.parametrize(
    ("url", "arguments", "reason"),
    [
        ("bgem3://127.0.0.1:33330", [], "'bgem3 bench' measures the HTTP service"),
        ("https://127.0.0.1:8000", [], "encrypted"),
        ("127.0.0.1", [], "not a server address"),
        ("127.0.0.1:8001", ["-i", "grpc", "-i", "http"], "give -i once"),
        ("http://127.0.0.1:8000", ["-i", "grpc"], "contradicts"),
    ],
)
def test_addresses_that_cannot_be_measured(make_perf_analyzer, tmp_path, url, arguments, reason):
    """perf_analyzer speaks to Triton alone."""
    program = str(make_perf_analyzer("exit 0"))
    result = run("--url", url, *arguments, "--program", program, "-o", str(tmp_path / "out"))

    assert reason in str(result.exception)


def test_no_server_is_told_before_perf_analyzer_runs(make_perf_analyzer, tmp_path):
    """Over both protocols."""
    program = str(make_perf_analyzer('test "$1" = --version'))
    for url in ("127.0.0.1:1", "http://127.0.0.1:1"):
        result = run("--url", url, "--program", program, "-o", str(tmp_path / "out"))

        assert isinstance(result.exception, UnavailableError)
        assert "Start one with 'bgem3 serve'" in str(result.exception)


def test_which(make_perf_analyzer, monkeypatch):
    """The program, why it, and what it says of itself."""
    program = make_perf_analyzer("echo 'Perf Analyzer Version 9'")
    monkeypatch.setenv("BGEM3_PERF_ANALYZER", str(program))

    assert (
        f"program: {program}\nfound:   as asked for\nsays:    Perf Analyzer Version 9\n"
    ) == run("--which").output
    monkeypatch.setenv("BGEM3_PERF_ANALYZER", "/nowhere/perf_analyzer")
    assert isinstance(run("--which").exception, PerfAnalyzerMissingError)


def test_the_input_of_a_perf_analyzer_elsewhere(tmp_path):
    """Nothing is looked for and nothing started."""
    (tmp_path / "texts.txt").write_text("one\ntwo\n")
    result = run("--texts", f"{tmp_path}/texts.txt", "--write-input", f"{tmp_path}/texts.json")

    assert 0 == result.exit_code, result.output
    assert "2 requests, texts.txt" in result.output
    assert 2 == len(json.loads((tmp_path / "texts.json").read_text())["data"])
