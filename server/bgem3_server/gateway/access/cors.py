"""Pages of other origins: which of them a browser lets call the service."""

from __future__ import annotations

import re
from typing import Final

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from bgem3_client.errors import InvalidInputError
from bgem3_server.gateway.settings import GatewaySettings

_ANY: Final = "*"
# https://www.rfc-editor.org/rfc/rfc6454#section-6.2: what browsers send, so nothing else can match.
_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s@?#]+")
_PREFLIGHT_SECONDS: Final = 3600


class CorsMiddleware(CORSMiddleware):
    """Answers browsers that ask, and marks all answers, those that are errors too.

    No cookies are involved: callers prove who they are by a header of their own.
    """

    def __init__(self, app: ASGIApp, origins: tuple[str, ...]) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=("GET", "POST"),
            allow_headers=("*",),
            expose_headers=("Cache-Status", "Retry-After", "X-Bgem3-Served-By", "X-Request-Id"),
            max_age=_PREFLIGHT_SECONDS,
        )


def cors_origins(settings: GatewaySettings) -> tuple[str, ...]:
    """Return the origins whose pages may call the service.

    Raises:
        InvalidInputError: One is no origin, so that no browser's would ever be the same.
    """
    origins = tuple(part.strip() for part in settings.cors_origins.split(",") if part.strip())
    for origin in origins:
        if origin != _ANY and not _ORIGIN.fullmatch(origin):
            raise InvalidInputError(
                f"cors-origins: {origin!r} is not an origin; write scheme, host and port, as in "
                "https://app.example.com or http://localhost:3000, and nothing behind"
            )
    return origins
