"""``bgem3 encode`` into a folder, killed and interrupted: what was whole stays, and it goes on."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from corpus_run import process_arguments
from kill_moments import Kills, moment_count

ARGUMENTS = ["a.jsonl", "-o", "out/", "--shard-texts", "20", "--batch-texts", "4"]
DELAY_SECONDS = 0.08
LINES = 300
# The tests' own modules are not the child's.
ENVIRONMENT = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}


def start(folder: Path, delay_seconds: float = DELAY_SECONDS) -> subprocess.Popen[str]:
    """Start the command in a process."""
    return subprocess.Popen(
        process_arguments(delay_seconds, ARGUMENTS),
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )


def files(folder: Path) -> dict[str, bytes]:
    """Return the contents of all files of the output, hidden ones too."""
    return {path.name: path.read_bytes() for path in (folder / "out").iterdir()}


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    """Return when a file is there."""
    give_up = time.monotonic() + 30
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < give_up
        time.sleep(0.005)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes], float]:
    """A folder with the corpus; what comes of it, and in how many seconds from the manifest on."""
    folder = tmp_path_factory.mktemp("undisturbed")
    lines = [
        "no JSON" if i % 50 == 7 else json.dumps({"text": f"text {'x ' * (i % 9)}{i}"})
        for i in range(LINES)
    ]
    (folder / "a.jsonl").write_text("".join(f"{line}\n" for line in lines))
    process = start(folder)
    wait_for(folder / "out" / "_manifest.json", process)
    started = time.monotonic()
    _, said = process.communicate(timeout=60)

    assert 3 == process.returncode, said
    return folder, files(folder), time.monotonic() - started


def test_killed_and_run_again(
    undisturbed: tuple[Path, dict[str, bytes], float], tmp_path: Path
) -> None:
    """Whenever that was, the folder is that of an undisturbed run, byte for byte."""
    source, expected, seconds = undisturbed
    kills = Kills("the process of bgem3 encode", seconds, moment_count(2))
    for moment, after_seconds in enumerate(kills.moments()):
        work = tmp_path / str(moment)
        work.mkdir()
        os.link(source / "a.jsonl", work / "a.jsonl")
        process = start(work)
        wait_for(work / "out", process)
        time.sleep(after_seconds)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        kills.landed += process.returncode == -signal.SIGKILL
        manifest = work / "out" / "_manifest.json"
        shards = json.loads(manifest.read_text())["shards"] if manifest.exists() else []
        before = {shard["file"]: (work / "out" / shard["file"]).stat().st_ino for shard in shards}
        print(f"killed with {len(shards)} whole shards", file=sys.stderr)
        again = start(work)
        _, said = again.communicate(timeout=60)

        assert 3 == again.returncode, said
        assert expected == files(work)
        # What was whole was not written again.
        assert before == {name: (work / "out" / name).stat().st_ino for name in before}
    assert kills.landed > 0, kills.report()
    kills.report()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_says_how_to_go_on(
    undisturbed: tuple[Path, dict[str, bytes], float], tmp_path: Path, number: signal.Signals
) -> None:
    """The shard under way is dropped, and nothing of it is left; the next run goes on."""
    source, expected, _ = undisturbed
    os.link(source / "a.jsonl", tmp_path / "a.jsonl")
    process = start(tmp_path)
    wait_for(tmp_path / "out" / "part-00001.parquet", process)
    process.send_signal(number)
    _, said = process.communicate(timeout=20)
    kept = re.search(
        r"^interrupted; whole in out/: (\d+) shards \((\d+) rows\)\. The same command goes on",
        said,
        re.MULTILINE,
    )
    shards = [name for name in files(tmp_path) if name.startswith("part-")]

    assert 130 == process.returncode
    assert kept, said
    assert len(shards) == int(kept[1])
    assert not [name for name in files(tmp_path) if name.endswith(".partial")]
    assert 3 == subprocess.call(
        process_arguments(0, ARGUMENTS), cwd=tmp_path, stderr=subprocess.DEVNULL, env=ENVIRONMENT
    )
    assert expected == files(tmp_path)


def test_a_full_disk_is_said_and_nothing_half_is_taken_for_whole(
    undisturbed: tuple[Path, dict[str, bytes], float], tmp_path: Path
) -> None:
    """Here a limit on the size of files: the system refuses what is over it."""
    source, expected, _ = undisturbed
    os.link(source / "a.jsonl", tmp_path / "a.jsonl")
    limited = 'ulimit -f 2; exec "$@"'  # blocks of 1024 bytes
    command = ["bash", "-c", limited, "bash", *process_arguments(0, ARGUMENTS)]
    process = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=60, env=ENVIRONMENT
    )
    left = files(tmp_path)
    again = subprocess.call(
        process_arguments(0, ARGUMENTS), cwd=tmp_path, stderr=subprocess.DEVNULL, env=ENVIRONMENT
    )

    assert 1 == process.returncode
    assert "OutputError: out/part-00000.parquet cannot be written: File too large" in process.stderr
    assert not [name for name in left if "part-" in name]
    assert [] == json.loads(left["_manifest.json"])["shards"]
    assert 3 == again
    assert expected == files(tmp_path)
