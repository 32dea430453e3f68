"""One search of one target, by libFuzzer: ``guided.py GROUP TARGET [LIBFUZZER OPTION ...]``.

Branches of our packages guide it. It ends at the first finding, and leaves what it found.
"""

from __future__ import annotations

import logging
import sys

import atheris  # type: ignore[import-not-found] # in the search's own environment
import structlog

_PACKAGES = (
    "bgem3_backend", "bgem3_client", "bgem3_export", "bgem3_retrieval", "bgem3_server", "docx",
    "fastapi", "markdown_it", "python_multipart", "starlette", "urllib",
)  # fmt: skip


def main() -> None:
    """Search until libFuzzer has had enough."""
    group, name, *options = sys.argv[1:]
    with atheris.instrument_imports(include=list(_PACKAGES)):
        from fuzz.catalogue import targets_of

        target = targets_of(group)[name]
    # Whoever is sent a million requests does not want to read of each.
    logging.disable(logging.CRITICAL)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    atheris.Setup([sys.argv[0], *options], target.run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
