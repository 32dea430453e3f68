"""The view that searches where there is nothing to search in, or something is wrong.

The service here has a fake model, and a real store.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from live_service import live_app, live_service
from pydantic import SecretStr
from search_page import SearchPage

from bgem3_client import FakeTransport
from bgem3_retrieval.errors import StoreError
from bgem3_retrieval.stores.address import open_store
from bgem3_server.gateway.app import create_app
from bgem3_server.gateway.settings import GatewaySettings

HOSTILE = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>"


@pytest.fixture
def store_url(tmp_path: Path) -> Iterator[str]:
    """The URL of a service whose store has nothing yet."""
    with live_service(GatewaySettings(store=str(tmp_path)), FakeTransport()) as url:
        yield url


def index(url: str, collection: str, *documents: dict[str, Any], **headers: str) -> None:
    """Put documents into a collection."""
    body = {"collection": collection, "documents": documents or [{"source": "a", "text": "A cat."}]}
    httpx.post(f"{url}/index", json=body, headers=headers, timeout=60).raise_for_status()


def test_without_a_store(search_page: SearchPage) -> None:
    """The view says how to get one; the other view works."""
    with live_service(GatewaySettings(), FakeTransport()) as url:
        search_page.open_search(url)
        shown = search_page.one("#setup").text
        form = search_page.one("#search-form").is_displayed()
        search_page.one("#compare-tab").click()
        compare = search_page.one("#compare-button").is_displayed()

    assert "This service has no store" in shown
    assert "bgem3 serve MODELS --store ~/bgem3-store" in shown
    assert "bgem3 index PATH --collection notes --store ~/bgem3-store" in shown
    assert "BGEM3_STORE" in shown
    assert (False, True) == (form, compare)


def test_without_a_collection(search_page: SearchPage, store_url: str) -> None:
    """The command to make one is shown; once there is one, it is found without a reload."""
    search_page.open_search(store_url)
    shown = search_page.one("#setup").text
    index(store_url, "notes")
    search_page.one("#look-again").click()
    search_page.until(lambda: search_page.one("#search-form").is_displayed())

    assert "The store has no collection yet" in shown
    assert f"curl -s {store_url}/index" in shown
    search_page.until(lambda: search_page.one("#search-query") == search_page.focused)
    assert "notes" == search_page.one("#collection").get_attribute("value")


def test_one_of_several_has_to_be_chosen(search_page: SearchPage, store_url: str) -> None:
    """None is chosen for the person; what is missing is said at its field."""
    index(store_url, "first")
    index(store_url, "second")
    search_page.open_search(store_url)
    search_page.search("cat")

    assert "Choose a collection." == search_page.problem("collection")
    assert search_page.one("#collection") == search_page.focused

    search_page.choose("#collection", "second")
    search_page.search("cat")

    assert "" == search_page.problem("collection")
    assert ["a"] == search_page.titles


def test_a_link_to_a_collection_that_is_gone(search_page: SearchPage, store_url: str) -> None:
    """Is told at the list, and nothing else is searched instead."""
    index(store_url, "notes")
    search_page.open_search(store_url, "#search?collection=others&q=cat")
    search_page.wait()

    assert "The store has no collection others." == search_page.problem("collection")
    assert [] == search_page.titles


def test_a_collection_goes_while_it_is_looked_at(search_page: SearchPage, store_url: str) -> None:
    """The server's word for it is shown at the list, too."""
    index(store_url, "notes")
    search_page.open_search(store_url)
    httpx.delete(f"{store_url}/collections/notes").raise_for_status()
    search_page.search("cat")

    assert "The store has no collection notes." == search_page.problem("collection")
    assert "true" == search_page.one("#collection").get_attribute("aria-invalid")


@pytest.mark.parametrize(
    ("conditions", "wrong", "reason"),
    [
        ("page>=1\n\nyear=>3", "=>3", "did you mean >=?"),
        ('"😀"=中文', "=中文", "did you mean ==?"),
        ("page>=", "␣", "expected a value"),
    ],
)
def test_a_bad_condition(
    search_page: SearchPage, store_url: str, conditions: str, wrong: str, reason: str
) -> None:
    """Is shown at its field, from where it is wrong; that is selected in the field as well."""
    index(store_url, "notes")
    search_page.open_search(store_url)
    search_page.open_options()
    search_page.browser.execute_script(
        "document.querySelector('#where').value = arguments[0]", conditions
    )
    search_page.search("cat")
    selected = search_page.browser.execute_script(
        "const box = document.querySelector('#where');"
        "return box.value.slice(box.selectionStart, box.selectionEnd)"
    )

    assert reason in search_page.problem("where")
    assert [wrong] == search_page.texts("#where-problem mark")
    assert wrong.replace("␣", "") == selected
    assert search_page.one("#where") == search_page.focused
    assert "where-problem" == search_page.one("#where").get_attribute("aria-errormessage")
    assert "" == search_page.notice

    search_page.write("#where", "page!=7")
    search_page.search("cat")

    assert "" == search_page.problem("where")
    assert ["a"] == search_page.titles


