"""What the service counts, for Prometheus."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

# From a cached short query to a long document on a CPU.
_SECONDS: Final = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300)


class Metrics:
    """The service's own metrics; Triton's are at its metrics port."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.requests = Counter(
            "bgem3_http_requests",
            "Requests answered",
            ["route", "dialect", "status"],
            registry=registry,
        )
        self.latency_seconds = Histogram(
            "bgem3_http_request_seconds",
            "From a request's arrival to the end of its answer",
            ["route", "mode"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.queue_seconds = Histogram(
            "bgem3_queue_seconds",
            "How long admitted requests waited for their first turn",
            ["priority"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.texts = Counter("bgem3_texts", "Texts encoded", registry=registry)
        self.tokens = Counter(
            "bgem3_tokens", "Tokens of those texts, after truncation", registry=registry
        )
        self.truncated_texts = Counter(
            "bgem3_truncated_texts", "Texts cut to max_length", registry=registry
        )
        self.rejections = Counter(
            "bgem3_rejections", "Requests refused or failed", ["reason"], registry=registry
        )
        self.triton_errors = Counter(
            "bgem3_triton_errors", "Requests to Triton that failed", ["kind"], registry=registry
        )
        self.triton_up = Gauge(
            "bgem3_triton_up", "1 while Triton answers a text with vectors", registry=registry
        )
        self.waiting_tokens = Gauge(
            "bgem3_waiting_tokens", "Tokens admitted and not yet sent to Triton", registry=registry
        )
        self.in_flight_tokens = Gauge(
            "bgem3_in_flight_tokens", "Tokens that Triton has", registry=registry
        )
        self.result_bytes = Gauge(
            "bgem3_result_bytes", "Memory that answers take until sent", registry=registry
        )
