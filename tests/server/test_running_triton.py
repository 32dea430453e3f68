"""The context manager that tests, demos and notebooks start Triton with."""

from __future__ import annotations

import dataclasses
import socket
from contextlib import suppress

import pytest
from serve_command import answer

from bgem3_export.errors import RepositoryError
from bgem3_server.errors import ModelLoadError
from bgem3_server.serving import running_triton
from bgem3_server.settings import ServeSettings
from bgem3_server.triton import supervisor
from bgem3_server.triton.addresses import pick_addresses
from bgem3_server.triton.events import Ready

pytestmark = pytest.mark.live


def test_triton_runs_inside_the_block_only(make_repository):
    """It picks free ports, answers inside the block and is gone after it, also at an error."""
    with suppress(ZeroDivisionError), running_triton(make_repository()) as addresses:
        assert answer(addresses.grpc) == 5
        _ = 1 / 0

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", addresses.grpc_port))


def test_a_model_that_does_not_load_is_a_typed_error(make_repository):
    """The reasons are there for programs too, by model."""
    repository = make_repository(initialize='raise ValueError("no weights")')

    with pytest.raises(ModelLoadError) as caught, running_triton(repository):
        pass

    assert {
        "bge_m3": f"ValueError: no weights ({repository}/bge_m3/1/model.py:8)"
    } == caught.value.reasons


def test_not_a_repository(tmp_path):
    """Triton is not even looked for."""
    with pytest.raises(RepositoryError, match="it has no bge_m3"), running_triton(tmp_path):
        pass


def test_picked_port_that_somebody_takes_first_is_picked_again(make_repository, monkeypatch):
    """A port that was free when it was picked may be in use when Triton binds it."""
    picks = []

    with socket.create_server(("127.0.0.1", 0)) as taken:

        def pick(settings: ServeSettings):
            picked = pick_addresses(settings)
            if not picks:
                picked = dataclasses.replace(picked, metrics_port=taken.getsockname()[1])
            picks.append(picked)
            return picked

        monkeypatch.setattr(supervisor, "pick_addresses", pick)
        events = []
        with running_triton(make_repository(), on_event=events.append) as addresses:
            assert answer(addresses.grpc) == 5

    assert picks[-1] == addresses
    assert len(picks) == 2
    assert addresses in [event.addresses for event in events if isinstance(event, Ready)]
