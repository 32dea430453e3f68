"""Search all targets for what they should not do: ``search.py [--cases N] [TARGET ...]``.

A process for each target, which libFuzzer searches; another takes its place after a finding. A
table says at the end how many cases there were, and the exit status is 1 where one is a finding.
"""

from __future__ import annotations

import argparse
import logging
import re
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import structlog
from fuzz.catalogue import GROUPS, targets_of
from fuzz.target import Target

_FOLDER = Path(__file__).parent
# A case may take so long, and its process have so much memory; whatever it reads is small.
_CASE_SECONDS = 20
_MEMORY_MIB = 4096
_MOST_BYTES = 16_384
# After so many findings a target is mended first.
_MOST_FINDINGS = 5
_FOUND = 77


@dataclass
class _Search:
    """What has come of a target."""

    group: str
    target: Target
    cases: int = 0
    seconds: float = 0.0
    findings: list[Path] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    def run(self, cases: int, limit_seconds: float, folder: Path) -> None:
        """Search until there were so many cases, or so much time has passed."""
        seeds = folder / "seeds" / self.target.name
        seeds.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(self.target.seeds):
            (seeds / f"seed-{number}").write_bytes(seed)
        words = folder / f"{self.target.name}.words"
        words.write_text("".join(map(_entry, self.target.words)) or _entry(b"a"))
        began = time.monotonic()
        while (
            self.cases < cases
            and (left := limit_seconds - (time.monotonic() - began)) > 1
            and len(self.findings) < _MOST_FINDINGS
        ):
            self._once(cases - self.cases, left, seeds, words, folder)
        self.seconds = time.monotonic() - began

    def _once(self, cases: int, seconds: float, seeds: Path, words: Path, folder: Path) -> None:
        artifacts = folder / "found" / self.target.name
        artifacts.mkdir(parents=True, exist_ok=True)
        before = {*artifacts.iterdir()}
        corpus = [str(path) for path in [seeds, _FOLDER / "corpus" / self.target.name]
                  if path.is_dir()]  # fmt: skip
        log = folder / f"{self.target.name}.log"
        with log.open("wb") as stream:
            done = subprocess.run(
                [
                    *("nice", "-n", "10", sys.executable, str(_FOLDER / "guided.py")),
                    *(
                        self.group,
                        self.target.name,
                        f"-runs={cases}",
                        f"-max_total_time={int(seconds)}",
                    ),
                    *(f"-timeout={_CASE_SECONDS}", f"-rss_limit_mb={_MEMORY_MIB}"),
                    *(f"-max_len={_MOST_BYTES}", f"-error_exitcode={_FOUND}", f"-dict={words}"),
                    *(f"-artifact_prefix={artifacts}/", "-print_final_stats=1", "-reload=0"),
                    *corpus,
                ],
                stdout=stream,
                stderr=subprocess.STDOUT,
                check=False,
            )
        said = log.read_text(errors="replace")
        counts = re.findall(r"stat::number_of_executed_units:\s*(\d+)", said) or re.findall(
            r"^#(\d+)", said, re.MULTILINE
        )
        if not counts:
            sys.exit(f"{self.target.name} could not be searched:\n{said[-3000:]}")
        self.cases += int(counts[-1])
        found = sorted({*artifacts.iterdir()} - before)
        if done.returncode or found:
            reason = re.search(r"=== Uncaught Python exception: ===\n(.*)|(==\d+== ERROR.*)", said)
            self.findings += found or [log]
            self.reasons.append(reason[0].splitlines()[-1] if reason else f"see {log}")


def main() -> int:
    """Search, and say what came of it."""
    logging.disable(logging.CRITICAL)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=20_000, help="of each target")
    parser.add_argument("--seconds", type=float, default=600, help="of each target, at most")
    parser.add_argument("--output", type=Path, default=Path("out/fuzz"))
    parser.add_argument("targets", nargs="*")
    arguments = parser.parse_args()
    groups = {name: group for group in GROUPS for name in targets_of(group)}
    targets = {name: target for group in GROUPS for name, target in targets_of(group).items()}
    names = arguments.targets or list(targets)
    if unknown := {*names} - {*targets}:
        parser.error(f"no target {', '.join(sorted(unknown))}; there are {', '.join(targets)}")
    searches = []
    print(f"| {'target':26} | {'cases':>9} | {'seconds':>7} | findings |", flush=True)
    print(f"|{'-' * 28}|{'-' * 10}:|{'-' * 8}:|{'-' * 9}:|", flush=True)
    for name in names:
        search = _Search(groups[name], targets[name])
        search.run(arguments.cases, arguments.seconds, arguments.output.resolve())
        searches.append(search)
        print(_row(name, search.cases, search.seconds, len(search.findings)), flush=True)
    findings = sum(len(search.findings) for search in searches)
    seconds = sum(search.seconds for search in searches)
    print(_row("all", sum(search.cases for search in searches), seconds, findings))
    for search in searches:
        for path, reason in zip(search.findings, search.reasons, strict=False):
            print(f"\n{search.target.name}: {reason}\n  {path}")
    return 1 if findings else 0


def _entry(word: bytes) -> str:
    """A line of libFuzzer's dictionaries; one without any is an error to it."""
    return '"' + "".join(f"\\x{byte:02x}" for byte in word[:120]) + '"\n'


def _row(name: str, cases: int, seconds: float, findings: int) -> str:
    return f"| {name:26} | {cases:9,} | {seconds:7.0f} | {findings:8} |"


if __name__ == "__main__":
    sys.exit(main())
