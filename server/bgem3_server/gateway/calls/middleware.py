"""What surrounds every request: its id, its deadline, its end, and errors as answers."""

from __future__ import annotations

import asyncio
import time
from typing import Final

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bgem3_client.deadline import Deadline
from bgem3_client.errors import InvalidInputError
from bgem3_server.gateway.access.paths import MONITORING_PATHS, UPLOAD_PATH
from bgem3_server.gateway.calls.caching import cache_status, read_caching
from bgem3_server.gateway.calls.call import CALL_KEY, Call, Priority, request_id
from bgem3_server.gateway.calls.error_table import error_kind
from bgem3_server.gateway.calls.errors import BodyTimeoutError, NotReadyError, TooLargeError
from bgem3_server.gateway.calls.problem import problem_response
from bgem3_server.gateway.dialects.dialect import dialect_of
from bgem3_server.gateway.operations.metrics import Metrics
from bgem3_server.gateway.settings import GatewaySettings
from bgem3_server.gateway.tritons.role import CanaryChoice, Role

_PRIORITIES: Final = {"interactive": Priority.INTERACTIVE, "bulk": Priority.BULK}
_CANARY_CHOICES: Final = {"always": CanaryChoice.ALWAYS, "never": CanaryChoice.NEVER}

log = structlog.get_logger("bgem3.gateway")


class CallMiddleware:
    """Gives each request its :class:`Call`, and turns whatever it raises into an answer.

    Pure ASGI: what is measured and limited here costs every short request.
    """

    def __init__(self, app: ASGIApp, settings: GatewaySettings, metrics: Metrics) -> None:
        self._app = app
        self._settings = settings
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; see ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        _take_as_json(scope)
        headers = Headers(scope=scope)
        began = time.perf_counter()  # uvloop's own clock counts milliseconds
        call = Call(
            request_id(headers),
            dialect_of(scope["path"]),
            Deadline.after(self._settings.request_timeout_seconds),
        )
        scope[CALL_KEY] = call
        exchange = _Exchange(call, receive, send, self._settings, scope["path"])
        try:
            try:
                exchange.check_size(headers)
                self._read_headers(headers, call)
                await self._app(scope, exchange.receive, exchange.send)
            except ClientDisconnect:
                pass  # before the whole body was here: nobody's fault, and nobody to answer
            except Exception as error:
                if exchange.status:
                    raise  # the connection is cut: a broken answer must not look like a whole one
                self._tell(error, call)
                await problem_response(error, call)(scope, receive, exchange.send)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if exchange.caller_left and task is not None:
                task.uncancel()  # it was us, and there is nobody to answer
            elif exchange.status:
                raise
            else:
                stopped = NotReadyError("the service stopped before it answered: send it again")
                self._tell(stopped, call)
                await problem_response(stopped, call)(scope, receive, exchange.send)
        finally:
            exchange.end()
            call.finish.close()
            self._count(scope, exchange, call, time.perf_counter() - began)

    def _read_headers(self, headers: Headers, call: Call) -> None:
        if (name := headers.get("x-priority")) is not None:
            if name.lower() not in _PRIORITIES:
                raise InvalidInputError(f"X-Priority is {name!r}; send 'interactive' or 'bulk'")
            call.priority = _PRIORITIES[name.lower()]
        if directives := headers.getlist("cache-control"):
            call.caching = read_caching(",".join(directives))
        if (choice := headers.get("x-bgem3-canary")) is not None:
            if choice.lower() not in _CANARY_CHOICES:
                raise InvalidInputError(f"X-Bgem3-Canary is {choice!r}; send 'always' or 'never'")
            call.canary = _CANARY_CHOICES[choice.lower()]
        if (timeout := headers.get("x-timeout-seconds")) is not None:
            call.deadline = Deadline.after(
                min(_seconds(timeout), self._settings.request_timeout_seconds)
            )

    def _tell(self, error: Exception, call: Call) -> None:
        kind = error_kind(error)
        call.error = kind.code
        self._metrics.rejections.labels(kind.code).inc()
        if kind.ours:
            log.error("request failed", request_id=call.request_id, exc_info=error)

    def _count(self, scope: Scope, exchange: _Exchange, call: Call, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "unmatched")
        status = exchange.status or 499  # as nginx calls a caller who left
        metrics = self._metrics
        metrics.requests.labels(route, call.dialect.value, str(status)).inc()
        is_monitoring = route in MONITORING_PATHS
        if not is_monitoring:
            metrics.latency_seconds.labels(route, call.modes).observe(seconds)
        if call.served_by is not None:
            metrics.served_seconds.labels(call.served_by.value).observe(seconds)
        metrics.texts.inc(call.texts)
        metrics.tokens.inc(call.tokens)
        metrics.truncated_texts.inc(call.truncated)
        metrics.joined_texts.inc(call.joined)
        tell = log.debug if is_monitoring else log.info
        tell(
            "request",
            request_id=call.request_id,
            method=scope["method"],
            route=route,
            status=status,
            milliseconds=round(seconds * 1e3, 1),
            modes=call.modes,
            texts=call.texts,
            tokens=call.tokens,
            queue_milliseconds=round(call.queue_seconds * 1e3, 1),
            **({} if call.served_by in (None, Role.PRIMARY) else {"served_by": call.served_by}),
            **({"cached": call.cached} if call.cached else {}),
            **({"joined": call.joined} if call.joined else {}),
            **({"error": call.error} if call.error else {}),
        )


