"""How the page's files are served, and that they need nothing from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from posixpath import normpath

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from bgem3_server.gateway.page import page_router
from bgem3_server.gateway.page.assets import read_assets

ASSETS = read_assets()


@pytest.fixture
def site() -> Iterator[TestClient]:
    app = FastAPI()
    app.include_router(page_router())
    with TestClient(app) as client:
        yield client


def test_the_page_allows_nothing_from_elsewhere(site: TestClient):
    """Its policy names this server alone, and forbids whatever is inline."""
    response = site.get("/")
    policy = response.headers["content-security-policy"]

    assert 200 == response.status_code
    assert "text/html; charset=utf-8" == response.headers["content-type"]
    assert policy.startswith("default-src 'self';")
    assert "unsafe" not in policy
    assert "nosniff" == response.headers["x-content-type-options"]


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("main.js", "text/javascript; charset=utf-8"),
        ("style.css", "text/css; charset=utf-8"),
        ("search/hit_view.js", "text/javascript; charset=utf-8"),
        ("icon.svg", "image/svg+xml"),
    ],
)
def test_files_have_the_types_that_browsers_insist_on(site: TestClient, name: str, media_type: str):
    assert media_type == site.get(f"/page/{name}").headers["content-type"]


@pytest.mark.parametrize("path", ["/", "/page/main.js"])
def test_an_unchanged_file_is_not_sent_again(site: TestClient, path: str):
    """A browser that has the file gets 304 and no body; any other gets the file."""
    etag = site.get(path).headers["etag"]

    for header in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        response = site.get(path, headers={"If-None-Match": header})
        assert (304, b"", etag) == (
            response.status_code,
            response.content,
            response.headers["etag"],
        )
    assert 200 == site.get(path, headers={"If-None-Match": '"other"'}).status_code
    assert "no-cache" == site.get(path).headers["cache-control"]


def test_head_gives_the_headers_alone(site: TestClient):
    assert b"" == site.head("/").content
    assert site.get("/").headers["etag"] == site.head("/").headers["etag"]


@pytest.mark.parametrize(
    "name", ["nothing.js", "..%2Frouter.py", "search/..%2F..%2Frouter.py", "search", "search/"]
)
def test_only_the_page_is_served(site: TestClient, name: str):
    assert 404 == site.get(f"/page/{name}").status_code


@pytest.mark.parametrize("name", sorted(ASSETS))
def test_files_name_no_other_host(name: str):
    """Everything the page uses is on this server: it works without a network."""
    text = ASSETS[name].content.decode()
    outside = re.findall(r"(?:https?:)?//[a-z0-9-]+\.[a-z0-9.-]+", text)

    assert [] == [url for url in outside if url != "http://www.w3.org"]


@pytest.mark.parametrize("name", sorted(name for name in ASSETS if name.endswith(".js")))
def test_modules_import_files_that_are_there(name: str):
    imported = re.findall(r'from "([^"]+)"', ASSETS[name].content.decode())
    paths = {normpath(PurePosixPath(name).parent / path) for path in imported}

    assert paths <= set(ASSETS)


def test_the_page_links_files_that_are_there():
    html = ASSETS["index.html"].content.decode()
    linked = re.findall(r'(?:href|src)="page/([^"]+)"', html)

    assert set(linked) <= set(ASSETS)
    assert {name for name in ASSETS if name.endswith(".css")} <= set(linked)


def test_every_label_leads_to_a_field_of_its_own():
    """No id is there twice."""
    html = ASSETS["index.html"].content.decode()
    ids = re.findall(r'\sid="([^"]+)"', html)
    referred = re.findall(r'\s(?:for|aria-labelledby|aria-describedby)="([^"]+)"', html)

    assert sorted(set(ids)) == sorted(ids)
    assert set(referred) <= set(ids)


def test_the_page_has_no_inline_script_or_style():
    html = ASSETS["index.html"].content.decode()

    assert ['<script type="module" src="page/main.js"></script>'] == re.findall(
        r"<script.*?</script>", html, re.DOTALL
    )
    assert [] == re.findall(r"<style|\sstyle=|\son[a-z]+=", html)
