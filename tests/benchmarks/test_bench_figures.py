"""Statistics, accuracy, and the figures and reports made from stored results."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from bgem3_bench.accuracy import compare
from bgem3_bench.command import bench
from bgem3_bench.errors import ResultsError, WorkError
from bgem3_bench.figures import Figures
from bgem3_bench.page import write_section
from bgem3_bench.report import report
from bgem3_bench.results import (
    Accuracy,
    Failure,
    Latency,
    LatencyRound,
    Limit,
    MachineDescription,
    MixDescription,
    ModelDescription,
    Pass,
    Results,
    RunDescription,
    SystemDescription,
    Throughput,
)
from bgem3_bench.spread import Percentiles, Spread


def test_a_spread_is_median_lowest_and_highest():
    """An even number of figures has its median between two."""
    assert Spread(2.5, 1, 4) == Spread.of([4, 1, 2, 3])
    with pytest.raises(ValueError, match="one figure"):
        Spread.of([])


def test_percentiles_are_figures_that_were_seen():
    """With a hundred requests p99 is the last but one."""
    assert Percentiles(50, 95, 99) == Percentiles.of(range(1, 101))
    assert Percentiles(7, 7, 7) == Percentiles.of([7])


def arrays(**changes):
    """Two texts, of two and one sparse entries, and of two and one ColBERT rows."""
    return {
        "dense": np.array([[1, 0], [0, 1]], np.float32),
        "sparse_indices": np.array([5, 9, 5]),
        "sparse_values": np.array([0.5, 0.25, 2.0], np.float32),
        "sparse_lengths": np.array([2, 1]),
        "colbert": np.array([[1, 0], [0, 1], [1, 0]], np.float32),
        "colbert_lengths": np.array([2, 1]),
        **changes,
    }


def test_equal_vectors_have_no_difference():
    """Cosine 1, difference 0; the length of a vector does not count."""
    accuracy = compare(arrays(), arrays(dense=np.array([[2, 0], [0, 3]], np.float32)))

    assert Accuracy(
        dense_cosine_smallest=1,
        dense_cosine_mean=1,
        sparse_difference_largest=0,
        colbert_cosine_smallest=1,
        colbert_cosine_mean=1,
    ) == (accuracy)


def test_differences_are_the_worst_of_all_texts():
    """A sparse weight counts relative to the largest of its text, a missing token as zero."""
    changed = arrays(
        dense=np.array([[1, 0], [0.6, 0.8]], np.float32),
        # Text 0: token 9 became token 8; text 1: 2.0 became 1.9.
        sparse_indices=np.array([5, 8, 5]),
        sparse_values=np.array([0.5, 0.05, 1.9], np.float32),
        colbert=np.array([[1, 0], [0, 1], [0.8, 0.6]], np.float32),
    )
    accuracy = compare(arrays(), changed)

    assert accuracy.dense_cosine_smallest == pytest.approx(0.8)
    assert accuracy.dense_cosine_mean == pytest.approx(0.9)
    assert accuracy.sparse_difference_largest == pytest.approx(0.5)
    assert accuracy.colbert_cosine_smallest == pytest.approx(0.8)


def test_what_cannot_be_compared_is_said():
    """Other tokens have no cosine; a system without an output has no figure for it."""
    other = arrays(colbert=np.ones((4, 2), np.float32), colbert_lengths=np.array([3, 1]))

    accuracy = compare(arrays(), other)
    assert accuracy.colbert_cosine_smallest is None
    assert "4 ColBERT vectors where the reference has 3" == accuracy.note
    assert compare(arrays(), {"dense": arrays()["dense"]}).sparse_difference_largest is None


def one_pass(number, seconds, **changes):
    figures = {
        "cpu_seconds": 2 * seconds,
        "tokens": 1000,
        "computed_tokens": 1250,
        "peak_bytes": 3_000_000_000,
    }
    return Pass(round=number, seconds=seconds, **(figures | changes))


@pytest.fixture
def results():
    """A run of a peer, our reference and a system that cannot be had, on one mix."""
    return Results(
        machine=MachineDescription(
            processor="A Processor",
            cores=4,
            features=("avx2",),
            memory_bytes=8 * 2**30,
            system="Linux",
            python="3.11",
            date="2026-11-22",
        ),
        model=ModelDescription(
            name="model",
            note="random weights",
            layers=2,
            hidden_size=64,
            linear_flop_per_token=1_000_000,
        ),
        run=RunDescription(
            version="0.1",
            threads=2,
            rounds=2,
            seed=0,
            started="2026-11-22T10:00:00+00:00",
            seconds=120,
            load_average=0.5,
            reference="ours",
            groups=(("peer", "ours"),),
            complete=True,
        ),
        mixes=(MixDescription(name="heavy_tail", description="texts", lengths=(200, 800)),),
        systems=(
            SystemDescription(name="peer", label="Peer", ours=False, worker="p", precision="fp32"),
            SystemDescription(
                name="ours",
                label="Ours",
                ours=True,
                worker="o",
                precision="bf16",
                startup_seconds=(3.0,),
                settings="as served",
            ),
            SystemDescription(
                name="gone",
                label="Gone",
                ours=False,
                worker="g",
                precision=None,
                failure=Failure(kind="not_installed", message="install it first"),
            ),
        ),
        throughput=(
            Throughput(
                system="peer",
                mix="heavy_tail",
                outputs="dense",
                batch_size=8,
                passes=(one_pass(0, 2.0, peak_bytes=9_000_000_000), one_pass(1, 2.5)),
                accuracy=Accuracy(dense_cosine_smallest=0.9999, dense_cosine_mean=0.99995),
            ),
            Throughput(
                system="ours",
                mix="heavy_tail",
                outputs="dense",
                batch_size=None,
                passes=(one_pass(0, 0.5), one_pass(1, 0.5)),
                accuracy=Accuracy(dense_cosine_smallest=1.0, dense_cosine_mean=1.0),
            ),
            Throughput(system="gone", mix="heavy_tail", outputs="dense", batch_size=None),
        ),
        latency=(
            Latency(
                system="ours",
                mix="heavy_tail",
                outputs="dense",
                concurrency=8,
                rounds=(LatencyRound(round=0, seconds=2, latencies_seconds=(0.01, 0.02)),),
            ),
        ),
        limits=tuple(
            Limit(
                round=number,
                mix="heavy_tail",
                outputs="dense",
                precision=precision,
                kernel="a kernel",
                flop_per_second=flop,
            )
            for number in (0, 1)
            for precision, flop in (("fp32", 1e9), ("bf16", 3e9 + number * 1e9))
        ),
    )


def test_figures_of_a_run(results):
    """Speeds with their spread, ratios to the peer, shares of the limit of each precision."""
    peer, ours, gone = Figures(results).throughput("dense", "heavy_tail")

    assert Spread(450, 400, 500) == peer.tokens_per_second
    assert Spread(2000, 2000, 2000) == ours.tokens_per_second
    assert 1 == peer.ratio
    assert 4.5 == ours.ratio
    assert peer.share_of_limit.median == pytest.approx(0.45)
    assert ours.share_of_limit.median == pytest.approx(0.5)
    assert 4500 == peer.cpu_seconds_per_million_tokens
    assert 0.8 == ours.padding_efficiency
    # Not that of the first round, in which the vectors are saved.
    assert 3_000_000_000 == peer.peak_bytes
    assert gone.tokens_per_second is None
    assert "not_installed" == gone.failure.kind


def test_cut_texts_do_not_count_as_speed(results):
    """A system that computes half of the tokens is not twice as fast."""
    cut = results.throughput[1].model_copy(
        update={"passes": (one_pass(0, 0.25, tokens=500, computed_tokens=500),)}
    )
    changed = results.model_copy(update={"throughput": (results.throughput[0], cut)})
    _, ours = Figures(changed).throughput("dense", "heavy_tail")

    assert 2000 == ours.tokens_per_second.median
    assert 500 == ours.missing_tokens
    assert 1 == ours.padding_efficiency
    assert "cut off 500 tokens" in report(Figures(changed), [])


def test_the_report_is_made_from_the_file_alone(results, tmp_path):
    """`bgem3 bench --report`: tables and pictures, and reasons for what is missing."""
    file = tmp_path / "results.json"
    results.write(file)
    output = tmp_path / "again"
    run = CliRunner().invoke(bench, ["--report", str(file), "--output", str(output)])

    assert 0 == run.exit_code, run.output
    assert results == Results.read(file)
    text = (output / "report.md").read_text()
    assert "**Random weights.**" in text
    assert "| Peer | 450 (400–500) **×1.00** |" in text
    assert "| Ours | 2,000 **×4.50** |" in text
    assert "| Gone | not installed |" in text
    assert "| Peer (8 texts) | 450 (400–500) | 0.90 | 0.999900 / 0.999950 | – | – | 3.00 |" in text
    assert "| 45% fp32 |" in text
    assert "| Ours | 8 | 10.0 (10.0–10.0) | 20.0 | 20.0 | 1.00 | 2 |" in text
    assert "- Gone, not installed: install it first" in text
    assert "Matrix-multiply limit, bf16: 4 GFLOP/s (3–4), a kernel" in text
    pictures = {"throughput_dense", "accuracy_dense", "latency_heavy_tail"}
    for suffix, beginning in ((".png", b"\x89PNG"), (".svg", b"<?xml")):
        files = {path.stem: path.read_bytes() for path in (output / "plots").glob(f"*{suffix}")}
        assert pictures == set(files)
        assert all(content.startswith(beginning) for content in files.values())
    for name in pictures:
        assert f"(plots/{name}.png)" in text


def test_a_run_that_was_stopped_says_so(results):
    """In the first lines."""
    run = results.run.model_copy(update={"complete": False, "notes": ("stopped by Ctrl-C",)})

    text = report(Figures(results.model_copy(update={"run": run})), [])

    assert "**Incomplete: stopped by Ctrl-C.**" in text[:300]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not a results file of this release"),
        (json.dumps({"format_version": 2}), "Input should be 1 at format_version"),
        (None, "cannot be read: No such file"),
    ],
)
def test_a_file_that_is_no_results(content, message, tmp_path):
    """What is wrong, and where."""
    file = tmp_path / "results.json"
    if content is not None:
        file.write_text(content)

    with pytest.raises(ResultsError, match=message):
        Results.read(file)


def test_a_section_of_a_page_is_replaced_and_the_rest_stays(results, tmp_path):
    """Pictures lie in a folder of the page's name; a backslash is no escape."""
    page = tmp_path / "page.md"
    marks = "<!-- bgem3 bench: model -->\nold\n<!-- end of bgem3 bench: model -->"
    page.write_text(f"before\n{marks}\nafter\n")
    plot = tmp_path / "plots" / "some.png"
    plot.parent.mkdir()
    plot.write_bytes(b"picture")
    run = results.run.model_copy(update={"notes": (r"\1",), "complete": False})
    figures = Figures(results.model_copy(update={"run": run}))
    write_section(page, figures, [plot])
    text = page.read_text()

    assert text.startswith("before\n<!-- bgem3 bench: model -->\n\n### model")
    assert text.endswith("\n<!-- end of bgem3 bench: model -->\nafter\n")
    assert "old" not in text
    assert r"\1" in text
    assert "(page/model/some.png)" in text
    assert b"picture" == (tmp_path / "page" / "model" / "some.png").read_bytes()


