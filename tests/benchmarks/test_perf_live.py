"""The real perf_analyzer against a live Triton."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bgem3_backend.contract import DENSE
from bgem3_bench.perf.binary import PerfAnalyzer, find_perf_analyzer
from bgem3_bench.perf.errors import PartialModelError, PerfAnalyzerMissingError
from bgem3_bench.perf.partial_model import partial_model
from bgem3_client import Client
from bgem3_client.address import Address
from bgem3_client.encode_request import EncodeOptions
from bgem3_client.errors import ModelNotFoundError

pytestmark = pytest.mark.live

ROOT = Path(__file__).parents[2]
BGEM3 = str(Path(sys.executable).with_name("bgem3"))
# Nothing is learned from these figures: a few answers, and any will do.
QUICK = ("--stability-percentage", "1000000", "--max-trials", "3")


@pytest.fixture(scope="module")
def perf_analyzer() -> PerfAnalyzer:
    """The program, fetched where it is not there yet."""
    try:
        return find_perf_analyzer()
    except PerfAnalyzerMissingError as error:
        pytest.skip(f"no perf_analyzer can run here: {error}")


def run(*command, folder, environment=None) -> str:
    """Run a command and return all that it prints."""
    result = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stdout
    return result.stdout


def test_dense_alone_over_a_range_of_both_kinds(perf_analyzer, triton, tmp_path):
    """Only the steps that dense needs run; everything is written, and printed."""
    printed = run(
        *(BGEM3, "perf", "--url", triton.grpc, "--outputs", "dense", "--output", "out"),
        *("--concurrency-range", "1,3", "--request-rate-range", "8"),
        *("--measurement-request-count", "12", "--max-length", "16", "--", *QUICK),
        folder=tmp_path,
    )

    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["complete"]
    assert str(perf_analyzer.program) == results["perf_analyzer"]["program"]
    assert results["work"]["most_tokens"] == 16
    rows = results["measurements"]
    assert [1, 3, None] == [row.get("concurrency") for row in rows]
    assert [None, None, 8] == [row.get("request_rate") for row in rows]
    for row in rows:
        assert ["bge_m3_tokenizer", "bge_m3_trunk"] == [step["model"] for step in row["steps"]]
        assert 0 < row["p50_milliseconds"] <= row["p99_milliseconds"]
        assert row["tokens_per_second"] > row["requests_per_second"] > 0
    report = (tmp_path / "out" / "report.md").read_text()
    assert report.removesuffix("\n![Latency over throughput](latency.png)\n") in printed
    assert {"latency.png", "latency.svg", "perf_analyzer.log", "report.md", "results.json"} == {
        file.name for file in (tmp_path / "out").iterdir()
    }


def test_everything_over_http_through_shared_memory(perf_analyzer, triton, tmp_path):
    """The regions are large enough for the largest answer; texts go several to a request."""
    run(
        *(BGEM3, "perf", "--url", triton.http, "--output", "out", "--texts-per-request", "3"),
        *("--concurrency-range", "2", "--shared-memory", "system"),
        *("--measurement-request-count", "12", "--", *QUICK),
        folder=tmp_path,
    )

    (row,) = json.loads((tmp_path / "out" / "results.json").read_text())["measurements"]
    assert "http" == row["protocol"]
    assert 3 * row["requests_per_second"] == pytest.approx(row["texts_per_second"])
    assert 5 == len(row["steps"])


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_part_of_the_model_is_there_for_a_while(triton, protocol):
    """It answers as the whole does, and is gone afterwards."""
    address = Address.parse(triton.grpc if protocol == "grpc" else triton.http)
    outputs = EncodeOptions(frozenset({"dense"})).tensors
    with Client(triton.grpc) as whole:
        expected = whole.encode(["a text"], {"dense"}).dense
    with partial_model(address, "bge_m3", outputs) as name, Client(triton.grpc, model=name) as part:
        dense = part.encode(["a text"], {"dense"}).dense

    np.testing.assert_array_equal(expected, dense)
    with Client(triton.grpc, model=name) as gone, pytest.raises(ModelNotFoundError):
        gone.encode(["a text"], {"dense"})


def test_a_part_of_no_model(triton):
    """What the server says, and what to do."""
    with (
        pytest.raises(PartialModelError, match=r"'nothing'.*--outputs all"),
        partial_model(Address.parse(triton.grpc), "nothing", (DENSE,)),
    ):
        pytest.fail("there is no such model")


def test_the_commands_of_the_readme(perf_analyzer, triton, tmp_path):
    """The input is written, and perf_analyzer takes it over both protocols."""
    readme = (ROOT / "README.md").read_text("utf-8")
    (block,) = (
        block
        for block in re.findall(r"```sh\n(.*?)```", readme, flags=re.DOTALL)
        if "--write-input" in block
    )
    addresses = {
        "127.0.0.1:8001": triton.grpc,
        "127.0.0.1:8000": triton.http.removeprefix("http://"),
    }
    for line in block.strip().splitlines():
        for default, actual in addresses.items():
            line = line.replace(default, actual)
        program, *arguments = shlex.split(line, comments=True)
        if program == "bgem3":
            run(BGEM3, *arguments, folder=tmp_path)
            continue
        printed = run(
            *(str(perf_analyzer.program), *arguments, "--measurement-mode", "count_windows"),
            *("--measurement-request-count", "16", *QUICK),
            folder=tmp_path,
            environment=perf_analyzer.environment(),
        )
        assert "Throughput: " in printed
