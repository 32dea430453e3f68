"""The view that searches, in front of the service with a store and a live Triton."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from compare_page import ComparePage
from live_service import live_service
from search_page import SearchPage
from selenium.webdriver.common.keys import Keys

from bgem3_server.gateway.settings import GatewaySettings
from bgem3_server.triton.addresses import Addresses

pytestmark = pytest.mark.live

QUERY = "how do I reset my password"
LONG = "The pump hums. " * 30 + "Then reset the password of the controller. " + "It hums. " * 40
DOCUMENTS = [
    {
        "source": "passwords.md",
        "format": "markdown",
        "text": "# Passwords\n\n## Reset\n\nTo reset your password, open the settings.",
        "metadata": {"team": "support", "year": 2024},
    },
    {"source": "密码", "text": "重置密码：打开设置。", "metadata": {"team": "支持"}},
    {"source": "cats", "title": "Cats", "text": "The cat sat on the mat."},
    {"source": "pump", "title": "Pump", "text": LONG},
]


@pytest.fixture(scope="module")
def search_url(
    triton: Addresses, demo_repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The URL of a service whose store has one collection."""
    settings = GatewaySettings(
        triton=triton.grpc, tokenizer=demo_repository, store=str(tmp_path_factory.mktemp("store"))
    )
    with live_service(settings) as url:
        body = {"collection": "manuals", "documents": DOCUMENTS}
        httpx.post(f"{url}/index", json=body, timeout=60).raise_for_status()
        yield url


@pytest.fixture
def opened(search_page: SearchPage, search_url: str) -> SearchPage:
    """The view, with the collection in its list."""
    search_page.open_search(search_url)
    return search_page


def asked(url: str, **options: Any) -> dict[str, Any]:
    """What the service answers to the same search."""
    body = {"query": QUERY, "collection": "manuals", "explain": True, **options}
    answer: dict[str, Any] = httpx.post(f"{url}/search", json=body, timeout=60).json()
    return answer


def fragment(page: SearchPage) -> dict[str, list[str]]:
    """The parameters of the page's address."""
    view, _, parameters = urlsplit(page.browser.current_url).fragment.partition("?")
    assert "search" == view
    return parse_qs(parameters)


def test_the_only_collection_is_chosen(opened: SearchPage) -> None:
    """The list says how much is in it, and the line below with what it was made."""
    opened.until(lambda: opened.one("#collection-about").text)

    assert ["manuals · 4 passages, 4 documents"] == opened.texts("#collection option")
    assert "manuals" == opened.one("#collection").get_attribute("value")
    assert "4 passages of 4 documents." in opened.one("#collection-about").text


def test_hits_are_those_of_the_service(opened: SearchPage, search_url: str) -> None:
    """In its order, with its scores, and the words marked that it names."""
    opened.search(QUERY)
    hits = asked(search_url)["hits"]

    assert [hit["title"] or hit["source"] for hit in hits] == opened.titles
    assert [f"{hit['score']:.3f}" for hit in hits] == opened.texts(".hit-score .value")
    first = hits[0]
    assert [first["text"][mark["begin"] : mark["end"]] for mark in first["marks"]] == (
        opened.marked(1)
    )
    assert ["passwords.md › Reset"] == opened.texts(".hit[data-rank='1'] .stands")
    assert first["text"] == opened.texts(".hit[data-rank='1'] .found")[0]
    announced = opened.one("#search-announcement").get_attribute("textContent")
    assert "4 hits. First: Passwords." == announced


def test_the_first_hit_says_why(opened: SearchPage, search_url: str) -> None:
    """Parts that add up to its score, tokens that add up to the sparse one, and its metadata."""
    opened.search(QUERY)
    hit = asked(search_url)["hits"][0]
    parts = opened.parts(1)

    for name in ("dense", "sparse", "colbert"):
        part = hit["explanation"]["parts"][name]
        amount = part["value"] * part["weight"]
        cells = [str(hit["ranks"][name]), f"{hit['scores'][name]:.4f}", f"{part['weight']:.3g}"]
        assert [*cells, f"{amount:.4f}"] == parts[name]
    assert [f"{hit['score']:.4f}"] == opened.texts(".hit[data-rank='1'] .parts tfoot td")
    shown = [float(text) for text in opened.texts(".hit[data-rank='1'] .shared-tokens td")]
    assert len(hit["explanation"]["tokens"]) == len(shown)
    assert hit["scores"]["sparse"] == pytest.approx(sum(shown), abs=0.001)
    metadata = opened.texts(".hit[data-rank='1'] .metadata div")
    assert ["team support", "year 2024"] == [" ".join(text.split()) for text in metadata[1:]]
    assert [False] == list({detail.is_displayed() for detail in opened.all(".reasons")[1:]})


