"""Rows that are read one after the other, as Ray Data reads from a source."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from ray.data import Datasource, ReadTask
from ray.data.block import BlockMetadata

if TYPE_CHECKING:
    import pyarrow as pa


class RowSource(Datasource):
    """One task that reads everything, in order: where a shard begins depends on all before it.

    It waits while what it has read fills its share of the object store.
    """

    def __init__(self, rows: Callable[[], Iterable[pa.Table]], folder: str) -> None:
        """Make one.

        Args:
            rows: Yields tables of one row.
            folder: What the names of inputs are relative to.
        """
        super().__init__()  # type: ignore[no-untyped-call]
        self._rows = rows
        self._folder = folder

    def estimate_inmemory_data_size(self) -> int | None:
        """Return None: nobody knows before it is read."""
        return None

    def get_read_tasks(
        self,
        parallelism: int,
        per_task_row_limit: int | None = None,
        data_context: Any = None,  # noqa: ANN401 - Ray's
    ) -> list[ReadTask]:
        """Return the one task."""
        rows, folder = self._rows, self._folder

        def read() -> Iterable[pa.Table]:
            os.chdir(folder)
            return rows()

        return [ReadTask(read, BlockMetadata(None, None, None, None))]
