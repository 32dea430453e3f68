"""The routes of the page."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, HTTPException, Request, Response

from bgem3_server.gateway.page.assets import Asset, read_assets

_HEADERS: Final = {
    # Nothing from elsewhere, and nothing inline.
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "object-src 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    # The names stay the same from version to version, so a browser has to ask each time.
    "Cache-Control": "no-cache",
}


def page_router() -> APIRouter:
    """Return the routes of the page: ``GET /`` and ``GET /page/{path}``.

    Links inside the page are relative, so it also works below a path of a reverse proxy.
    """
    assets = read_assets()
    router = APIRouter(include_in_schema=False)

    @router.api_route("/", methods=["GET", "HEAD"])
    async def page(request: Request) -> Response:
        """The page itself."""
        return _answer(request, assets["index.html"])

    @router.api_route("/page/{path:path}", methods=["GET", "HEAD"])
    async def page_asset(request: Request, path: str) -> Response:
        """One of its style sheets, scripts and pictures."""
        if path not in assets:
            raise HTTPException(404, f"the page has no file {path!r}")
        return _answer(request, assets[path])

    return router


def _answer(request: Request, asset: Asset) -> Response:
    headers = {**_HEADERS, "ETag": asset.etag}
    if _names(request.headers.get("if-none-match", ""), asset.etag):
        return Response(status_code=304, headers=headers)
    return Response(asset.content, media_type=asset.media_type, headers=headers)


def _names(if_none_match: str, etag: str) -> bool:
    """Whether the header lists the tag; weak comparison, as RFC 9110 has it for this header."""
    tags = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    return "*" in tags or etag in tags
