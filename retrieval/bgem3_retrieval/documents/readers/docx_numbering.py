"""The numbers that Word puts before paragraphs; they are in no paragraph's text."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from docx.oxml.ns import qn

from bgem3_retrieval.documents.readers.docx_styles import ListPlace

_VALUE: Final = qn("w:val")
_BULLET: Final = "- "


@dataclass(frozen=True)
class _Level:
    start: int
    form: str
    text: str


class Numbering:
    """Counts a document's numbered paragraphs as they come."""

    def __init__(self, numbering: Any | None) -> None:  # noqa: ANN401 - lxml's elements
        self._schemes: dict[str | None, dict[int, _Level]] = {}
        # Numberings of the same scheme count on from each other.
        self._scheme_of: dict[str | None, str | None] = {}
        self._restarts: dict[str | None, dict[int, int]] = {}
        self._counts: dict[str | None, dict[int, int]] = {}
        if numbering is not None:
            self._read(numbering)

    def next_mark(self, place: ListPlace | None) -> str:
        """Return what stands before the next paragraph: ``2.1. ``, ``- ``, or nothing."""
        if place is None:
            return ""
        scheme = self._scheme_of.get(place.numbering_id)
        levels = self._schemes.get(scheme, {})
        if place.level not in levels:
            return _BULLET
        counts = self._counts.setdefault(scheme, {})
        for level, start in self._restarts.pop(place.numbering_id, {}).items():
            counts[level] = start - 1
        for deeper in [level for level in counts if level > place.level]:
            del counts[deeper]
        for level in range(place.level):
            if level in levels:
                counts.setdefault(level, levels[level].start)
        own = levels[place.level]
        counts[place.level] = counts.get(place.level, own.start - 1) + 1
        if own.form == "bullet":
            return _BULLET

        def shown(number: re.Match[str]) -> str:
            level = int(number[1]) - 1
            return _number(counts[level], levels[level].form) if level in counts else ""

        mark = re.sub(r"%([1-9])", shown, own.text).strip()
        return f"{mark} " if mark else ""

    def _read(self, numbering: Any) -> None:  # noqa: ANN401
        for scheme in numbering.iter(qn("w:abstractNum")):
            self._schemes[scheme.get(qn("w:abstractNumId"))] = {
                _integer(level.get(qn("w:ilvl"))): _Level(
                    _integer(_value(level, "w:start"), 1),
                    _value(level, "w:numFmt") or "decimal",
                    _value(level, "w:lvlText") or "",
                )
                for level in scheme.iter(qn("w:lvl"))
            }
        for item in numbering.iter(qn("w:num")):
            identifier = item.get(qn("w:numId"))
            self._scheme_of[identifier] = _value(item, "w:abstractNumId")
            self._restarts[identifier] = {
                _integer(override.get(qn("w:ilvl"))): _integer(start, 1)
                for override in item.iter(qn("w:lvlOverride"))
                if (start := _value(override, "w:startOverride")) is not None
            }


def _number(number: int, form: str) -> str:
    return _FORMS.get(form, str)(number)


def _letters(number: int) -> str:
    # a … z, then aa, bb: as Word does.
    if not 0 < number <= 780:
        return str(number)
    return chr(ord("a") + (number - 1) % 26) * ((number - 1) // 26 + 1)


def _roman(number: int) -> str:
    digits = (
        (1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"),
        (50, "l"), (40, "xl"), (10, "x"), (9, "ix"), (5, "v"), (4, "iv"), (1, "i"),
    )  # fmt: skip
    if not 0 < number < 4000:
        return str(number)
    parts = []
    for value, digit in digits:
        times, number = divmod(number, value)
        parts.append(digit * times)
    return "".join(parts)


def _chinese(number: int) -> str:
    if not 0 < number < 10_000:
        return "零" if number == 0 else str(number)
    parts = []
    for place, unit in ((1000, "千"), (100, "百"), (10, "十"), (1, "")):
        digit, number = divmod(number, place)
        if digit:
            parts.append("零一二三四五六七八九"[digit] + unit)
        elif parts and parts[-1] != "零" and number:
            parts.append("零")
    return "".join(parts).removeprefix("一") if parts[0] == "一十" else "".join(parts)


_FORMS: Final[Mapping[str, Callable[[int], str]]] = {
    "decimalZero": "{:02d}".format,
    "lowerLetter": _letters,
    "upperLetter": lambda number: _letters(number).upper(),
    "lowerRoman": _roman,
    "upperRoman": lambda number: _roman(number).upper(),
    "chineseCounting": _chinese,
    "chineseCountingThousand": _chinese,
    "japaneseCounting": _chinese,
    "taiwaneseCounting": _chinese,
    "taiwaneseCountingThousand": _chinese,
    "none": lambda number: "",
}


def _value(element: Any, tag: str) -> str | None:  # noqa: ANN401
    child = element.find(qn(tag))
    value = child.get(_VALUE) if child is not None else None
    return str(value) if value is not None else None


def _integer(text: str | None, default: int = 0) -> int:
    return int(text) if text is not None and re.fullmatch(r"[0-9]{1,9}", text) else default