def test_the_stages_are_timed(opened: SearchPage) -> None:
    """Each, and all together."""
    opened.search(QUERY)
    stages = opened.texts(".stages th")
    milliseconds = [float(text.split()[0]) for text in opened.texts(".stages td")]

    assert "Encode the query" == stages[0]
    assert "Total" == stages[-1]
    assert sum(milliseconds[:-1]) <= milliseconds[-1] + 0.3


def test_a_long_passage_shows_where_its_words_are(opened: SearchPage) -> None:
    """A part of it, which the button turns into all of it, and back."""
    opened.search("reset the controller")
    rank = 1 + opened.titles.index("Pump")
    shown = f".hit[data-rank='{rank}'] .found"
    part = opened.texts(shown)[0]

    assert part.startswith("…")
    assert "reset the password of the controller" in part
    assert len(part) < 500 < len(LONG)
    opened.one(f".hit[data-rank='{rank}'] [aria-expanded]").click()
    assert [LONG.strip()] == opened.texts(shown)
    opened.one(f".hit[data-rank='{rank}'] [aria-expanded]").click()
    assert [part] == opened.texts(shown)


def test_options_are_sent_and_linked(opened: SearchPage, search_url: str) -> None:
    """Those that differ from the usual; fields that do not matter are not there."""
    opened.open_options()
    opened.write("#limit", "2")
    opened.write("#where", "team in (support, 支持)\n\nyear!=2023")
    opened.choose("#fusion", "rrf")
    weights = [field.is_displayed() for field in opened.all("[data-for=weighted]")]
    opened.search(QUERY)
    body = json.loads(opened.one("#search-request code").text.split("-d '")[1].rstrip("'"))
    options = {"limit": 2, "fusion": "rrf", "where": ["team in (support, 支持)", "year!=2023"]}

    assert [False, False] == weights
    assert {"query": QUERY, "collection": "manuals", **options, "explain": True} == body
    assert ["Passwords", "密码"] == sorted(opened.titles)
    assert ["Rank", "Score", "1/(60+rank)", "Weight", "Part"] == (
        opened.texts(".hit[data-rank='1'] .parts thead th")
    )
    linked = {"limit": ["2"], "fusion": ["rrf"], "where": options["where"]}
    assert {"collection": ["manuals"], "q": [QUERY], **linked} == fragment(opened)


def test_a_link_searches(search_page: SearchPage, search_url: str) -> None:
    """With what it names, whoever opens it; other values stay as usual."""
    link = "#search?q=%E9%87%8D%E7%BD%AE%E5%AF%86%E7%A0%81&mode=sparse&where=team%3D%3D支持"
    search_page.open_search(search_url, link)

    assert ["密码"] == search_page.titles
    # The address is put into the page's own spelling, which is no step to go back from.
    assert search_page.browser.current_url.endswith(
        "&mode=sparse&where=team%3D%3D%E6%94%AF%E6%8C%81"
    )
    steps = search_page.browser.execute_script("return history.length")
    search_page.follow("#search?q=cat%20mat")
    search_page.until(lambda: "Cats" in search_page.titles)
    assert steps + 1 == search_page.browser.execute_script("return history.length")
    search_page.browser.back()
    search_page.until(lambda: search_page.titles == ["密码"])
    assert "重置密码" == search_page.one("#search-query").get_attribute("value")
    assert "sparse" == search_page.one("#mode").get_attribute("value")
    assert "10" == search_page.one("#limit").get_attribute("value")
    assert ["manuals"] == fragment(search_page)["collection"]


def test_back_shows_the_search_before(opened: SearchPage) -> None:
    """One step for each search, and forward again."""
    opened.search(QUERY)
    before = opened.titles
    opened.search("cat on a mat")
    after = opened.titles
    assert before != after

    opened.browser.back()
    opened.until(lambda: opened.titles == before)
    assert QUERY == opened.one("#search-query").get_attribute("value")
    opened.browser.forward()
    opened.until(lambda: opened.titles == after)
    opened.browser.back()
    opened.browser.back()
    opened.until(lambda: opened.titles == [])

    assert opened.browser.current_url.endswith("/#search")


