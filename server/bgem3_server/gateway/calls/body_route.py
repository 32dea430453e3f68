"""A route that reads its body without the machinery that it has no use for."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import Any, get_type_hints

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import TypeAdapter, ValidationError
from starlette.responses import Response

from bgem3_client.errors import InvalidInputError
from bgem3_server.gateway.calls.call import CALL_KEY


class BodyRoute(APIRoute):
    """A route of ``(body, call, gateway)`` and perhaps ``request``, which returns a Response.

    FastAPI resolves dependencies and looks for fields to read and to serialise in every request,
    which is a quarter of what a short one costs. The schema is FastAPI's all the same, and so are
    routes without a body.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers a request; see FastAPI's "Custom Request and APIRoute class"."""
        endpoint = self.endpoint
        hints = get_type_hints(endpoint, include_extras=True)
        if "body" not in hints:
            return super().get_route_handler()
        adapter: TypeAdapter[Any] = TypeAdapter(hints["body"])
        takes_request = "request" in hints

        async def handle(request: Request) -> Response:
            values = {"body": _checked(await request.body(), adapter)}
            if takes_request:
                values["request"] = request
            response: Response = await endpoint(
                call=request.scope[CALL_KEY], gateway=request.app.state.gateway, **values
            )
            return response

        return handle


def _checked(body: bytes, adapter: TypeAdapter[Any]) -> Any:  # noqa: ANN401 - the route's own
    """Return the body as its model.

    Raises:
        RequestValidationError: It is not JSON, or not what the model takes; as FastAPI says it.
        InvalidInputError: It is not even text, or nested too deep.
    """
    try:
        content = json.loads(body) if body else None
    except json.JSONDecodeError as error:
        raise RequestValidationError(
            [
                {
                    "type": "json_invalid",
                    "loc": ("body", error.pos),
                    "msg": "JSON decode error",
                    "input": {},
                    "ctx": {"error": error.msg},
                }
            ]
        ) from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise InvalidInputError("the request's body cannot be read: send JSON in UTF-8") from error
    if content is None:
        raise RequestValidationError(
            [{"type": "missing", "loc": ("body",), "msg": "Field required", "input": None}]
        )
    try:
        return adapter.validate_python(content)
    except ValidationError as error:
        raise RequestValidationError(
            [{**item, "loc": ("body", *item["loc"])} for item in error.errors(include_url=False)]
        ) from error
