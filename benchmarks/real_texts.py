"""The texts of the tests, which are real writing in twenty languages, as work to measure."""

from __future__ import annotations

import sys
from pathlib import Path

# The texts belong to the tests, which are no package.
sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))

from texts import load_records, long_text

__all__ = ["long_text", "real_texts"]


def real_texts() -> list[str]:
    """Return short queries, sentences and passages; no edge cases."""
    return [record.text for record in load_records() if record.kind != "edge"]
