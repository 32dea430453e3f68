"""A PDF's lines made into blocks. A PDF says where letters stand, and nothing of paragraphs."""

from __future__ import annotations

import re
import statistics
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Final

from bgem3_retrieval.documents.document import BlockKind
from bgem3_retrieval.documents.readers.characters import is_unspaced, one_line
from bgem3_retrieval.documents.readers.pdf_extraction import OutlineEntry
from bgem3_retrieval.documents.readers.pdf_lines import Line

# What stands at the edge of so many pages, or of both, at the same height, is not part of their
# text.
_RUNNING_PAGES: Final = 3
_EDGE_ROWS: Final = 2
_EDGE_GAP: Final = 1.6  # of the letters' size
# Between lines of one paragraph, as a multiple of what is usual for letters of their size.
_MAX_GAP: Final = 1.25
_USUAL_LEADING: Final = 1.2
_SAME_SIZE: Final = 0.1
# Headings are that much larger than the text, and are short. Where more of all that is said than
# this is in large letters, as on slides, size says nothing.
_HEADING_SIZE: Final = 1.15
_MAX_HEADING_LINES: Final = 3
_MAX_HEADING_CHARACTERS: Final = 200
_MAX_HEADING_SHARE: Final = 0.25
_MAX_LEVEL: Final = 6

_ITEM: Final = re.compile(
    r"[•◦▪‣⁃∙●○■□➢✓]\s*|[–*-]\s+|\(?\d{1,2}[.)]\s+|\d{1,2}、|\([a-z]\)\s+|[①-⑳㈠-㈩]"
)
_ARTICLE: Final = re.compile(r"第[零〇一二三四五六七八九十百千\d]+[条條章节節编編款]")
_SENTENCE_END: Final = re.compile(r"[.!?:;。！？：；…]['\"”’)）」』]*$")
_SECTION_NUMBER: Final = re.compile(
    r"(?:(?:chapter|appendix|section)\s+)?(?:[a-z]|\d+)(?:\.\d+)*[.:]?\s+", re.I
)
_CONTENTS_LINE: Final = re.compile(r"(?<![.…·])(?<![.…·]\s)(?:[.…·]\s?){6,}+\s*+(?:\d+|[ivxlc]+)?$")
_COMPOUND: Final = re.compile(r"(?<!\w)\w++-\w+")


@dataclass(frozen=True)
class TextBlock:
    """A block of a PDF.

    Attributes:
        kind: What it is.
        text: Its lines as one, those of code one below the other.
        level: Of a heading, 1 to 6; else 0.
        page: The page that it begins on.
        size: Its letters', in points.
    """

    kind: BlockKind
    text: str
    level: int
    page: int
    size: float


@dataclass
class _Group:
    """Lines on their way to a block."""

    kind: BlockKind
    lines: list[Line]
    level: int = 0

    @property
    def size(self) -> float:
        return min(line.size for line in self.lines)


def lay_out(lines: Sequence[Line], outline: Sequence[OutlineEntry]) -> list[TextBlock]:
    """Return the blocks of a document.

    Headings are the lines that the outline names. Where it names none that is there, they are short
    lines in letters clearly larger than the text's. Lines that stand at the edges of several pages
    are left out.

    Args:
        lines: Of all pages.
        outline: The document's bookmarks.
    """
    lines = _without_running(lines)
    if not lines:
        return []
    headings = _outlined(lines, outline)
    groups = _Grouping(lines, headings).groups()
    if not headings:
        _find_headings(groups, _body_size(lines))
    compounds = {word.lower() for line in lines for word in _COMPOUND.findall(line.text)}
    return [
        TextBlock(group.kind, _text(group, compounds), group.level, group.lines[0].page, group.size)
        for group in groups
    ]