class _Exchange:
    """The two directions of one request, watched.

    Attributes:
        status: Of the answer, once it has begun; 0 before.
        caller_left: The caller hung up before the answer began.
    """

    def __init__(
        self, call: Call, receive: Receive, send: Send, settings: GatewaySettings, path: str
    ) -> None:
        self.status = 0
        self.caller_left = False
        self._call = call
        self._receive = receive
        self._send = send
        self._settings = settings
        self._takes_files = path == UPLOAD_PATH
        self._body_bytes = 0
        self._began_seconds = time.perf_counter()
        self._task = asyncio.current_task()
        self._watcher: asyncio.Task[Message] | None = None

    def check_size(self, headers: Headers) -> None:
        """Refuse a body that says itself that it is too large.

        Raises:
            TooLargeError: It is.
        """
        length = headers.get("content-length", "")
        self._check_bytes(int(length) if length.isdecimal() else 0)

    async def receive(self) -> Message:
        """Pass on the body; when it is complete, watch whether the caller stays."""
        if self._watcher is not None:
            return await asyncio.shield(self._watcher)
        try:
            async with asyncio.timeout(self._settings.body_timeout_seconds):
                message = await self._receive()
        except TimeoutError as error:
            raise BodyTimeoutError(
                f"nothing of the body arrived for {self._settings.body_timeout_seconds:g} s"
            ) from error
        if message["type"] == "http.request":
            self._body_bytes += len(message.get("body", b""))
            self._check_bytes(self._body_bytes)
            if not message.get("more_body", False):
                self._watcher = asyncio.create_task(self._watch())
        return message

    async def send(self, message: Message) -> None:
        """Pass on the answer, with the request's id and how long it took."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            call = self._call
            headers = MutableHeaders(scope=message)
            headers["X-Request-Id"] = call.request_id
            milliseconds = (time.perf_counter() - self._began_seconds) * 1e3
            headers["Server-Timing"] = (
                f"total;dur={milliseconds:.1f}, queue;dur={call.queue_seconds * 1e3:.1f}"
            )
            if self._settings.has_other_tritons and call.served_by is not None:
                headers["X-Bgem3-Served-By"] = call.served_by.value
            if self._settings.cache_bytes and call.texts:
                headers["Cache-Status"] = cache_status(
                    call.caching, call.texts, call.cached, call.joined
                )
        await self._send(message)

    def end(self) -> None:
        """Stop watching."""
        if self._watcher is not None:
            self._watcher.cancel()

    async def _watch(self) -> Message:
        message = await self._receive()
        if not self.status and self._task is not None:
            self.caller_left = True
            self._task.cancel()
        return message

    def _check_bytes(self, size_bytes: int) -> None:
        settings = self._settings
        limit = settings.max_upload_bytes if self._takes_files else settings.max_body_bytes
        if size_bytes > limit:
            things = "files" if self._takes_files else "texts"
            raise TooLargeError(
                f"the request's body has more than {limit} bytes: send fewer {things} a request",
                figures={"limit_bytes": limit},
            )


def _take_as_json(scope: Scope) -> None:
    """Read what ``curl -d`` sends without a header of its own as JSON: nothing here takes forms."""
    form = b"application/x-www-form-urlencoded"
    scope["headers"] = [
        (name, b"application/json" if name == b"content-type" and value == form else value)
        for name, value in scope["headers"]
    ]


def _seconds(value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise InvalidInputError(f"X-Timeout-Seconds is {value!r}; send a number above 0")
    return seconds
