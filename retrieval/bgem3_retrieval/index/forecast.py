"""How much text is to be encoded in all, as far as that can be known from what was read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping


class Forecast:
    """Counts text in bytes, since a server's time goes by text, and not by the size of files.

    A PDF has little text for its size, and a table whose rows are mostly as they were has little
    that is new. What is still to be read is taken to be like what was read of its format; while
    nothing was, like all that was read; and before that, to be all text.
    """

    def __init__(self) -> None:
        self._left_bytes: Counter[str] = Counter()
        self._read_bytes: Counter[str] = Counter()
        self._text_bytes: Counter[str] = Counter()

    @property
    def done_bytes(self) -> int:
        """Of text that was encoded."""
        return self._text_bytes.total()

    @property
    def total_bytes(self) -> int:
        """Of text that was encoded or probably will be."""
        left = sum(size * self._density(name) for name, size in self._left_bytes.items())
        return self.done_bytes + round(left)

    def expect(self, file_bytes: Mapping[str, int]) -> None:
        """Take so many bytes of files of each format to be read."""
        self._left_bytes.update(file_bytes)

    def passed(self, format_name: str, file_bytes: int, text_bytes: int) -> None:
        """Count so many more bytes of files of a format, and the text in them that was encoded."""
        self._left_bytes[format_name] -= file_bytes
        self._read_bytes[format_name] += file_bytes
        self._text_bytes[format_name] += text_bytes

    def _density(self, format_name: str) -> float:
        if self._read_bytes[format_name]:
            return self._text_bytes[format_name] / self._read_bytes[format_name]
        read_bytes = self._read_bytes.total()
        return self._text_bytes.total() / read_bytes if read_bytes else 1.0
