"""A double of a Qdrant server in a process of its own, which can be killed; not Qdrant itself.

Both interfaces of `qdrant_double` and `qdrant_grpc_double` before one folder of the client's local
mode. What a request wrote is on the disk when it is answered, point by point. The environment
says where, as it does for the real server: QDRANT__STORAGE__STORAGE_PATH,
QDRANT__SERVICE__HTTP_PORT and QDRANT__SERVICE__GRPC_PORT.
"""

from __future__ import annotations

import os
import signal
import threading
from typing import Any, cast

from qdrant_client.local.qdrant_local import QdrantLocal
from qdrant_double import QdrantDouble
from qdrant_grpc_double import QdrantGrpcDouble


class GuardedQdrant:
    """One call at a time: local mode guards nothing, and two interfaces are before it."""

    def __init__(self, folder: str) -> None:
        self._qdrant = QdrantLocal(folder, force_disable_check_same_thread=True)
        self._guard = threading.RLock()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._qdrant, name)
        if not callable(found):
            return found

        def guarded(*arguments: Any, **options: Any) -> Any:
            with self._guard:
                return found(*arguments, **options)

        return guarded


def main() -> None:
    """Serve until killed."""
    qdrant = cast(QdrantLocal, GuardedQdrant(os.environ["QDRANT__STORAGE__STORAGE_PATH"]))
    QdrantGrpcDouble(qdrant, int(os.environ["QDRANT__SERVICE__GRPC_PORT"]))
    QdrantDouble(qdrant, int(os.environ["QDRANT__SERVICE__HTTP_PORT"]))
    signal.pause()


if __name__ == "__main__":
    main()
