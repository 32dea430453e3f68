"""What was found, for people and for programs."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, Final

import click

from bgem3_server.doctor.check import Result
from bgem3_server.doctor.finding import Detail, Outcome
from bgem3_server.doctor.secrets import Secrets

FORMAT_VERSION: Final = 1
"""Of the JSON."""

_LABELS: Final = {
    Outcome.OK: "ok",
    Outcome.WARNING: "warning",
    Outcome.PROBLEM: "PROBLEM",
    Outcome.NOT_APPLICABLE: "n/a",
    Outcome.FAILED: "FAILED",
}
_COLOURS: Final = {
    Outcome.OK: "green",
    Outcome.WARNING: "yellow",
    Outcome.PROBLEM: "red",
    Outcome.NOT_APPLICABLE: "bright_black",
    Outcome.FAILED: "red",
}
_LABEL_WIDTH: Final = max(map(len, _LABELS.values()))
_BAD: Final = (Outcome.PROBLEM, Outcome.FAILED)
_INDENT: Final = " " * (2 + _LABEL_WIDTH + 2)


def exit_code(results: Sequence[Result]) -> int:
    """Return 1 where something is a problem, or a check broke off; else 0."""
    return int(any(result.finding.outcome in _BAD for result in results))


class TextReport:
    """One line a finding, and what to do below it; lines are folded on a terminal alone.

    Args:
        width: Columns of the terminal; None for a file or a pipe, whose lines stay whole.
    """

    def __init__(self, width: int | None) -> None:
        self._width = width
        self._family = ""
        self._said: set[str] = set()

    def begin(self) -> None:
        """Say what this is and when."""
        now = datetime.now(UTC)
        click.echo(f"bgem3 doctor {version('bgem3-triton')}, {now:%Y-%m-%d %H:%M} UTC")

    def show(self, result: Result) -> None:
        """Print a finding."""
        finding = result.finding
        if result.family != self._family:
            self._family = result.family
            self._said = set()
            click.echo(f"\n{result.family}")
        # Why nothing is to be checked holds for several checks, and is read once.
        if finding.outcome is Outcome.NOT_APPLICABLE and finding.message in self._said:
            return
        self._said.add(finding.message)
        label = _LABELS[finding.outcome]
        styled = click.style(label, fg=_COLOURS[finding.outcome], bold=finding.outcome in _BAD)
        message = finding.message if finding.code is None else f"{finding.message} [{finding.code}]"
        first, *rest = self._folded(message, "")
        click.echo(f"  {styled}{' ' * (_LABEL_WIDTH - len(label))}  {first}")
        for line in [*rest, *(self._folded(finding.advice, "-> ") if finding.advice else [])]:
            click.echo(f"{_INDENT}{line}")

    def end(self, results: Sequence[Result]) -> None:
        """Print how many there were of each."""
        counted = Counter(result.finding.outcome for result in results)
        names = {
            Outcome.PROBLEM: ("problem", "problems"),
            Outcome.FAILED: ("check that broke off", "checks that broke off"),
            Outcome.WARNING: ("warning", "warnings"),
            Outcome.OK: ("ok", "ok"),
            Outcome.NOT_APPLICABLE: ("not applicable", "not applicable"),
        }
        said = [
            f"{counted[outcome]} {singular if counted[outcome] == 1 else plural}"
            for outcome, (singular, plural) in names.items()
            if counted[outcome] or outcome is Outcome.PROBLEM
        ]
        click.echo(f"\n{', '.join(said)}")
        if any(result.finding.code for result in results):
            click.echo("What the words in brackets mean: docs/doctor.md")

    def _folded(self, text: str, mark: str) -> list[str]:
        whole = " ".join(text.split())
        if self._width is None:
            return [f"{mark}{whole}"]
        return textwrap.wrap(
            whole,
            max(40, self._width - len(_INDENT)),
            initial_indent=mark,
            subsequent_indent=" " * len(mark),
            # Paths and commands are copied, so they stay whole.
            break_long_words=False,
            break_on_hyphens=False,
        )


def as_json(results: Sequence[Result]) -> dict[str, Any]:
    """Return everything as JSON; docs/doctor.md says what is what."""
    counted = Counter(result.finding.outcome for result in results)
    return {
        "format_version": FORMAT_VERSION,
        "version": version("bgem3-triton"),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "exit_code": exit_code(results),
        "counts": {outcome.value: counted[outcome] for outcome in Outcome},
        "findings": [
            {
                "check": result.check,
                "outcome": result.finding.outcome.value,
                "code": result.finding.code and result.finding.code.value,
                "message": result.finding.message,
                "advice": result.finding.advice or None,
                "details": dict(result.finding.details),
            }
            for result in results
        ],
    }


def without_secrets(result: Result, secrets: Secrets) -> Result:
    """Return a result that may be shown to anybody."""
    finding = result.finding
    return replace(
        result,
        finding=replace(
            finding,
            message=secrets.hide(finding.message),
            advice=secrets.hide(finding.advice),
            details={name: _hidden(value, secrets) for name, value in finding.details.items()},
        ),
    )


def _hidden(value: Detail, secrets: Secrets) -> Detail:
    if isinstance(value, str):
        return secrets.hide(value)
    return [secrets.hide(item) for item in value] if isinstance(value, Sequence) else value
