"""``/docs``: works with no network."""

from __future__ import annotations

import re

from starlette.testclient import TestClient


def test_docs_load_nothing_from_elsewhere(fake_service: TestClient) -> None:
    """Every script, style and picture comes from the service itself."""
    page = fake_service.get("/docs").text
    assets = re.findall(r'(?:src|href)="([^"]+)"', page)

    assert len(assets) >= 3
    for asset in assets:
        assert asset.startswith("/")
        assert 200 == fake_service.get(asset).status_code
    assert "https://" not in page
