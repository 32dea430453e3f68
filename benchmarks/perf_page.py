"""Put the last figures of ``bgem3 perf`` into ``docs/perf-analyzer.md``.

``python benchmarks/perf_page.py out/perf``; ``make perf-analyzer`` measures first.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from PIL import Image

_DOCS: Final = Path(__file__).resolve().parent.parent / "docs"
_PAGE: Final = _DOCS / "perf-analyzer.md"
_PLOT: Final = _DOCS / "images" / "perf-analyzer.png"
_DRAWN: Final = "latency.png"
_BEGIN: Final = "<!-- from here: written by `make perf-analyzer` -->\n"
_END: Final = "<!-- to here -->\n"


def main(folder: Path) -> None:
    """Replace what is between the marks, and the plot."""
    before, _, rest = _PAGE.read_text(encoding="utf-8").partition(_BEGIN)
    _, _, after = rest.partition(_END)
    report = (folder / "report.md").read_text(encoding="utf-8")
    report = report.replace(f"({_DRAWN})", f"(images/{_PLOT.name})")
    _PAGE.write_text(f"{before}{_BEGIN}\n{report}\n{_END}{after}", encoding="utf-8")
    # A drawing has few colours: a third of the size, and no other picture.
    with Image.open(folder / _DRAWN) as drawing:
        drawing.convert("RGB").quantize(64).save(_PLOT, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
