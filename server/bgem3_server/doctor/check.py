"""A check, and running many of them whatever one of them does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from bgem3_server.doctor.codes import Code
from bgem3_server.doctor.finding import Finding, Outcome
from bgem3_server.doctor.subject import Subject


@dataclass(frozen=True)
class Check:
    """One question about an installation.

    Attributes:
        name: Its family and itself, as in ``ports.free``; the same from release to release.
        run: Gives what was found: one finding or several.
    """

    name: str
    run: Callable[[Subject], Iterable[Finding]]


@dataclass(frozen=True)
class Family:
    """Checks about one thing.

    Attributes:
        title: What they are about.
    """

    title: str
    checks: Sequence[Check]


@dataclass(frozen=True)
class Result:
    """What one check of a family found."""

    family: str
    check: str
    finding: Finding


def run_checks(families: Sequence[Family], subject: Subject) -> Iterator[Result]:
    """Run all checks, each finding as it comes; one that breaks off is a finding too."""
    for family in families:
        for check in family.checks:
            for finding in _findings(check, subject):
                yield Result(family.title, check.name, finding)


def _findings(check: Check, subject: Subject) -> Iterator[Finding]:
    try:
        yield from check.run(subject)
    except Exception as error:  # noqa: BLE001 - reported; the other checks have to go on
        yield Finding(
            Outcome.FAILED,
            f"{check.name} could not be checked: {type(error).__name__}: {error}",
            Code.CHECK_FAILED,
            "the other checks are not affected; a check should not break off, so please report "
            "this line",
            {"error": type(error).__name__},
        )
