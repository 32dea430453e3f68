"""The ASGI application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.responses import Response

from bgem3_client.errors import BgeM3Error, InvalidInputError
from bgem3_client.transports import Transport
from bgem3_retrieval.stores.store import Store
from bgem3_server.gateway.access.cors import CorsMiddleware, cors_origins
from bgem3_server.gateway.access.keys import KeyMiddleware, declare_keys, read_keys
from bgem3_server.gateway.calls.errors import MethodError, UnknownRouteError
from bgem3_server.gateway.calls.middleware import CallMiddleware
from bgem3_server.gateway.calls.validation import invalid_input
from bgem3_server.gateway.dialects import (
    collections,
    index,
    index_files,
    native,
    openai,
    rerank,
    score,
    search,
    tei,
    token_counts,
)
from bgem3_server.gateway.gateway import Gateway, OtherTransports
from bgem3_server.gateway.operations import health
from bgem3_server.gateway.operations.background import background
from bgem3_server.gateway.operations.tracing import TraceMiddleware, set_up_tracing
from bgem3_server.gateway.page import page_router
from bgem3_server.gateway.settings import GatewaySettings

_PARTS: Final = (
    native,
    token_counts,
    search,
    index,
    index_files,
    collections,
    openai,
    tei,
    rerank,
    score,
    health,
)


def create_app(
    settings: GatewaySettings,
    transport: Transport | None = None,
    store: Store | None = None,
    others: OtherTransports | None = None,
) -> FastAPI:
    """Return the service as an ASGI application.

    Args:
        settings: Of the service.
        transport: Carries the requests instead of a connection to ``settings.triton``.
        store: Holds the collections instead of the one at ``settings.store``; closed at the end.
        others: Carry the requests to the other Tritons that are set.

    Raises:
        InvalidInputError: A setting is wrong.
        MissingLibraryError: What the store needs is not installed.
        RepositoryError: The repository's manifest is damaged.
    """
    gateway = Gateway.assemble(settings, transport, store, others)
    keys = read_keys(settings)
    origins = cors_origins(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        shut_down_tracing = set_up_tracing(settings)
        try:
            async with background(gateway):
                yield
        finally:
            await gateway.close()
            await asyncio.to_thread(shut_down_tracing)

    app = FastAPIOffline(
        redoc_url=None,
        favicon_url="/page/icon.svg",
        title="BGE-M3",
        summary="Dense, sparse and ColBERT representations of texts from one forward pass",
        version=version("bgem3-triton"),
        lifespan=lifespan,
        telemetry={"tracing": False},  # TraceMiddleware passes traces on without an exporter too
        strict_content_type=False,  # a body is JSON, also where no header says so
    )
    app.state.gateway = gateway
    for part in _PARTS:
        app.include_router(part.router)
    app.include_router(page_router())
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(RequestValidationError, _validation_error)
    # From the inside out.
    if keys is not None:
        declare_keys(app, settings.metrics_need_key)
        app.add_middleware(KeyMiddleware, keys=keys, metrics_need_key=settings.metrics_need_key)
    app.add_middleware(CallMiddleware, settings=settings, metrics=gateway.metrics)
    app.add_middleware(TraceMiddleware)
    if origins:
        app.add_middleware(CorsMiddleware, origins=origins)
    return app


# Handlers raise: whatever goes wrong becomes an answer in one place, the call's middleware.


async def _validation_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    raise invalid_input(error) from error


async def _http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if isinstance(error.__cause__, BgeM3Error):
        raise error.__cause__  # raised while the body was read, and wrapped by FastAPI
    if error.status_code == 404:
        advice = "/docs lists what there is"
        if request.url.path.startswith("/v2/models/"):
            advice = (
                "this is the HTTP service and not Triton, and bgem3_client's address for it is "
                "bgem3://HOST:PORT"
            )
        raise UnknownRouteError(f"there is nothing at {request.url.path}; {advice}")
    if error.status_code == 405:
        raise MethodError(
            f"{request.url.path} does not take {request.method}; /docs says what it takes",
            allow=(error.headers or {}).get("Allow", ""),
        )
    if error.status_code == 400:
        raise InvalidInputError("the request's body cannot be read: send JSON in UTF-8")
    raise error
