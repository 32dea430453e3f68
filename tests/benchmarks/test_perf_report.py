"""What is made of measurements."""

from pathlib import Path

import pytest

from bgem3_bench.perf.binary import PerfAnalyzer
from bgem3_bench.perf.input_data import Work
from bgem3_bench.perf.loads import Load
from bgem3_bench.perf.plot import latency_figure, plot
from bgem3_bench.perf.report import Setup, as_json, latency_tables, markdown, step_tables
from bgem3_bench.perf.results import Figures, StepTimes
from bgem3_bench.perf.run import Measurement, RunOptions, Window

ONE_TEXT = Work("here", (("a",), ("b",)), ((4,), (6,)))
TWO_TEXTS = Work("here", (("a", "b"),), ((4, 6),))


def measured(protocol, load, *, stable=True, keeps_up=True, steps=()):
    """A measurement of 10 requests a second."""
    figures = Figures(load, 10.0, 1.0, 2.0, 3.0, 4.0, steps)
    return Measurement(protocol, figures, stable, keeps_up)


MEASUREMENTS = [
    measured("http", Load("concurrency", 1)),
    measured("grpc", Load("concurrency", 1)),
    measured("grpc", Load("request_rate", 20), keeps_up=False),
    measured("grpc", Load("concurrency", 8), stable=False),
]


def test_the_table_has_tokens_a_second():
    """Requests a second times the tokens of a request, on average."""
    table = latency_tables([measured("grpc", Load("concurrency", 8))], ONE_TEXT)

    assert (
        "| protocol | concurrency | requests/s | tokens/s | p50 ms | p95 ms | p99 ms |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n"
        "| gRPC | 8 | 10.0 | 50 | 1.0 | 3.0 | 4.0 |"
    ) == table


def test_requests_of_several_texts_are_counted_in_texts_too():
    """Where a request is one text the column would say the same twice."""
    table = latency_tables([measured("grpc", Load("concurrency", 8))], TWO_TEXTS)

    assert "| gRPC | 8 | 10.0 | 20 | 100 | 1.0 | 3.0 | 4.0 |" in table


def test_each_kind_of_load_has_its_table_and_doubtful_figures_their_mark():
    """Marks are explained below, and only where there are any."""
    tables = latency_tables(MEASUREMENTS, ONE_TEXT)

    rows = [line.split(" | ")[:3] for line in tables.splitlines() if line.startswith("| ")]
    assert [
        ["| gRPC", "1", "10.0"],
        ["| gRPC", "8", "10.0 \\*"],
        ["| HTTP", "1", "10.0"],
    ] == rows[2:5]
    assert ["| gRPC", "20", "10.0 †"] == rows[-1]
    assert "\n\n\\* not stable" in tables
    assert "\n\n† the server did not keep up" in tables
    assert "not stable" not in latency_tables(MEASUREMENTS[:2], ONE_TEXT)


def test_the_steps_of_the_server():
    """Waiting and computing; a dash where a model did not run."""
    both = (StepTimes("tokenizer", 0.25, 1.0), StepTimes("trunk", 20.0, 10.5))
    table = step_tables(
        [
            measured("grpc", Load("concurrency", 1), steps=both),
            measured("grpc", Load("concurrency", 8), steps=both[:1]),
        ]
    )

    assert table.splitlines()[0] == "| protocol | concurrency | tokenizer | trunk |"
    assert "| gRPC | 1 | 0.2 + 1.0 | 20.0 + 10.5 |" in table
    assert "| gRPC | 8 | 0.2 + 1.0 | - |" in table
    assert "" == step_tables(MEASUREMENTS)


@pytest.fixture
def setup() -> Setup:
    """A measurement of everything."""
    options = RunOptions(Window(request_count=50), 512, "system", 4096, 60.0, ("-s", "20"))
    program = PerfAnalyzer(Path("/bin/perf_analyzer"), "on PATH", "2.60")
    return Setup(program, "a server", "title", "bge_m3", (), ONE_TEXT, options, busy=0.5)


def test_the_report_says_how_it_was_measured(setup):
    """And that it is not complete, where it is not."""
    report = markdown(setup, MEASUREMENTS, complete=True)

    assert "- Outputs: everything that bge_m3 has, as perf_analyzer always does\n" in report
    assert (
        "- Measured in: three windows of 50 requests or more; max_length 512; system shared "
        "memory; options of perf_analyzer: -s 20\n"
    ) in report
    assert "Not complete" not in report
    assert "**Not complete**" in markdown(setup, MEASUREMENTS, complete=False)


def test_programs_get_the_same_figures(setup):
    """With the load under its own name."""
    document = as_json(setup, MEASUREMENTS[2:3], complete=False)

    (row,) = document["measurements"]
    assert not document["complete"]
    assert "2.60" == document["perf_analyzer"]["version"]
    assert ("grpc", 20, 50.0, False) == (
        row["protocol"],
        row["request_rate"],
        row["tokens_per_second"],
        row["keeps_up"],
    )


def test_the_plot_has_a_panel_for_each_series(tmp_path):
    """With every load written at its point, and a legend that explains hollow points."""
    drawing = latency_figure(MEASUREMENTS, "title")

    panels = drawing.get_axes()
    assert [["1", "8"], ["1"], ["20"]] == [
        [text.get_text() for text in panel.texts] for panel in panels
    ]
    legend = panels[0].get_legend()
    assert legend is not None
    assert ["p99", "p95", "p50", "not stable"] == [text.get_text() for text in legend.get_texts()]
    assert ["latency.png", "latency.svg"] == [
        file.name for file in plot(MEASUREMENTS, "title", tmp_path / "latency")
    ]
    assert (tmp_path / "latency.png").stat().st_size > 10_000
