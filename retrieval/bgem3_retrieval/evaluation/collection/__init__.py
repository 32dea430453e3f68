"""A small multilingual test collection in BEIR's layout, written for this project."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def collection_folder() -> Path:
    """Return the folder with ``corpus.jsonl``, ``queries.jsonl`` and ``qrels/test.tsv``.

    Raises:
        RuntimeError: The package was imported from an archive, where its files have no paths.
    """
    folder = files(__name__)
    if not isinstance(folder, Path):
        raise RuntimeError(
            f"the test collection has no folder of its own: {__name__} was imported from an archive"
            "; install the package unpacked"
        )
    return folder
