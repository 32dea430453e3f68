"""The ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from bgem3_client.errors import BgeM3Error, InvalidInputError
from bgem3_client.transports import Transport
from bgem3_server.gateway.call_middleware import CallMiddleware
from bgem3_server.gateway.dialects import native, openai, rerank, score, tei
from bgem3_server.gateway.errors import MethodError, UnknownRouteError
from bgem3_server.gateway.gateway import Gateway
from bgem3_server.gateway.settings import GatewaySettings
from bgem3_server.gateway.validation import invalid_input


def create_app(settings: GatewaySettings, transport: Transport | None = None) -> FastAPI:
    """Return the service as an ASGI application.

    Args:
        settings: Of the service.
        transport: Carries the requests instead of a connection to ``settings.triton``.

    Raises:
        InvalidInputError: A setting is wrong.
        RepositoryError: The repository's manifest is damaged.
    """
    gateway = Gateway.assemble(settings, transport)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await gateway.client.close()

    app = FastAPI(
        title="BGE-M3",
        summary="Dense, sparse and ColBERT representations of texts from one forward pass",
        version=version("bgem3-triton"),
        lifespan=lifespan,
        strict_content_type=False,  # curl -d says something else than JSON
    )
    app.state.gateway = gateway
    for router in (native.router, openai.router, tei.router, rerank.router, score.router):
        app.include_router(router)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_middleware(CallMiddleware, settings=settings, metrics=gateway.metrics)
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
        raise UnknownRouteError(
            f"there is nothing at {request.url.path}; /docs lists what there is"
        )
    if error.status_code == 405:
        raise MethodError(
            f"{request.url.path} does not take {request.method}; /docs says what it takes"
        )
    if error.status_code == 400:
        raise InvalidInputError("the request's body cannot be read: send JSON in UTF-8")
    raise error
