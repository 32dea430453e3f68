"""What a long search has found stays mended, and a short one finds nothing."""

from __future__ import annotations

import logging
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest
import structlog
from fuzz.catalogue import GROUPS, targets_of
from fuzz.mutation import mutations
from fuzz.target import Target

CORPUS = Path(__file__).parent / "corpus"
FOUND = sorted(path for path in CORPUS.glob("*/*"))
CASES = 30
# Much longer than any case takes, on a busy machine too; what ran away took minutes.
CASE_SECONDS = 15


@cache
def all_targets() -> dict[str, Target]:
    return {name: target for group in GROUPS for name, target in targets_of(group).items()}


@pytest.fixture(autouse=True)
def silence() -> Iterator[None]:
    """Of what the readers and the service say of each case."""
    kept = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)
    structlog.configure(**kept)


@contextmanager
def limit(seconds: int) -> Iterator[None]:
    """Fail what takes longer."""

    def fail(*_: object) -> None:
        # Not an OSError, as TimeoutError is: readers have names for those.
        pytest.fail(f"it took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("path", FOUND, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_was_found_is_mended(path: Path) -> None:
    """Each input is read or refused as it should be, and soon."""
    with limit(CASE_SECONDS):
        all_targets()[path.parent.name].run(path.read_bytes())


@pytest.mark.parametrize("group", GROUPS)
def test_a_short_search_finds_nothing(group: str) -> None:
    """Seeds, and what is not quite like them; the same in every run."""
    for target in targets_of(group).values():
        for case in mutations(target.seeds, target.words, CASES):
            try:
                with limit(CASE_SECONDS):
                    target.run(case)
            except (Exception, pytest.fail.Exception) as error:
                raise AssertionError(f"{target.name}: {case[:2000]!r}") from error


def test_seeds_are_read() -> None:
    """A search that begins with what is refused at once looks at nothing."""
    from fuzz.documents import documents_of

    for target in targets_of("documents").values():
        if re.fullmatch(r"read-(?!docx-part|unknown).*", target.name):
            assert all(documents_of(seed, f".{target.name[5:]}") for seed in target.seeds)


def test_a_target_tells_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of a type that is not promised is a finding."""
    from fuzz import parsers

    def fail(text: str) -> None:
        raise KeyError(text)

    monkeypatch.setattr(parsers, "checked_headers", fail)
    with pytest.raises(KeyError):
        targets_of("parsers")["header"].run(b"a:b")
