"""The paragraph styles of a DOCX file: what of them says what a paragraph is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from docx.oxml.ns import qn

_HEADING: Final = re.compile(r"heading ([1-9])", re.I)
_MAX_LEVEL: Final = 6
_VALUE: Final = qn("w:val")


@dataclass(frozen=True)
class ListPlace:
    """Which numbering a paragraph takes its number from, and on which level of it, from 0."""

    numbering_id: str
    level: int


@dataclass(frozen=True)
class ParagraphStyle:
    """What a paragraph is.

    Attributes:
        level: Of a heading, 1 to 6; 0 of anything else.
        is_title: Whether it is the document's title.
        in_contents: Whether it is a line of a table of contents.
        numbering: None where it has no number and is in no list.
    """

    level: int
    is_title: bool
    in_contents: bool
    numbering: ListPlace | None


class Styles:
    """Looks up paragraphs' styles, and the styles that those are based on.

    Headings are known by the names of Word's own styles, which are the same in every language, and
    by outline levels.
    """

    def __init__(self, styles: Any) -> None:  # noqa: ANN401 - lxml's elements
        self._styles: dict[str | None, Any] = {}
        self._default = None
        for style in styles.iter(qn("w:style")):
            if style.get(qn("w:type")) == "paragraph":
                self._styles[style.get(qn("w:styleId"))] = style
                if is_on(style, qn("w:default")):
                    self._default = style.get(qn("w:styleId"))

    def of(self, paragraph: Any) -> ParagraphStyle:  # noqa: ANN401
        """Return what a paragraph's own properties and its style say."""
        own = paragraph.find(qn("w:pPr"))
        chain = list(self._chain(_value(own, "w:pStyle") or self._default))
        names = [_value(style, "w:name") or "" for style in chain]
        is_title = any(name.lower() == "title" for name in names)
        properties = [own, *(style.find(qn("w:pPr")) for style in chain)]
        return ParagraphStyle(
            level=1 if is_title else _level(properties, names),
            is_title=is_title,
            in_contents=any(re.match(r"toc \d|toc heading", name, re.I) for name in names),
            numbering=_list_place(properties),
        )

    def _chain(self, style_id: str | None) -> Iterator[Any]:
        seen = set()
        while style_id in self._styles and style_id not in seen:
            seen.add(style_id)
            style = self._styles[style_id]
            yield style
            style_id = _value(style, "w:basedOn")


def is_on(element: Any, attribute: str = _VALUE) -> bool:  # noqa: ANN401
    """Whether a switch is there and is not off."""
    if element is None or (attribute != _VALUE and element.get(attribute) is None):
        return False
    return element.get(attribute) not in ("0", "false", "off")


def _level(properties: list[Any], names: list[str]) -> int:
    for element in properties:
        outline = _value(element, "w:outlineLvl")
        if outline is not None and outline.isdecimal():
            return int(outline) + 1 if int(outline) < _MAX_LEVEL else 0
    for name in names:
        if found := _HEADING.fullmatch(name):
            return min(int(found[1]), _MAX_LEVEL)
    return 0


def _list_place(properties: list[Any]) -> ListPlace | None:
    level = None
    for element in properties:
        numbering = element.find(qn("w:numPr")) if element is not None else None
        if numbering is None:
            continue
        # A style may leave the numbering to the one that it is based on, and say the level.
        level = level or _value(numbering, "w:ilvl")
        if numbering_id := _value(numbering, "w:numId"):
            if numbering_id == "0":  # taken out of the list
                return None
            return ListPlace(numbering_id, int(level) if level and level.isdecimal() else 0)
    return None


def _value(element: Any, tag: str) -> str | None:  # noqa: ANN401
    child = element.find(qn(tag)) if element is not None else None
    value = child.get(_VALUE) if child is not None else None
    return str(value) if value is not None else None
