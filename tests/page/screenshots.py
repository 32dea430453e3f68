"""Make the pictures of the page in docs/images, from a running service with a store.

    python tests/page/screenshots.py http://127.0.0.1:33330

Puts the shipped test collection into the store, as `handbook`. Needs chromium, chromedriver, and
fonts with Chinese (Debian: fonts-noto-cjk, fonts-roboto-unhinted).
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

import httpx
from chromium import start_chromium
from compare_page import ComparePage
from page_tab import Tab
from search_page import SearchPage
from selenium.webdriver import Chrome

IMAGES = Path(__file__).parents[2] / "docs" / "images"
DESKTOP_PIXELS = 1280
PHONE_PIXELS = 390
MARGIN_PIXELS = 24
COLLECTION = "handbook"
QUERY = "KX-4471-B seal replacement"


def main(url: str) -> None:
    """Write every picture."""
    IMAGES.mkdir(exist_ok=True)
    fill_store(url)
    with chromium() as browser:
        page = ComparePage(browser)
        page.resize(DESKTOP_PIXELS)
        answer(page, url, "en")
        shot(page, "page-en", "body", "#words")
        shot(page, "page-heat-map", "#tokens-heading", "#heat")
        answer(page, url, "zh-CN")
        shot(page, "page-zh", "body", "#words")
        media(page, "dark")
        shot(page, "page-dark", "body", "#ranking")
        media(page, "light")
        page.resize(PHONE_PIXELS, phone=True)
        shot(page, "page-phone", "body", "#ranking", scale=1.5)
        page.resize(DESKTOP_PIXELS)
        found = SearchPage(browser)
        search(found, url)
        shot(found, "page-search", "body", ".hit[data-rank='3']")


@contextmanager
def chromium() -> Iterator[Chrome]:
    """A browser that is closed at the end."""
    browser = start_chromium()
    try:
        yield browser
    finally:
        browser.quit()


def answer(page: ComparePage, url: str, language: str) -> None:
    """Compare the language's own example."""
    page.open(url, language)
    page.compare()
    page.compare()  # the first request of a process is slower, and times are in the picture
    if page.notice:
        raise SystemExit(page.notice)
    page.until(lambda: page.one("#model").text)


def fill_store(url: str) -> None:
    """Index the shipped test collection; what is there already is not encoded again."""
    corpus = files("bgem3_retrieval.evaluation") / "collection" / "corpus.jsonl"
    rows = map(json.loads, corpus.read_text("utf-8").splitlines())
    documents = [
        {"source": row["_id"], **{name: row[name] for name in ("title", "text", "metadata")}}
        for row in rows
    ]
    body = {"collection": COLLECTION, "documents": documents}
    response = httpx.post(f"{url}/index", json=body, timeout=600)
    if response.is_error:
        raise SystemExit(response.json()["error"])


def search(page: SearchPage, url: str) -> None:
    """Search the collection, which may not be the only one."""
    page.browser.get("about:blank")  # another fragment alone would not load the page anew
    page.open_search(url, f"#search?collection={COLLECTION}")
    page.search(QUERY)
    page.search(QUERY)  # as above
    if page.notice or not page.titles:
        raise SystemExit(page.notice or "nothing was found")


def media(page: Tab, scheme: str) -> None:
    """Have the browser prefer light or dark."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def shot(page: Tab, name: str, first: str, last: str, scale: float = 1) -> None:
    """Write the page from the top of one element to the bottom of another."""
    left, top, right, bottom = page.browser.execute_script(
        "const [first, last] = [...arguments].map("
        "  selector => document.querySelector(selector).getBoundingClientRect());"
        "return [first.left + scrollX, first.top + scrollY,"
        "  Math.max(first.right, last.right) + scrollX, last.bottom + scrollY]",
        first,
        last,
    )
    x, y = max(0, left - MARGIN_PIXELS), max(0, top - MARGIN_PIXELS)
    clip = {
        "x": x,
        "y": y,
        "width": min(right + MARGIN_PIXELS, page.browser.execute_script("return innerWidth")) - x,
        "height": bottom + MARGIN_PIXELS - y,
        "scale": scale,
    }
    picture = page.browser.execute_cdp_cmd(
        "Page.captureScreenshot", {"clip": clip, "captureBeyondViewport": True}
    )
    path = IMAGES / f"{name}.png"
    path.write_bytes(base64.b64decode(picture["data"]))
    print(path, path.stat().st_size)


if __name__ == "__main__":
    main(sys.argv[1])
