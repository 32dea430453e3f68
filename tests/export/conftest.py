"""The demo model for the tests of the export."""

from __future__ import annotations

from pathlib import Path

import pytest

from bgem3_export.demo_model import demo_model


@pytest.fixture(scope="session")
def demo_model_directory() -> Path:
    """The cached demo model, built first where it is not there yet."""
    return demo_model()