def test_a_bad_option(search_page: SearchPage, store_url: str) -> None:
    """Is told at its field, which is shown and has the focus, before anything is sent."""
    index(store_url, "notes")
    search_page.open_search(store_url)
    search_page.requests()
    for link, field, said in (
        ("limit=0", "limit", "A whole number from 1 to 100."),
        ("limit=1.5", "limit", "A whole number from 1 to 100."),
        ("dense_weight=-1", "dense-weight", "A number, 0 or more."),
        ("dense_weight=0&sparse_weight=0", "sparse-weight", "One of the weights must be more"),
        ("colbert_weight=2", "colbert-weight", "A number from 0 to 1."),
        ("mode=best", "mode", "Choose one of the list."),
    ):
        search_page.follow(f"#search?q=cat&{link}")

        assert said in search_page.problem(field)
        assert search_page.one(f"#{field}") == search_page.focused
    assert [] == [url for url in search_page.requests() if url.endswith("/search")]


def test_a_hostile_document_is_text(search_page: SearchPage, store_url: str) -> None:
    """In all that is shown of it; the marks are where they belong behind wide characters."""
    hostile = {
        "source": f"{HOSTILE} source",
        "title": f"{HOSTILE} title",
        "text": f"😀𠮷 password {HOSTILE} \u202e backwards",
        "metadata": {"remark": f"{HOSTILE} value"},
    }
    index(store_url, "notes", hostile)
    search_page.open_search(store_url)
    search_page.search("password")

    assert [f"{HOSTILE} title"] == search_page.titles
    assert [f"{HOSTILE} source"] == search_page.texts(".stands")
    assert HOSTILE in search_page.texts(".found")[0]
    assert [f"{HOSTILE} value"] == search_page.texts(".metadata dd")[1:]
    assert ["password"] == search_page.marked(1)
    assert "Search · Dense, sparse, ColBERT" == search_page.browser.title
    assert [] == search_page.all("#search-view img, #search-view script")

    search_page.one(".compare-hit").click()
    search_page.until(lambda: search_page.all("#heat td.cell"))

    assert "Dense, sparse, ColBERT" == search_page.browser.title
    assert [] == search_page.all("main img, main script")


def test_a_missing_key_is_asked_for(search_page: SearchPage, tmp_path: Path) -> None:
    """Before the collections can be listed; then they are, and the other view has it too."""
    settings = GatewaySettings(store=str(tmp_path), api_keys=SecretStr("a-secret-key"))
    with live_service(settings, FakeTransport()) as url:
        index(url, "notes", Authorization="Bearer a-secret-key")
        search_page.open_search(url, "#search?q=cat")
        asked = search_page.notice
        assert search_page.one("#search-key") == search_page.focused
        search_page.press("a-secret-key")
        search_page.search("cat")
        found = search_page.titles
        curl = search_page.one("#search-request code").text
        key = search_page.one("#key").get_attribute("value")
        address = search_page.browser.current_url

    assert asked.startswith("The server wants a key.")
    assert ["a"] == found
    assert "a-secret-key" == key
    assert "Authorization: Bearer $BGEM3_API_KEY" in curl
    assert "a-secret-key" not in address + search_page.browser.page_source


def test_a_store_that_fails(
    search_page: SearchPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Is said, and can be tried again."""
    store = open_store(str(tmp_path))

    def fail() -> list[str]:
        raise StoreError("the store cannot be reached")

    with (
        monkeypatch.context() as broken,
        live_app(create_app(GatewaySettings(), FakeTransport(), store)) as url,
    ):
        index(url, "notes")
        broken.setattr(store, "names", fail)
        search_page.open_search(url)
        notice = search_page.notice
        broken.undo()
        search_page.one("#reload").click()
        search_page.until(lambda: search_page.one("#collection").get_attribute("value"))

    assert "The store failed, or cannot be reached." in notice
    assert "the store cannot be reached" not in notice  # its words may tell where it is
    assert "the service's log says why" in notice
    assert "" == search_page.notice


def test_nothing_is_found(search_page: SearchPage, store_url: str) -> None:
    """That is said, and announced."""
    index(store_url, "notes")
    search_page.open_search(store_url, "#search?q=cat&where=page==7")

    assert ["Nothing was found. Do the conditions hold of any passage?"] == (
        search_page.texts("#hits .notice")
    )
    announced = search_page.one("#search-announcement").get_attribute("textContent")
    assert "Nothing was found." == announced


def test_nothing_comes_from_elsewhere(search_page: SearchPage, store_url: str) -> None:
    """From opening to searching, in both languages."""
    index(store_url, "notes")
    search_page.requests()
    search_page.open_search(store_url)
    search_page.search("cat")
    search_page.switch_language()
    urls = search_page.requests()

    assert any(url.endswith("/search") for url in urls)
    assert [] == [url for url in urls if not url.startswith(store_url)]
