"""What a check found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from bgem3_server.doctor.codes import Code

Detail: TypeAlias = str | int | float | bool | Sequence[str] | None


class Outcome(StrEnum):
    """How it stands."""

    OK = "ok"
    WARNING = "warning"
    """It works, and something should be known or changed."""
    PROBLEM = "problem"
    """Something does not work, or will not."""
    NOT_APPLICABLE = "not_applicable"
    """There is nothing to check here."""
    FAILED = "failed"
    """The check itself broke off: nothing is known."""


@dataclass(frozen=True)
class Finding:
    """One result.

    Attributes:
        message: What was found, in one sentence.
        code: What is wrong, for programs; None where nothing is.
        advice: What to do about it; empty where nothing is to be done.
        details: The figures behind the message.
    """

    outcome: Outcome
    message: str
    code: Code | None = None
    advice: str = ""
    details: Mapping[str, Detail] = field(default_factory=dict)


def ok(message: str, **details: Detail) -> Finding:
    """Return that all is well."""
    return Finding(Outcome.OK, message, details=details)


def not_applicable(message: str) -> Finding:
    """Return that there is nothing to check, and why."""
    return Finding(Outcome.NOT_APPLICABLE, message)


def warning(code: Code, message: str, advice: str, **details: Detail) -> Finding:
    """Return what should be known or changed."""
    return Finding(Outcome.WARNING, message, code, advice, details)


def problem(code: Code, message: str, advice: str, **details: Detail) -> Finding:
    """Return what does not work."""
    return Finding(Outcome.PROBLEM, message, code, advice, details)
