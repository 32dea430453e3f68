"""Reading what perf_analyzer writes; ``perf_analyzer_reports`` is what it wrote about a run."""

import shutil
from pathlib import Path

import pytest

from bgem3_bench.perf.errors import PerfAnalyzerError
from bgem3_bench.perf.loads import Load
from bgem3_bench.perf.results import Figures, StepTimes, read_report

REPORTS = Path(__file__).with_name("perf_analyzer_reports")


def test_a_range_of_concurrency():
    """Microseconds become milliseconds; the steps are in the order of the flow."""
    one, four = read_report(REPORTS / "concurrency", "bge_m3")

    assert [
        "bge_m3_tokenizer",
        "bge_m3_token_texts",
        "bge_m3_trunk",
        "bge_m3_sparse",
        "bge_m3_colbert",
    ] == [step.model for step in one.steps]
    assert Load("concurrency", 1) == one.load
    assert four == Figures(
        Load("concurrency", 4),
        requests_per_second=84.7626,
        p50_milliseconds=43.947,
        p90_milliseconds=69.590,
        p95_milliseconds=77.120,
        p99_milliseconds=93.950,
        steps=four.steps,
    )
    assert StepTimes("bge_m3_trunk", 8.475, pytest.approx(0.045 + 19.991 + 0.993)) == four.steps[2]


def test_a_range_of_request_rates():
    """Each row has the steps of its own load."""
    slow, fast = read_report(REPORTS / "request_rate", "bge_m3")

    assert (Load("request_rate", 20), Load("request_rate", 40)) == (slow.load, fast.load)
    assert (18.0585, 36.0513) == (slow.requests_per_second, fast.requests_per_second)
    assert (2.354, 8.175) == (
        slow.steps[2].queue_milliseconds,
        fast.steps[2].queue_milliseconds,
    )


def test_a_model_without_steps_has_its_own_times(tmp_path):
    """Those of the report itself."""
    shutil.copy(REPORTS / "concurrency" / "report.csv", tmp_path)

    one, _ = read_report(tmp_path, "model")

    assert (StepTimes("model", 0.002, pytest.approx(24.676)),) == one.steps


def test_a_server_that_says_nothing_about_itself(tmp_path):
    """Latencies are perf_analyzer's own."""
    (tmp_path / "report.csv").write_text(
        "Concurrency,Inferences/Second,Client Send,Client Recv,"
        "p50 latency,p90 latency,p95 latency,p99 latency\n2,10.5,1,2,1000,2000,3000,4000\n"
    )

    (figures,) = read_report(tmp_path, "model")

    assert (10.5, 4.0, ()) == (
        figures.requests_per_second,
        figures.p99_milliseconds,
        figures.steps,
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("Concurrency,Inferences/Second\n1,2\n", "'p50 latency'"),
        ("Concurrency,Inferences/Second,p50 latency\n1,2,fast\n", "'p50 latency'; .*fast"),
        ("Threads,Inferences/Second\n1,2\n", "'Concurrency' or 'Request Rate'"),
    ],
)
def test_a_report_of_another_kind_is_an_error(tmp_path, content, reason):
    """With the column that is missing, and what there is."""
    (tmp_path / "report.csv").write_text(content)

    with pytest.raises(PerfAnalyzerError, match=reason):
        read_report(tmp_path, "model")


def test_no_report_is_an_error(tmp_path):
    """As when an option of the user's sends it elsewhere."""
    with pytest.raises(PerfAnalyzerError, match=r"no report\.csv"):
        read_report(tmp_path, "model")
