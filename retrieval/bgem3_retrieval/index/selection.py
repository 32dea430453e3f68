"""Which files of a folder are meant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True)
class Selection:
    """Files by their names, as a shell matches them; ``*`` also matches ``/``.

    A pattern matches a file when it matches its whole name or the name of one of its folders or
    of the file itself: ``*.md``, ``drafts`` and ``manuals/*/old`` are patterns.

    Attributes:
        include: One of these must match; none is as good as all.
        exclude: None of these may match.
    """

    include: Sequence[str] = ()
    exclude: Sequence[str] = ()

    def covers(self, name: str) -> bool:
        """Whether a file of that name is meant."""
        return (not self.include or _any_matches(self.include, name)) and not _any_matches(
            self.exclude, name
        )


def _any_matches(patterns: Sequence[str], name: str) -> bool:
    names = [name, *name.split("/")]
    return any(fnmatchcase(part, pattern) for pattern in patterns for part in names)
