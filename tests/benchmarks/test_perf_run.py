"""Running perf_analyzer: scripts stand in for it here, and fail in every way."""

import os
import signal
import threading
import time
from pathlib import Path

import psutil
import pytest
from new_process import call_in_new_process
from waiting import wait_until

from bgem3_bench.perf import run
from bgem3_bench.perf.binary import PerfAnalyzer
from bgem3_bench.perf.errors import PerfAnalyzerError, PerfAnalyzerTimeoutError
from bgem3_bench.perf.loads import Load
from bgem3_bench.perf.run import Runner, RunOptions, Window
from bgem3_client.address import Address

TRITON = Address.parse("127.0.0.1:8001")
EIGHT = Load("concurrency", 8)
REPORT = """cat > report.csv <<END
Concurrency,Inferences/Second,p50 latency,p90 latency,p95 latency,p99 latency
8,100.5,1000,2000,3000,4000
END
"""


@pytest.fixture
def folder(tmp_path) -> Path:
    """Where the script runs."""
    (tmp_path / "folder").mkdir()
    return tmp_path / "folder"


@pytest.fixture
def measure(make_perf_analyzer, folder, tmp_path):
    """Return a function that measures with a script."""

    def measure(script: str, load: Load = EIGHT, **options):
        return measure_with(make_perf_analyzer(script), folder, tmp_path / "log", load, **options)

    return measure


def measure_with(program: Path, folder: Path, log_file: Path, load: Load = EIGHT, **options):
    """Measure with a program that stands in for perf_analyzer."""
    settings = {"max_length": None, "shared_memory": "none", "output_bytes": 4096}
    settings |= {"window": Window(request_count=50), "timeout_seconds": 30.0, **options}
    analyzer = PerfAnalyzer(program, "a script", "1")
    runner = Runner(analyzer, folder, "texts.json", log_file, RunOptions(**settings))
    return runner.measure(TRITON, "bge_m3", load)


def wait_for(file: Path) -> None:
    """Wait until a script has written a file."""
    deadline = time.monotonic() + 20
    while not file.exists() or not file.read_text():
        assert time.monotonic() < deadline, f"no {file}"
        time.sleep(0.02)


def test_it_is_told_what_to_do(measure, folder, tmp_path):
    """And what it printed is kept, below its command line."""
    measurement = measure(
        'echo "$@" > arguments; echo hello\n' + REPORT,
        max_length=512,
        shared_memory="system",
        extra=("--percentile", "95"),
    )

    assert (100.5, True, True) == (
        measurement.figures.requests_per_second,
        measurement.stable,
        measurement.keeps_up,
    )
    assert (
        "-m bge_m3 -u 127.0.0.1:8001 -i grpc --input-data texts.json -f report.csv "
        "--concurrency-range 8 --measurement-mode count_windows --measurement-request-count 50 "
        "--max-trials 6 --request-parameter max_length:512:int --shared-memory system "
        "--output-shared-memory-size 4096 --percentile 95\n"
    ) == (folder / "arguments").read_text()
    assert (tmp_path / "log").read_text().endswith("--percentile 95\nhello\n")


def test_windows_by_time(measure, folder):
    """In milliseconds, as perf_analyzer takes them."""
    measure('echo "$@" > arguments\n' + REPORT, window=Window(interval_milliseconds=700))

    arguments = (folder / "arguments").read_text()
    assert "--measurement-interval 700 " in arguments
    assert "count_windows" not in arguments


def test_a_window_is_never_too_small_for_its_load():
    """Four answers for each request under way; two seconds of a rate."""
    window = Window(request_count=50)

    assert "256" == window.arguments(Load("concurrency", 64))[-1]
    assert "180" == window.arguments(Load("request_rate", 90))[-1]


def test_unstable_figures_are_marked(measure, folder):
    """perf_analyzer gives none; it is run again and told that any will do."""
    measurement = measure(
        'echo "$@" >> runs\ncase "$*" in *1000000*) ;; *) exit 2 ;; esac\n' + REPORT
    )

    assert (100.5, False) == (measurement.figures.requests_per_second, measurement.stable)
    assert 2 == len((folder / "runs").read_text().splitlines())


@pytest.mark.parametrize(("answered", "keeps_up"), [(100, True), (94, True), (70, False)])
def test_a_server_that_does_not_keep_up_is_told(measure, answered, keeps_up):
    """A few requests less are chance: they are sent at random."""
    report = REPORT.replace("Concurrency", "Request Rate").replace("8,100.5", f"100,{answered}")

    measurement = measure(report, load=Load("request_rate", 100))

    assert keeps_up == measurement.keeps_up


def test_a_failure_says_what_perf_analyzer_said(measure, tmp_path):
    """Without the pages about its options that it prints after a mistake."""
    with pytest.raises(PerfAnalyzerError) as failure:
        measure('printf "unrecognized option\\nUsage: perf_analyzer\\n\\t-m\\n" >&2; exit 99')

    assert (
        "perf_analyzer failed at concurrency 8 (exit status 99):\n  unrecognized option\n"
        f"All that it printed is in {tmp_path / 'log'}"
    ) == str(failure.value)


def test_a_crash_is_named(measure):
    """By its signal."""
    with pytest.raises(PerfAnalyzerError, match="killed by SIGSEGV"):
        measure("kill -SEGV $$")


def test_a_report_of_the_run_before_is_not_taken(measure):
    """Where a run writes none."""
    measure(REPORT)

    with pytest.raises(PerfAnalyzerError, match=r"no report\.csv"):
        measure("exit 0")


def test_a_report_of_other_loads_is_refused(measure):
    """As when an option of the user's asks for another range."""
    with pytest.raises(PerfAnalyzerError, match="reports concurrency 8: an option behind --"):
        measure(REPORT, load=Load("concurrency", 4))


def test_a_hanging_one_is_ended_with_all_that_it_started(measure, folder, monkeypatch):
    """Also where it does not listen to SIGINT."""
    monkeypatch.setattr(run, "_FINISH_SECONDS", 0.3)
    script = "trap '' INT\nsleep 100 &\necho $! $$ > pids\nwait\n"

    with pytest.raises(PerfAnalyzerTimeoutError, match=r"concurrency 8 after 3 s .*--timeout-sec"):
        # A busy machine takes its time to start a script.
        measure(script, timeout_seconds=3.0)

    pids = [int(pid) for pid in (folder / "pids").read_text().split()]
    # All are killed by now; what is not our own child may take a moment more to be gone.
    wait_until(lambda: not any(is_running(pid) for pid in pids))


def is_running(pid: int) -> bool:
    """Tell whether a process is there and has not ended."""
    try:
        return psutil.STATUS_ZOMBIE != psutil.Process(pid).status()
    except psutil.NoSuchProcess:
        return False


def test_an_interruption_lets_it_finish(make_perf_analyzer, folder, tmp_path):
    """It gets a SIGINT, on which it waits for the answers under way, and is waited for."""
    script = "trap 'echo done > finished; exit 0' INT\necho $$ > pid\nwhile :; do sleep 0.1; done\n"

    with pytest.raises(KeyboardInterrupt):
        call_in_new_process(
            interrupted_measurement, make_perf_analyzer(script), folder, tmp_path / "log"
        )

    assert "done\n" == (folder / "finished").read_text()
    assert not psutil.pid_exists(int((folder / "pid").read_text()))


def interrupted_measurement(program: Path, folder: Path, log_file: Path) -> None:
    """Measure, and be interrupted as soon as the program runs."""

    def interrupt() -> None:
        wait_for(folder / "pid")
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    measure_with(program, folder, log_file)
