"""The page in a headless Chromium, in front of the service and a live Triton."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import start_chromium
from compare_page import ComparePage
from live_service import live_service
from page_tab import Tab
from search_page import SearchPage
from selenium.webdriver import Chrome

from bgem3_server.gateway.settings import GatewaySettings
from bgem3_server.triton.addresses import Addresses


@pytest.fixture(scope="session")
def page_url(triton: Addresses, demo_repository: Path) -> Iterator[str]:
    """The URL of the page, on the service in front of a live Triton with the demo model."""
    settings = GatewaySettings(triton=triton.grpc, tokenizer=demo_repository)
    with live_service(settings) as url:
        yield url


@pytest.fixture(scope="session")
def browser() -> Iterator[Chrome]:
    """A headless Chromium; skips where there is none."""
    chrome = start_chromium()
    try:
        yield chrome
    finally:
        chrome.quit()


@pytest.fixture
def tab(browser: Chrome) -> Iterator[Chrome]:
    """A new tab; at the end there was nothing wrong on its console."""
    first = browser.current_window_handle
    browser.switch_to.new_window("tab")
    yield browser
    tab = Tab(browser)
    errors = tab.console_errors()
    tab.requests()  # those of the next tab begin here
    browser.close()
    browser.switch_to.window(first)

    assert [] == errors


@pytest.fixture
def page(tab: Chrome) -> ComparePage:
    """The view that compares, in a new tab."""
    return ComparePage(tab)


@pytest.fixture
def search_page(tab: Chrome) -> SearchPage:
    """The view that searches, in a new tab."""
    return SearchPage(tab)
