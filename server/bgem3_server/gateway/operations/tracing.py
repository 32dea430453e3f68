"""Traces: a caller's goes on through the service into Triton, and all of it can be exported."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import version
from typing import Final

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.environment_variables import (
    OTEL_EXPORTER_OTLP_ENDPOINT,
    OTEL_EXPORTER_OTLP_TRACES_ENDPOINT,
    OTEL_SERVICE_NAME,
)
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bgem3_server.gateway.access.paths import MONITORING_PATHS
from bgem3_server.gateway.calls.call import CALL_KEY, Call
from bgem3_server.gateway.settings import GatewaySettings

_TRACES_PATH: Final = "/v1/traces"
_W3C: Final = TraceContextTextMapPropagator()

# Without a provider it makes no spans, and those that it is asked for stand for the caller's.
_tracer = trace.get_tracer("bgem3.gateway")


def set_up_tracing(settings: GatewaySettings) -> Callable[[], None]:
    """Export spans from now on, if there is somewhere to send them; once a process.

    A provider that is already there, as of `opentelemetry-instrument`, is left as it is.

    Returns:
        To be called at the end: sends what was not sent yet.
    """
    wanted = otlp_endpoint(settings) or os.environ.get(OTEL_EXPORTER_OTLP_TRACES_ENDPOINT)
    if not wanted or isinstance(trace.get_tracer_provider(), TracerProvider):
        return lambda: None
    # OpenTelemetry's own variables are read by the exporter itself.
    endpoint = _traces_url(settings.otlp_endpoint) if settings.otlp_endpoint else None
    resource = Resource.create(
        {
            SERVICE_NAME: os.environ.get(OTEL_SERVICE_NAME, "bgem3-gateway"),
            SERVICE_VERSION: version("bgem3-triton"),
        }
    )
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint)))
    trace.set_tracer_provider(provider)
    return provider.shutdown


def otlp_endpoint(settings: GatewaySettings) -> str:
    """Return where traces are sent, as the settings or OpenTelemetry's variable say; or nothing."""
    return settings.otlp_endpoint or os.environ.get(OTEL_EXPORTER_OTLP_ENDPOINT, "")


def trace_headers() -> dict[str, str]:
    """Return what tells Triton the span that its own belong to: ``traceparent``, or nothing.

    Nothing also in a trace that is not sampled: Triton would sample its part of it nonetheless.
    """
    headers: dict[str, str] = {}
    if trace.get_current_span().get_span_context().trace_flags.sampled:
        _W3C.inject(headers)
    return headers


def triton_trace_options(endpoint: str) -> tuple[str, ...]:
    """Return the options that make Triton send its spans to the same place.

    It traces the requests that belong to a trace, and no others: neither probes nor those of
    clients who did not ask for it.

    Args:
        endpoint: See :func:`otlp_endpoint`.
    """
    return (
        "--trace-config=mode=opentelemetry",
        "--trace-config=level=TIMESTAMPS",
        "--trace-config=rate=0",
        "--trace-config=opentelemetry,resource=service.name=bgem3-triton",
        f"--trace-config=opentelemetry,url={_traces_url(endpoint)}",
    )


def stage(name: str) -> AbstractContextManager[Span]:
    """Make what is done inside a span of its own, where spans are exported.

    Where they are not, OpenTelemetry's own way costs each of them more than it would do.
    """
    if _exported():
        return _tracer.start_as_current_span(name)
    return nullcontext(INVALID_SPAN)


def _exported() -> bool:
    return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


class TraceMiddleware:
    """Makes a request one span, in the trace of the caller where it names one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; see ASGI."""
        if scope["type"] != "http" or scope["path"] in MONITORING_PATHS:
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if "traceparent" not in headers and not _exported():
            await self._app(scope, receive, send)
            return
        status = 0

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        with _tracer.start_as_current_span(
            scope["method"], _W3C.extract(headers), SpanKind.SERVER
        ) as span:
            try:
                await self._app(scope, receive, watched)
            finally:
                if span.is_recording():
                    _describe(span, scope, status)


def _describe(span: Span, scope: Scope, status: int) -> None:
    """Say what the request was, in OpenTelemetry's words where it has some."""
    route = getattr(scope.get("route"), "path", "")
    span.update_name(f"{scope['method']} {route}".rstrip())
    span.set_attribute("http.request.method", scope["method"])
    span.set_attribute("url.path", scope["path"])
    if route:
        span.set_attribute("http.route", route)
    if status:
        span.set_attribute("http.response.status_code", status)
    if status >= 500:
        span.set_status(StatusCode.ERROR)
    call: Call | None = scope.get(CALL_KEY)
    if call is not None:
        span.set_attribute("bgem3.request_id", call.request_id)
        span.set_attribute("bgem3.modes", call.modes)
        span.set_attribute("bgem3.texts", call.texts)
        span.set_attribute("bgem3.tokens", call.tokens)
        span.set_attribute("bgem3.cached_texts", call.cached)
        span.set_attribute("bgem3.joined_texts", call.joined)
        if call.error:
            span.set_attribute("error.type", call.error)


def _traces_url(endpoint: str) -> str:
    base = endpoint.rstrip("/")
    return base if base.endswith(_TRACES_PATH) else base + _TRACES_PATH
