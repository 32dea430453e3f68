"""A list whose items are made when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, overload


class Each(Sequence[object]):
    """What ``make`` makes of each of some items: like ``map``, but with a length."""

    def __init__(self, items: Any, make: Callable[[Any], object]) -> None:  # noqa: ANN401
        """Make one.

        Args:
            items: A sequence, or an array of rows.
            make: Called for an item whenever it is read.
        """
        self._items = items
        self._make = make

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, key: int) -> object: ...

    @overload
    def __getitem__(self, key: slice) -> Each: ...

    def __getitem__(self, key: int | slice) -> object:
        items = self._items[key]
        return Each(items, self._make) if isinstance(key, slice) else self._make(items)
