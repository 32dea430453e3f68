"""How hard a server is pressed: requests kept under way, or requests sent in a second."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Literal

import click

LoadKind = Literal["concurrency", "request_rate"]

_MOST_LEVELS: Final = 100
_NUMBER: Final = r"(\d+(?:\.\d+)?)"
_RANGE: Final = re.compile(rf"{_NUMBER}:{_NUMBER}(?::(x?){_NUMBER})?")
_LIST: Final = re.compile(rf"{_NUMBER}(?:,{_NUMBER})*")


@dataclass(frozen=True)
class Load:
    """One level of load.

    Attributes:
        kind: Whether ``value`` requests are always under way (each answer is followed by the next
            request), or ``value`` requests are sent in a second, whatever is answered.
    """

    kind: LoadKind
    value: float

    def __str__(self) -> str:
        if self.kind == "concurrency":
            return f"concurrency {self.value:g}"
        return f"{self.value:g} requests/s"

    @property
    def arguments(self) -> tuple[str, ...]:
        """The options of perf_analyzer that make it."""
        if self.kind == "concurrency":
            return ("--concurrency-range", f"{self.value:g}")
        # Without --async as many requests are under way as there are threads, four: at more than
        # those can carry, the rate would not be kept.
        rate = f"{self.value:g}"
        return ("--request-rate-range", rate, "--request-distribution", "poisson", "--async")


class LoadRange(click.ParamType[tuple[Load, ...]]):
    """Levels of load as a user writes them: ``1,8,64``, ``10:50:10`` or ``1:64:x2``."""

    def __init__(self, kind: LoadKind) -> None:
        self.name = kind
        self._kind = kind

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> tuple[Load, ...]:
        """Return the levels; see click."""
        if isinstance(value, tuple):
            return value
        try:
            return parse_loads(value, self._kind)
        except ValueError as error:
            self.fail(f"{value!r}: {error}", param, ctx)


def parse_loads(text: str, kind: LoadKind) -> tuple[Load, ...]:
    """Read levels of load.

    Args:
        text: A list ``1,8,64``; a range ``START:END:STEP``, its end included where a step meets
            it; or one with a factor, ``START:END:xFACTOR``.
        kind: What the numbers count. Concurrencies are whole numbers.

    Raises:
        ValueError: Nothing of the kind; the message says what is.
    """
    if _LIST.fullmatch(text):
        values = [float(number) for number in text.split(",")]
    elif match := _RANGE.fullmatch(text):
        start, end, factor, step = match.groups()
        values = _range(float(start), float(end), float(step or 1), geometric=bool(factor))
    else:
        raise ValueError("write a list as in 1,8,64, or a range as in 10:50:10 or 1:64:x2")
    if min(values) <= 0:
        raise ValueError("must be above 0")
    if kind == "concurrency" and not all(value.is_integer() for value in values):
        raise ValueError("a number of requests under way is a whole one")
    if any(second <= first for first, second in pairwise(values)):
        raise ValueError("each must be larger than the one before")
    return tuple(Load(kind, value) for value in values)


def _range(start: float, end: float, step: float, *, geometric: bool) -> list[float]:
    if end < start:
        raise ValueError(f"it ends at {end:g}, before it starts")
    if start <= 0:
        raise ValueError("must be above 0")
    if geometric and step <= 1:
        raise ValueError(f"with a factor of {step:g} it never ends")
    if step <= 0:
        raise ValueError("with a step of 0 it never ends")
    values = [start]
    # Rounded: thirty steps of 0.1 are not 3 in binary.
    while (following := round(values[-1] * step if geometric else values[-1] + step, 6)) <= end:
        values.append(following)
        if len(values) > _MOST_LEVELS:
            raise ValueError(f"that is more than {_MOST_LEVELS} levels of load")
    return values
