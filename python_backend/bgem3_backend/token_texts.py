"""The text that each token stands for, as a table: no tokenizer is needed to look it up."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from bgem3_backend.packed_texts import Int32Array

TABLE_FILE: Final = "token_texts.json"
"""The table's file in the folder of a version: a JSON array of strings, one for each id."""


class TokenTexts:
    """The texts of all ids of a vocabulary."""

    def __init__(self, texts: Sequence[str]) -> None:
        """Make a table.

        Args:
            texts: Of the ids 0, 1, 2 and so on.
        """
        self._texts = np.array([text.encode("utf-8") for text in texts], np.object_)

    @classmethod
    def read(cls, file: Path) -> TokenTexts:
        """Read the table that the export wrote.

        Raises:
            OSError: The file cannot be read.
            ValueError: It holds no JSON.
        """
        return cls(json.loads(file.read_text(encoding="utf-8")))

    def write(self, file: Path) -> None:
        """Write the table, for :meth:`read`."""
        texts = [text.decode("utf-8") for text in self._texts]
        file.write_text(json.dumps(texts, ensure_ascii=False), encoding="utf-8")

    @property
    def vocabulary_size(self) -> int:
        """How many ids there are: 0 to this, exclusive."""
        return self._texts.size

    def __call__(self, ids: Int32Array) -> npt.NDArray[np.object_]:
        """Return the texts of ids [T] that are in the vocabulary, as UTF-8 bytes: [T]."""
        texts: npt.NDArray[np.object_] = self._texts[ids]
        return texts