class _Grouping:
    """Decides where one block ends and the next begins."""

    def __init__(self, lines: Sequence[Line], headings: dict[int, tuple[int, int]]) -> None:
        self._lines = lines
        # By the line's place: which heading it is of, and that one's level.
        self._headings = headings
        self._leading = _leadings(lines)
        fixed = sum(len(line.text) for line in lines if line.is_fixed)
        # Where all is in letters of the same width, they do not say that it is code.
        self._has_code = fixed < sum(len(line.text) for line in lines) / 2

    def groups(self) -> list[_Group]:
        groups: list[_Group] = []
        place = 0
        for _, page in groupby(self._lines, key=lambda line: line.page):
            of_page: list[_Group] = []
            for line in page:
                self._add(of_page, line, place)
                place += 1
            if groups and of_page and _goes_on(groups[-1], of_page[0]):
                groups[-1].lines += of_page.pop(0).lines
            groups += of_page
        return groups

    def _add(self, groups: list[_Group], line: Line, place: int) -> None:
        heading = self._headings.get(place)
        kind = self._kind(line, groups[-1] if groups else None)
        if heading is not None:
            if groups and place and self._headings.get(place - 1) == heading:
                groups[-1].lines.append(line)
            else:
                groups.append(_Group("heading", [line], heading[1]))
        elif groups and self._is_same(groups[-1], line, kind):
            groups[-1].lines.append(line)
        else:
            groups.append(_Group(kind, [line]))

    def _kind(self, line: Line, group: _Group | None) -> BlockKind:
        in_code = group is not None and group.kind == "code"
        if self._has_code and (line.is_fixed or (line.is_fixed is None and in_code)):
            return "code"
        return "list_item" if _ITEM.match(line.text) else "paragraph"

    def _is_same(self, group: _Group, line: Line, kind: BlockKind) -> bool:
        first, last = group.lines[0], group.lines[-1]
        if group.kind == "heading" or abs(line.size / last.size - 1) > _SAME_SIZE:
            return False
        fall = last.bottom - line.bottom
        if kind == "code" or group.kind == "code":
            return kind == group.kind and 0 < fall < 4 * last.size
        if abs(fall) < 0.4 * last.size:  # further along in the same line
            return True
        if kind == "list_item" or _ARTICLE.match(line.text):
            return False
        if fall < 0:  # the top of the next column
            return _goes_on(group, _Group(kind, [line]))
        if fall > _MAX_GAP * self._gap(group):
            return False
        if _would_have_fitted(line, group):
            return False
        indent = line.left - last.left
        if group.kind == "list_item":
            return line.left > first.left + 0.3 * first.size or abs(indent) < 1
        # The first line of the next paragraph stands further in, or this one's did.
        return indent < 0.8 * line.size and (indent > -0.8 * line.size or len(group.lines) == 1)

    def _gap(self, group: _Group) -> float:
        """Return the usual distance between lines like a group's: its own where it has one."""
        first, *others = group.lines
        usual = self._leading.get(round(first.size), _USUAL_LEADING * first.size)
        if not others:
            return usual
        own = first.bottom - others[0].bottom
        return min(own, usual) if own > 0.4 * first.size else usual


def _would_have_fitted(line: Line, group: _Group) -> bool:
    """Whether a line's first word had room in the line above: then it was not put there."""
    last = group.lines[-1]
    word = 1 if is_unspaced(line.text[0]) else len(line.text.split(maxsplit=1)[0]) + 1
    width = word * (line.right - line.left) / len(line.text)
    room = max(line.right, *(one.right for one in group.lines)) - last.right
    return not last.is_hyphenated and room > width + last.size


def _goes_on(group: _Group, following: _Group) -> bool:
    """Whether a paragraph goes on where the next column or page begins."""
    last, line = group.lines[-1], following.lines[0]
    return (
        group.kind in ("paragraph", "list_item")
        and following.kind == "paragraph"
        and abs(line.size / last.size - 1) <= _SAME_SIZE
        and not _SENTENCE_END.search(last.text)
        and (
            last.is_hyphenated
            or line.text[0].islower()
            or (
                is_unspaced(line.text[0])
                and is_unspaced(last.text[-1])
                and not _ARTICLE.match(line.text)
                and last.right > max(one.right for one in group.lines) - 2 * last.size
                and len(group.lines) > 1
            )
        )
    )


def _without_running(lines: Sequence[Line]) -> list[Line]:
    """Return the lines without headers, footers, page numbers and the table of contents."""
    edges = []
    for _, of_page in groupby(lines, key=lambda line: line.page):
        rising = sorted(of_page, key=lambda line: line.bottom)
        edges += _edge(rising) + _edge(rising[::-1])
    pages = len({line.page for line in lines})
    enough = max(2, min(pages, _RUNNING_PAGES))
    counts = Counter(mark for line in edges for mark in _marks(line))
    running = {
        id(line)
        for line in edges
        if line.text.strip("-– ") == str(line.page)
        or any(counts[mark] >= enough for mark in _marks(line))
    }
    return [
        line for line in lines if id(line) not in running and not _CONTENTS_LINE.search(line.text)
    ]


def _edge(lines: Sequence[Line]) -> list[Line]:
    """Return the lines at a page's edge, one below the other, that a gap parts from the others.

    Args:
        lines: Of the page, from that edge on.
    """
    rows = 1
    for number, (line, following) in enumerate(pairwise(lines), 1):
        distance = abs(line.bottom - following.bottom)
        if distance > _EDGE_GAP * line.size:
            return list(lines[:number])
        rows += distance > 1
        if rows > _EDGE_ROWS:
            break
    return []


def _marks(line: Line) -> Iterator[tuple[str | int, int]]:
    """Yield what a line on a page's edge has in common with those on the edges of other pages.

    That is the text but for its numbers, or a number that grows with the page's; and the height.
    """
    height = round(line.bottom / 3)
    yield re.sub(r"\d+|\b[ivxlc]+\b", "#", line.text.casefold()), height
    number = re.search(r"^\d{1,4}\b|\b\d{1,4}$", line.text)
    if number:
        yield int(number[0]) - line.page, height


