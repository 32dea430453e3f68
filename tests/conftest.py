"""What many tests need: the demo model, its repositories, and a live Triton that serves them."""

from __future__ import annotations

import os
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from live_server import live_triton

from bgem3_backend.contract import TRUNK
from bgem3_client import Client
from bgem3_client.cache_folder import cache_folder
from bgem3_export.demo_model import demo_model
from bgem3_export.export import export_checkpoint
from bgem3_export.source import Source, find_source
from bgem3_export.trunk_graph import Precision
from bgem3_server.triton.addresses import Addresses

FAIL_ON_SKIP = "BGEM3_FAIL_ON_SKIP"
"""Set where everything that a test may need is installed: a skip is then a failure."""


_KEPT_VERSIONS = 8

# What is exact is compared exactly, also on processors where the default would be BF16; the tests
# of the engines ask for the others.
os.environ["BGEM3_TRUNK_ENGINE"] = "openvino-fp32"

# In the background of a shell, SIGINT begins ignored, and the programs that tests interrupt would
# inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Refuse tests of one name where processes share them: all but one would be lost."""
    names = Counter(item.nodeid for item in session.items)
    twice = [name for name, count in names.items() if count > 1]
    if twice and hasattr(session.config, "workerinput"):
        raise pytest.UsageError(f"run these one at a time, by the marker live: {twice}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Turn skips into failures where nothing but a GPU may be missing."""
    report = yield
    if report.skipped and os.environ.get(FAIL_ON_SKIP) and "gpu" not in item.keywords:
        report.outcome = "failed"
        report.longrepr = f"{FAIL_ON_SKIP} is set, and this was skipped: {report.longrepr}"
    return report


class _NoProgress:
    def step(self, name: str, total: int) -> None:
        """Tell nobody."""

    def part(self, done: int, total: int) -> None:
        """Tell nobody."""


@pytest.fixture(scope="session")
def demo_model_directory() -> Path:
    """The cached demo model, built first where it is not there yet."""
    return demo_model()


@pytest.fixture(scope="session")
def demo_source(demo_model_directory: Path) -> Source:
    """The demo model as an export's source."""
    return find_source("demo")


def _demo_repository(source: Source, precision: Precision, *, int8: bool = False) -> Path:
    """The exported demo model, kept in the cache and made anew when what makes it has changed."""
    repository = cache_folder() / "repositories" / f"demo-{'int8' if int8 else precision}"
    repository.parent.mkdir(parents=True, exist_ok=True)
    # Another process of these tests may be at it: it is waited for.
    with FileLock(f"{repository}.tests.lock"):
        # Each change of the exporter adds a version, and nobody here wants the old ones.
        versions = repository / TRUNK.name
        if versions.is_dir() and len(list(versions.iterdir())) > _KEPT_VERSIONS:
            shutil.rmtree(repository)
        export_checkpoint(
            source, repository, precision, "cpu", _NoProgress(), reuse=True, int8=int8
        )
    return repository


@pytest.fixture(scope="session")
def demo_repository(demo_source: Source) -> Path:
    """A model repository of the demo model in FP32."""
    return _demo_repository(demo_source, "fp32")


@pytest.fixture(scope="session")
def demo_repository_int8(demo_source: Source) -> Path:
    """A model repository of the demo model with an INT8 trunk, kept as the others are."""
    return _demo_repository(demo_source, "fp32", int8=True)


@pytest.fixture(scope="session")
def demo_repository_fp16(demo_source: Source) -> Path:
    """A model repository of the demo model in FP16."""
    return _demo_repository(demo_source, "fp16")


@pytest.fixture(scope="session")
def triton(demo_repository: Path) -> Iterator[Addresses]:
    """A live Triton that serves the demo model in FP32."""
    with live_triton(demo_repository) as addresses:
        yield addresses


@pytest.fixture(scope="session")
def fp16_triton(demo_repository_fp16: Path) -> Iterator[Addresses]:
    """A live Triton that serves the demo model in FP16."""
    with live_triton(demo_repository_fp16) as addresses:
        yield addresses


@pytest.fixture(scope="session")
def client(triton: Addresses) -> Iterator[Client]:
    """A gRPC client of the live Triton."""
    with Client(triton.grpc) as client:
        yield client
