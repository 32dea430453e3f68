"""A live Triton whose models say which requests they were given together."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from batching_models import BUDGET_TOKENS, write_model
from live_server import live_triton
from tiny_model import write_tiny_model

from bgem3_backend.contract import TRUNK
from bgem3_export.batching.library import copy_library, install_library
from bgem3_server.triton.addresses import Addresses
from bgem3_server.triton.events import Batching, Event


@pytest.fixture(scope="session")
def batching_lines() -> list[str]:
    """What the server of :func:`batching_triton` has said of its batches."""
    return []


@pytest.fixture(scope="session")
def batching_triton(
    tmp_path_factory: pytest.TempPathFactory, batching_lines: list[str]
) -> Iterator[Addresses]:
    """A live Triton with three models: a budget of tokens, one of padded tokens, and none."""
    repository = tmp_path_factory.mktemp("batching") / "repository"
    write_tiny_model(repository)
    budget = {"max_batch_tokens": str(BUDGET_TOKENS)}
    write_model(repository, TRUNK.name, budget)
    install_library(repository)
    copy_library(write_model(repository, "padded", {**budget, "batch_cost": "padded"}))
    copy_library(write_model(repository, "unlimited", {}))

    def on_event(event: Event) -> None:
        if isinstance(event, Batching):
            batching_lines.append(str(event))

    with live_triton(repository, on_event) as addresses:
        yield addresses