def _body_size(lines: Sequence[Line]) -> float:
    characters: Counter[float] = Counter()
    for line in lines:
        characters[line.size] += len(line.text)
    return characters.most_common(1)[0][0]


def _leadings(lines: Sequence[Line]) -> dict[int, float]:
    """Return the usual distance from a line to the next for each size of letters, rounded."""
    falls: defaultdict[int, list[float]] = defaultdict(list)
    for above, below in pairwise(lines):
        fall = above.bottom - below.bottom
        near = 0.8 * above.size < fall < 2.5 * above.size
        if near and above.page == below.page and above.size == below.size:
            falls[round(above.size)].append(fall)
    # Lines of paragraphs are nearer to each other than other lines are.
    return {
        size: statistics.quantiles(some, n=4)[0] for size, some in falls.items() if len(some) > 3
    }


def _outlined(lines: Sequence[Line], outline: Sequence[OutlineEntry]) -> dict[int, tuple[int, int]]:
    """Return the lines that the outline names: their heading and its level, by their place."""
    by_page: defaultdict[int, list[int]] = defaultdict(list)
    for place, line in enumerate(lines):
        by_page[line.page].append(place)
    found: dict[int, tuple[int, int]] = {}
    for heading, entry in enumerate(outline):
        title = _comparable(entry.title)
        places = by_page[entry.page]
        for start in range(len(places)):
            match = _lines_of_title(lines, places[start : start + _MAX_HEADING_LINES], title)
            if match and not any(place in found for place in match):
                found |= {place: (heading, min(entry.level, _MAX_LEVEL)) for place in match}
                break
    return found


def _lines_of_title(lines: Sequence[Line], places: Sequence[int], title: str) -> Sequence[int]:
    text = ""
    for number, place in enumerate(places, 1):
        text += f" {lines[place].text}"
        if title and _comparable(text) == title:
            return places[:number]
    return ()


def _comparable(title: str) -> str:
    """Return a title without its number and spaces, which outlines and pages write differently."""
    title = unicodedata.normalize("NFKC", title).strip()
    shown = _SECTION_NUMBER.sub("", title, count=1) if _SECTION_NUMBER.match(title) else title
    return "".join(shown.casefold().split())


def _find_headings(groups: Sequence[_Group], body_size: float) -> None:
    """Make headings of short groups in large letters; the largest are of level 1."""
    large = [group for group in groups if _looks_like_heading(group, body_size)]
    said = sum(len(line.text) for group in groups for line in group.lines)
    if sum(len(line.text) for group in large for line in group.lines) > _MAX_HEADING_SHARE * said:
        return
    sizes = sorted({round(group.size) for group in large}, reverse=True)
    for group in large:
        group.kind = "heading"
        group.level = min(sizes.index(round(group.size)) + 1, _MAX_LEVEL)


def _looks_like_heading(group: _Group, body_size: float) -> bool:
    text = " ".join(line.text for line in group.lines)
    return (
        group.kind != "code"
        and group.size >= _HEADING_SIZE * body_size
        and len(group.lines) <= _MAX_HEADING_LINES
        and len(text) <= _MAX_HEADING_CHARACTERS
        and any(character.isalpha() for character in text)
        and not text.endswith((".", "。", ",", "，"))
    )


def _text(group: _Group, compounds: set[str]) -> str:
    if group.kind == "code":
        return _code(group.lines)
    return one_line("".join(_pieces(group.lines, compounds)))


def _pieces(lines: Sequence[Line], compounds: set[str]) -> Iterator[str]:
    for line, following in zip(lines, [*lines[1:], None], strict=True):
        yield line.text
        if following is not None:
            end = _line_end(line, following.text, compounds)
            yield end
        elif line.is_hyphenated:
            yield "-"


def _line_end(line: Line, following: str, compounds: set[str]) -> str:
    """Return what stands for a line's end: nothing in a word that was divided there."""
    if not line.is_hyphenated:
        return "\n"
    left, right = re.search(r"(?<!\w)\w*+$", line.text), re.match(r"\w*", following)
    compound = f"{left[0] if left else ''}-{right[0] if right else ''}"
    divided = following[:1].islower() and compound.lower() not in compounds
    return "" if divided else "-"


def _code(lines: Sequence[Line]) -> str:
    """Return lines as they stand below each other."""
    left = min(line.left for line in lines)
    widths = [(line.right - line.left) / len(line.text) for line in lines if line.is_fixed]
    width = statistics.median(widths) if widths else lines[0].size
    return "\n".join(
        " " * min(round((line.left - left) / max(width, 1)), 80) + line.text for line in lines
    )
