"""The part of a page of the documentation that a run writes."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bgem3_bench.errors import WorkError
from bgem3_bench.figures import Figures
from bgem3_bench.report import report

_BEGIN: Final = "<!-- bgem3 bench: {name} -->"
_END: Final = "<!-- end of bgem3 bench: {name} -->"


def write_section(page: Path, figures: Figures, plots: Sequence[Path]) -> None:
    """Write a report between its marks in a page, and pictures into a folder beside it.

    The marks are ``<!-- bgem3 bench: NAME -->`` and ``<!-- end of bgem3 bench: NAME -->``, each a
    line, with the model's name in small letters and hyphens; all else in the page stays. The
    folder has the page's name, and one of the model's in it.

    Args:
        page: A Markdown file.
        figures: Of the run.
        plots: Pictures to show, PNG.

    Raises:
        WorkError: The page is not there, or has no such marks.
    """
    name = re.sub(r"\W+", "-", figures.results.model.name.lower()).strip("-")
    begin, end = _BEGIN.format(name=name), _END.format(name=name)
    try:
        text = page.read_text(encoding="utf-8")
    except OSError as error:
        raise WorkError(f"{page} cannot be read: {error.strerror}") from error
    pattern = re.compile(f"{re.escape(begin)}\n.*?{re.escape(end)}", re.DOTALL)
    if len(pattern.findall(text)) != 1:
        raise WorkError(f"{page} needs the lines '{begin}' and '{end}', once each")
    folder = page.with_suffix("") / name
    folder.mkdir(parents=True, exist_ok=True)
    pictures = [Path(shutil.copyfile(plot, folder / plot.name)) for plot in plots]
    shown = [picture.relative_to(page.parent) for picture in pictures]
    content = report(figures, shown, "###", explained=False)
    # By a function: backslashes in the content are none of the pattern's.
    changed = pattern.sub(lambda _: f"{begin}\n\n{content}\n{end}", text)
    page.write_text(changed, encoding="utf-8")
