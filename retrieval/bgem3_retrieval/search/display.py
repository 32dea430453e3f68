"""A search's answer for people."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from bgem3_retrieval.search.result import Hit, SearchResult
from bgem3_retrieval.search.snippet import Snippet, snippet, whole
from bgem3_retrieval.search.wrapping import wrapped
from bgem3_retrieval.stores.query import Representation

_SNIPPET_LINES: Final = 3
_INDENT: Final = 4
# On a wider screen lines are hard to read.
_WIDEST: Final = 120
_SHOWN_TOKENS: Final = 16
_LABELS: Final[dict[Representation, str]] = {
    "dense": "dense",
    "sparse": "sparse",
    "colbert": "ColBERT",
}
# A document must not speak to the terminal: its escape sequences would be obeyed.
_CONTROL: Final = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class OutputConsole(Console):
    """Standard output, no wider than one likes to read unless a width is given."""

    def __init__(self, width: int | None) -> None:
        """Make one.

        Args:
            width: In columns; None for the terminal's, 120 at most.
        """
        super().__init__(width=width, highlight=False)
        if width is None:
            self.width = min(self.width, _WIDEST)

    def on_broken_pipe(self) -> None:
        """Leave a reader that stopped reading to the command; Rich would end it."""
        raise BrokenPipeError


class Display:
    """Prints results: where, how good, the passage with its matched words, and why."""

    def __init__(self, console: Console, *, full: bool, explain: bool) -> None:
        """Make one.

        Args:
            console: Where to, and how wide. What is no terminal gets plain text.
            full: Print whole passages.
            explain: Print where each score comes from.
        """
        self._console = console
        self._full = full
        self._explain = explain
        self._width = console.width

    def show(self, result: SearchResult) -> None:
        """Print one answer."""
        for number, hit in enumerate(result.hits):
            if number:
                self._console.print()
            for renderable in self._hit(hit, result):
                self._console.print(renderable, width=self._width)
        if self._explain:
            self._console.print()
            self._console.print(_summary(result), width=self._width, soft_wrap=True)

    def _hit(self, hit: Hit, result: SearchResult) -> Iterator[RenderableType]:
        inner = self._width - _INDENT
        heading = _heading(hit, decimals=4 if _is_rrf(result) else 3)
        yield _Indented(_wrapped(heading, inner), f"{hit.rank:<{_INDENT - 1}} ")
        if not self._explain:
            yield _Indented(_scores(hit))
        text, marks = _harmless(hit.stored.chunk.text), hit.marks
        cells = _SNIPPET_LINES * inner - _INDENT
        shown = whole(text, marks) if self._full else snippet(text, marks, cells)
        yield _Indented(_wrapped(_passage(shown), inner))
        if self._explain:
            yield _Indented(_parts(hit, result))
            yield _Indented(_wrapped(_tokens(hit), inner))


def _heading(hit: Hit, decimals: int) -> Text:
    chunk = hit.stored.chunk
    places = [_source(chunk.source)]
    if chunk.page is not None:
        places.append(f"page {chunk.page}")
    heading = Text(style="bold").append(f"{hit.score:.{decimals}f}  ", style="cyan")
    heading.append(_harmless(" · ".join(places)))
    # The title is often the first heading too.
    path = [chunk.title] if chunk.title and chunk.title not in chunk.headings[:1] else []
    if path := [_harmless(part) for part in (*path, *chunk.headings)]:
        heading.append(" · ").append(" > ".join(path), style="italic")
    return heading


def _source(source: str) -> str:
    """Return a document's name, and that of a file below this folder from here on."""
    path = Path(source)
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else source


def _scores(hit: Hit) -> Text:
    parts = [f"{_LABELS[name]} {hit.scores[name]:.3f}" for name in _LABELS if name in hit.scores]
    return Text("  ".join(parts), style="dim")


def _passage(shown: Snippet) -> Text:
    passage = Text(shown.text)
    for begin, end in shown.marks:
        passage.stylize("bold underline", begin, end)
    return passage


def _parts(hit: Hit, result: SearchResult) -> Table:
    """Where the score comes from."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("")
    value_name = _value_name(result)
    for name in ("rank", "score", *([value_name] if value_name else []), "weight", "part"):
        table.add_column(name, justify="right")
    for name, label in _LABELS.items():
        if name not in hit.scores:
            continue
        row = [label, str(hit.ranks.get(name, "-")), f"{hit.scores[name]:.4f}"]
        if part := hit.parts.get(name):
            row += [f"{part.value:.4f}"] if value_name else []
            row += [f"{part.weight:.3g}", f"{part.amount:.4f}"]
        table.add_row(*row)
    *empty, _ = table.columns
    table.add_row(*("" for _ in empty), Text(f"{hit.score:.4f}", style="bold"))
    return table


def _value_name(result: SearchResult) -> str | None:
    """What is weighted instead of the score; None where it is the score itself."""
    if _is_rrf(result):
        return "1/(60+rank)"
    return None if result.options.normalization == "none" else "normalized"


def _tokens(hit: Hit) -> Text:
    tokens = hit.tokens or ()
    if not tokens:
        return Text("shared tokens: none", style="dim")
    line = Text("shared tokens: ", style="dim")
    shown = [
        f"{_harmless(token.text)} {token.contribution:.4f}" for token in tokens[:_SHOWN_TOKENS]
    ]
    if len(tokens) > _SHOWN_TOKENS:
        shown.append(f"and {len(tokens) - _SHOWN_TOKENS} more")
    return line.append(", ".join(shown), style="not dim")


def _summary(result: SearchResult) -> Text:
    timings, options = result.timings, result.options
    how: str = options.mode
    if options.mode == "hybrid":
        normalization = options.normalization
        stretched = f", {normalization}" if normalization != "none" else ""
        how = f"hybrid ({options.fusion}{stretched if options.fusion == 'weighted' else ''})"
    reranked = f"{result.reranked} re-ranked by ColBERT" if result.reranked else "not re-ranked"
    stages = ", ".join(
        f"{name} {seconds * 1e3:.1f} ms"
        for name, seconds in (
            ("encode", timings.encode_seconds),
            ("candidates", timings.candidates_seconds),
            ("scores", timings.scores_seconds),
            ("fuse and mark", timings.fuse_seconds),
            ("total", timings.total_seconds),
        )
    )
    counted = f"{result.candidates} candidates, {reranked}"
    if options.mode == "colbert":
        counted = f"{result.candidates} candidates"
    return Text(f"{result.collection}: {how}; {counted}\n{stages}", style="dim")


def _wrapped(text: Text, cells: int) -> Text:
    """Return a text in lines; Rich alone breaks them at spaces only, and leaves those there."""
    return Text("\n").join(text[begin:end] for begin, end in wrapped(text.plain, cells))


def _is_rrf(result: SearchResult) -> bool:
    return result.options.mode == "hybrid" and result.options.fusion == "rrf"


@dataclass(frozen=True)
class _Indented:
    """Something moved to the right, with no spaces at the ends of its lines."""

    content: RenderableType
    first: str = " " * _INDENT

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        inner = options.update(width=options.max_width - _INDENT)
        for number, line in enumerate(console.render_lines(self.content, inner, pad=False)):
            yield Segment(" " * _INDENT if number else self.first)
            yield from line
            yield Segment.line()


def _harmless(text: str) -> str:
    """Return a text of the same length without control characters."""
    return _CONTROL.sub(lambda match: " " if match.group() in "\r\t" else "\ufffd", text)
