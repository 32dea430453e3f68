"""Before its first start a server says what a batch of the trunk may hold, and by what."""

from __future__ import annotations

from pathlib import Path

import pytest
from batching_models import write_model

from bgem3_backend.contract import TRUNK
from bgem3_export.batching.build import LIBRARY_FILE
from bgem3_server.triton.batching import batching_of_trunk
from bgem3_server.triton.installation import Installation


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    """A Triton without a batching library beside its backends."""
    backends = tmp_path / "backends"
    (backends / "python").mkdir(parents=True)
    return Installation("here", tmp_path / "tritonserver", backends, tmp_path / "caches")


def test_without_the_library_the_line_says_how_to_get_it(tmp_path, installation):
    repository = tmp_path / "models"
    write_model(repository, TRUNK.name, {"max_batch_tokens": "30000"})
    event = batching_of_trunk(repository, None, "gpu", installation)

    assert (
        "batches: at most 16 requests; to limit them to 30,000 tokens too: "
        f"bgem3 build-batcher {repository}"
    ) == str(event)


@pytest.mark.parametrize("place", ["model", "version", "backend"])
def test_with_the_library_the_line_says_both_limits(tmp_path, installation, place):
    repository = tmp_path / "models"
    model = write_model(repository, TRUNK.name, {"max_batch_tokens": "30000"})
    folders = {
        "model": model,
        "version": model / "1",
        "backend": installation.backend_directory / "python",
    }
    (folders[place] / LIBRARY_FILE).touch()

    event = batching_of_trunk(repository, None, "gpu", installation)
    assert "batches: at most 16 requests and 30,000 tokens" == str(event)


def test_padding_is_told(tmp_path, installation):
    repository = tmp_path / "models"
    parameters = {"max_batch_tokens": "30000", "batch_cost": "padded"}
    model = write_model(repository, TRUNK.name, parameters)
    (model / LIBRARY_FILE).touch()

    event = batching_of_trunk(repository, None, "gpu", installation)
    assert "batches: at most 16 requests and 30,000 tokens, padding included" == str(event)


def test_each_profile_has_its_own_limits(tmp_path, installation):
    repository = tmp_path / "models"
    model = write_model(repository, TRUNK.name, {"max_batch_tokens": "30000"})
    (model / "configs").mkdir()
    (model / "configs" / "cpu.pbtxt").write_text('name: "bge_m3_trunk"\nmax_batch_size: 4\n')

    assert batching_of_trunk(repository, None, "cpu", installation) is None
    assert batching_of_trunk(repository, None, "gpu", installation) is not None


def test_nothing_is_said_of_a_repository_without_a_trunk(tmp_path, installation):
    assert batching_of_trunk(tmp_path, None, "gpu", installation) is None


@pytest.mark.live
def test_a_live_server_says_it(batching_triton, batching_lines):
    assert ["batches: at most 16 requests and 1,000 tokens"] == batching_lines
