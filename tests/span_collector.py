"""A collector of traces for tests: OTLP over HTTP, kept in memory."""

from __future__ import annotations

import base64
import gzip
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from google.protobuf.json_format import ParseDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


@dataclass(frozen=True)
class SeenSpan:
    """What came of a span; ids in hexadecimal, times in nanoseconds."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    begin: int
    end: int
    attributes: dict[str, Any]
    is_error: bool


class SpanCollector:
    """The spans so far.

    Attributes:
        url: The base that exporters are told.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._spans: list[SeenSpan] = []

    def add(self, content_type: str, body: bytes) -> None:
        """Take what an exporter has sent."""
        if content_type == "application/json":
            request = _from_json(body)
        else:
            request = ExportTraceServiceRequest.FromString(body)
        self._spans += _spans(request)

    def all(self) -> list[SeenSpan]:
        """The spans of all traces."""
        return list(self._spans)

    def of(self, trace_id: str) -> list[SeenSpan]:
        """The spans of one trace, in the order in which they began."""
        return sorted(
            (span for span in self._spans if span.trace_id == trace_id), key=lambda s: s.begin
        )

    def wait_for(
        self,
        trace_id: str,
        condition: Callable[[list[SeenSpan]], bool],
        timeout_seconds: float = 30,
    ) -> list[SeenSpan]:
        """Return the spans of a trace as soon as they satisfy a condition."""
        deadline = time.monotonic() + timeout_seconds
        while not condition(self.of(trace_id)):
            names = [(span.service, span.name) for span in self.of(trace_id)]
            assert time.monotonic() < deadline, f"only {names} arrived"
            time.sleep(0.05)
        return self.of(trace_id)


@contextmanager
def span_collector() -> Iterator[SpanCollector]:
    """A collector on a port that the system picked."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            collector.add(self.headers["Content-Type"], body)
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector = SpanCollector(f"http://127.0.0.1:{server.server_address[1]}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()


def _spans(request: ExportTraceServiceRequest) -> Iterator[SeenSpan]:
    for resource in request.resource_spans:
        service = _attributes(resource.resource.attributes)["service.name"]
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield SeenSpan(
                    service,
                    span.name,
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    span.start_time_unix_nano,
                    span.end_time_unix_nano,
                    _attributes(span.attributes),
                    span.status.code == span.status.STATUS_CODE_ERROR,
                )


def _from_json(body: bytes) -> ExportTraceServiceRequest:
    """Read OTLP's JSON, as Triton sends it: Protobuf's, but for ids, which are hexadecimal."""
    content = json.loads(body)
    for resource in content["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                for key in {"traceId", "spanId", "parentSpanId"} & set(span):
                    span[key] = base64.b64encode(bytes.fromhex(span[key])).decode()
    return ParseDict(content, ExportTraceServiceRequest(), ignore_unknown_fields=True)


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
