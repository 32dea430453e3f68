"""Ray, which is slow to import and need not be installed."""

from __future__ import annotations

import os
from types import ModuleType

from bgem3_retrieval.errors import MissingLibraryError


def ray_library() -> ModuleType:
    """Return the module ``ray``; it sends no usage statistics.

    Raises:
        MissingLibraryError: It is not installed.
    """
    # Ray reads these when it is imported and when it starts.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "ray":
            raise
        raise MissingLibraryError("--ray needs Ray: pip install 'bgem3-triton[ray]'") from error
    return ray
