"""The settings of the Python models: defaults, environment and ranges."""

from __future__ import annotations

import os

import pytest
from pydantic import ValidationError

from bgem3_backend.settings import BackendSettings


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch):
    """No setting of the machine that runs the tests."""
    for name in BackendSettings.model_fields:
        monkeypatch.delenv(f"BGEM3_{name.upper()}", raising=False)


def test_the_defaults_are_those_of_the_worked_example():
    """2,048 queries of 32 tokens, or 8 documents of 8,192, in one request; 1,024 at a time."""
    settings = BackendSettings()

    assert 2048 == settings.max_texts_per_request
    assert 1024 * 32 == 4 * 8192 == settings.max_request_tokens
    assert settings.microbatch_tokens is None  # the engine's
    assert len(os.sched_getaffinity(0)) == settings.trunk_threads


@pytest.mark.parametrize("name", BackendSettings.model_fields)
def test_each_setting_is_read_from_the_environment(monkeypatch, name):
    """As ``BGEM3_`` and its name in capitals."""
    value = "onnxruntime-fp32" if name == "trunk_engine" else 12345
    monkeypatch.setenv(f"BGEM3_{name.upper()}", str(value))

    assert value == getattr(BackendSettings(), name)


@pytest.mark.parametrize("name", BackendSettings.model_fields)
@pytest.mark.parametrize("value", ["0", "-1", "many", "", "1.5"])
def test_a_value_out_of_range_is_refused(monkeypatch, name, value):
    """The model does not load, rather than run with a limit that nobody meant."""
    monkeypatch.setenv(f"BGEM3_{name.upper()}", value)

    with pytest.raises(ValidationError, match=name):
        BackendSettings()


def test_a_request_must_have_room_for_the_longest_text(monkeypatch):
    """Fewer than 8,192 tokens a request would refuse what the model takes."""
    monkeypatch.setenv("BGEM3_MAX_REQUEST_TOKENS", "8191")

    with pytest.raises(ValidationError, match="greater than or equal to 8192"):
        BackendSettings()
