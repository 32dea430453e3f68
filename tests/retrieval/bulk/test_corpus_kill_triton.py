"""SIGKILL of Triton, a real one with the demo model, while a corpus is encoded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from kill_moments import Kills, moment_count
from killable_triton import KillableTriton

pytestmark = pytest.mark.live

# One request at a time: what a server computes together decides how the last bits are rounded.
ARGUMENTS = [
    *("a.jsonl", "-o", "out/", "--outputs", "dense,sparse,colbert", "--in-flight", "1"),
    *("--shard-texts", "20", "--batch-texts", "4"),
]
LINES = 160

# The command; its first argument is how often a server that is away is looked for.
_PROCESS = """
import sys
from bgem3_client.command_line.main import main
from bgem3_client.retry_policy import RetryPolicy
from bgem3_retrieval.bulk.corpus import endpoint_pool, run

rests = endpoint_pool._RESTS
if int(sys.argv[1]) < rests.attempts:
    rests = RetryPolicy(attempts=int(sys.argv[1]), initial_backoff_seconds=0.1)
settings = endpoint_pool.PoolSettings
run.PoolSettings = lambda in_flight, timeout: settings(in_flight, timeout, rests)
sys.argv = ["bgem3", "encode", *sys.argv[2:]]
main()
"""
PATIENT, IMPATIENT = 9, 2


@contextmanager
def started(folder: Path, url: str, attempts: int = PATIENT) -> Iterator[subprocess.Popen[str]]:
    """The command, which has begun; it is killed at the end of the block."""
    with subprocess.Popen(
        [sys.executable, "-c", _PROCESS, str(attempts), *ARGUMENTS, "--url", url],
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    ) as process:
        try:
            give_up = time.monotonic() + 60
            while not (folder / "out" / "_manifest.json").exists():
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < give_up
                time.sleep(0.005)
            yield process
        finally:
            process.kill()


def finish(folder: Path, url: str) -> float:
    """Run the command to its end; return when it began."""
    with started(folder, url) as process:
        begun = time.monotonic()
        _, said = process.communicate(timeout=120)

    assert 3 == process.returncode, said
    return begun


def files(folder: Path) -> dict[str, bytes]:
    """Return the contents of all files of the output, hidden ones too."""
    return {path.name: path.read_bytes() for path in (folder / "out").iterdir()}


def test_triton_killed_at_random_moments(killable_triton: KillableTriton, tmp_path: Path) -> None:
    """It comes back and the run goes on, or it does not and the next run does the rest.

    In the end the folder is that of a run that was never disturbed, byte for byte.
    """
    source = tmp_path / "undisturbed"
    source.mkdir()
    lines = [
        "no JSON" if i % 50 == 7 else json.dumps({"text": f"text {'word ' * (i % 37)}{i}"})
        for i in range(LINES)
    ]
    (source / "a.jsonl").write_text("".join(f"{line}\n" for line in lines))
    killable_triton.start()
    url = killable_triton.addresses.grpc
    begun = finish(source, url)
    kills = Kills("Triton under bgem3 encode", time.monotonic() - begun, moment_count(1))
    expected = files(source)
    for number, seconds in enumerate(kills.moments()):
        work = tmp_path / str(number)
        work.mkdir()
        os.link(source / "a.jsonl", work / "a.jsonl")
        # The other way round than for `bgem3 index`, since a single moment is enough for most runs.
        if number % 2 == 0:
            _stays_away(kills, killable_triton, work, seconds)
        else:
            _comes_back(kills, killable_triton, work, seconds)

        assert expected == files(work)
    verified = subprocess.run(
        [Path(sys.executable).with_name("bgem3"), "encode", "--verify", "-o", "out/"],
        cwd=work,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert 0 == verified.returncode, verified.stderr
    assert kills.landed > 0, kills.report()
    kills.report()


def _comes_back(kills: Kills, triton: KillableTriton, folder: Path, seconds: float) -> None:
    """The command waits for it, and says so in one line."""
    with started(folder, triton.addresses.grpc) as process:
        begun = time.monotonic()
        time.sleep(seconds)
        killed = time.monotonic()
        triton.kill()
        triton.start()
        away_seconds = time.monotonic() - killed
        _, said = process.communicate(timeout=120)
    landed = "waiting for it" in said
    if landed:
        kills.landed += 1
        kills.extra_seconds.append(time.monotonic() - begun - kills.whole_seconds - away_seconds)

    assert 3 == process.returncode, said
    assert said.count("; waiting for it") == said.count(" is back") == landed, said
    # Beside these there is the summary, and how far it is, every half minute.
    lines = [line for line in said.splitlines() if " of the inputs, " not in line]
    assert len(lines) == 1 + 2 * landed, said


def _stays_away(kills: Kills, triton: KillableTriton, folder: Path, seconds: float) -> None:
    """The command ends with an error; when Triton is there again, the next one goes on."""
    with started(folder, triton.addresses.grpc, IMPATIENT) as process:
        time.sleep(seconds)
        triton.kill()
        _, said = process.communicate(timeout=120)
    triton.start()
    if process.returncode != 3:
        kills.landed += 1
        assert 1 == process.returncode, said
        assert "Traceback" not in said
        assert said.count("\nerror: ") == 1, said
        assert "The same command goes on from there" in said
    finish(folder, triton.addresses.grpc)