def test_views_are_linked(opened: SearchPage) -> None:
    """The current one is told, the page named after it, and what was found is still there."""
    opened.search(QUERY)
    found = opened.titles
    opened.one("#compare-tab").click()

    assert ["page", None] == opened.attributes(".views a", "aria-current")
    assert "Dense, sparse, ColBERT" == opened.browser.title
    assert not opened.one("#search-view").is_displayed()

    opened.one("#search-tab").click()

    assert [None, "page"] == opened.attributes(".views a", "aria-current")
    assert "Search · Dense, sparse, ColBERT" == opened.browser.title
    assert found == opened.titles
    assert [QUERY] == fragment(opened)["q"]


@pytest.mark.parametrize(("button", "number"), [(".compare-hit", 1), ("#compare-best", 4)])
def test_hits_are_compared_token_by_token(opened: SearchPage, button: str, number: int) -> None:
    """One press puts them into the other view, compared; back leads to the hits, without asking."""
    opened.search(QUERY)
    found = opened.titles
    text = opened.texts(".hit[data-rank='1'] .found")[0]
    opened.one(button).click()
    compare = ComparePage(opened.browser)
    compare.until(lambda: compare.all("#heat td.cell"))
    boxes = compare.all("#passages textarea")

    assert QUERY == compare.one("#query").get_attribute("value")
    assert (number, text) == (len(boxes), boxes[0].get_attribute("value"))
    assert compare.one("#results") == compare.focused

    compare.requests()
    opened.browser.back()
    opened.until(lambda: opened.one("#search-view").is_displayed())

    assert found == opened.titles
    assert [] == [url for url in opened.requests() if url.endswith("/search")]


def test_the_programs_do_the_same(opened: SearchPage) -> None:
    """The Python program, run as it is, prints the hits."""
    opened.search(QUERY)
    program = opened.copied("python", "#search-request")
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )

    assert "" == run.stderr
    scores = [line.split()[0] for line in run.stdout.splitlines()]
    assert opened.texts(".hit-score .value") == scores


def test_the_language_changes_all_of_it(opened: SearchPage) -> None:
    """What was found stays, and what is open too."""
    opened.search(QUERY)
    opened.open_why(2)
    found = opened.titles
    opened.switch_language()

    assert "zh-CN" == opened.one("html").get_attribute("lang")
    assert "搜索" == opened.one("#search-button").text
    assert "manuals · 4 个段落，4 个文档" == opened.one("#collection option").text
    assert ["名次", "得分", "权重", "贡献"] == opened.texts(".hit[data-rank='2'] .parts thead th")
    assert found == opened.titles
    assert [1, 2] == [
        number for number, part in enumerate(opened.all(".reasons"), 1) if part.is_displayed()
    ]


def test_keyboard_alone_is_enough(page: ComparePage, search_url: str) -> None:
    """From the top of the page to the reasons of a hit, without a mouse."""
    page.open(search_url)
    page.tab_to(page.one("#search-tab"))
    page.press(Keys.ENTER)
    page.until(lambda: page.one("#collection").get_attribute("value"))
    page.tab_to(page.one("#search-query"))
    page.press("cat", Keys.ENTER)
    page.until(lambda: page.all(".hit"))

    assert page.one("#search-query") == page.focused
    summary = page.one(".hit[data-rank='2'] summary")
    page.tab_to(summary)
    page.press(Keys.ENTER)
    assert page.one(".hit[data-rank='2'] .reasons").is_displayed()


def test_the_skip_link_leads_to_the_results(opened: SearchPage) -> None:
    """Of the view that is shown; the address stays."""
    opened.search(QUERY)
    address = opened.browser.current_url
    opened.browser.execute_script("document.querySelector('.skip').focus()")
    opened.press(Keys.ENTER)

    assert opened.one("#search-results") == opened.focused
    assert address == opened.browser.current_url


@pytest.mark.parametrize("width", [320, 390])
def test_a_phone_shows_it_without_sideways_scrolling(
    search_page: SearchPage, search_url: str, width: int
) -> None:
    """With the options and the reasons open."""
    search_page.resize(width, phone=True)
    search_page.open_search(search_url, "#search?q=password&normalization=minmax")
    search_page.until(lambda: search_page.titles)

    assert width == search_page.browser.execute_script(
        "return document.documentElement.scrollWidth"
    )