def test_a_page_without_marks_is_left_alone(results, tmp_path):
    """The message says which lines it needs."""
    page = tmp_path / "page.md"
    page.write_text("text")

    with pytest.raises(WorkError, match="needs the lines '<!-- bgem3 bench: model -->'"):
        write_section(page, Figures(results), [])
    assert "text" == page.read_text()
    with pytest.raises(WorkError, match=r"missing.md cannot be read: No such file"):
        write_section(tmp_path / "missing.md", Figures(results), [])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--systems", "nobody"], "there is no system called nobody"),
        (["--mixes", "novels"], "'novels' is none of queries, passages, heavy_tail, documents"),
        (["--outputs", "sparse"], "'sparse' is none of dense, all"),
        (["--concurrency", "1,none"], "is not a list of whole numbers from 1"),
    ],
)
def test_what_is_not_there_is_said_at_once(arguments, message):
    """Before anything is exported or started."""
    run = CliRunner().invoke(bench, arguments)

    assert run.exit_code != 0
    assert message in run.output + str(run.exception)


def test_the_list_has_every_system_and_mix():
    """With what each is."""
    run = CliRunner().invoke(bench, ["--list"])

    assert 0 == run.exit_code
    for name in ("flag-embedding-best", "in-process-onnxruntime-fp32", "triton-lists", "documents"):
        assert name in run.output
