"""What the service counts, for Prometheus."""

from __future__ import annotations

import os
from importlib.metadata import version
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.process_collector import ProcessCollector

from bgem3_server.gateway.model_card import ModelCard
from bgem3_server.gateway.settings import GatewaySettings

# From a cached short query to a long document on a CPU.
_SECONDS: Final = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300)
# The Prometheus library reads this when it is imported, and keeps all figures there from then on.
_SHARED_FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"


class Metrics:
    """The service's own metrics; Triton's are at its metrics port.

    Where `PROMETHEUS_MULTIPROC_DIR` names a folder, processes share their figures through it, and
    each answers for all of them.

    Attributes:
        shared: Whether that is so.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        # A second series for each, which says when it began.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry
        self.shared = bool(os.environ.get(_SHARED_FOLDER))
        self.requests = Counter(
            "bgem3_http_requests",
            "Requests answered",
            ["route", "dialect", "status"],
            registry=registry,
        )
        self.latency_seconds = Histogram(
            "bgem3_http_request_seconds",
            "From a request's arrival to the end of its answer, those of monitoring left out",
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
        self.texts = Counter("bgem3_texts", "Texts answered", registry=registry)
        self.tokens = Counter(
            "bgem3_tokens", "Tokens of those texts, after truncation", registry=registry
        )
        self.truncated_texts = Counter(
            "bgem3_truncated_texts", "Texts cut to max_length", registry=registry
        )
        self.joined_texts = Counter(
            "bgem3_joined_texts",
            "Texts answered by what was on its way for another request, or stood in the same one",
            registry=registry,
        )
        self.cache_hits = Counter(
            "bgem3_cache_hits", "Texts looked up in the cache and found", registry=registry
        )
        self.cache_misses = Counter(
            "bgem3_cache_misses", "Texts looked up in the cache and not found", registry=registry
        )
        self.cache_evictions = Counter(
            "bgem3_cache_evictions", "Entries of the cache dropped for room", registry=registry
        )
        self.cache_bytes = Gauge(
            "bgem3_cache_bytes",
            "Memory that the cache takes",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.cache_entries = Gauge(
            "bgem3_cache_entries",
            "Representations of texts in the cache",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.rejections = Counter(
            "bgem3_rejections", "Requests refused or failed", ["reason"], registry=registry
        )
        self.triton_errors = Counter(
            "bgem3_triton_errors", "Requests to Triton that failed", ["kind"], registry=registry
        )
        self.triton_up = Gauge(
            "bgem3_triton_up",
            "1 while Triton answers a text with vectors",
            registry=registry,
            multiprocess_mode="livemin",
        )
        self.fallback_up = Gauge(
            "bgem3_fallback_up",
            "1 while the fallback Triton could take over; 0 also where there is none",
            registry=registry,
            multiprocess_mode="livemin",
        )
        self.fallback_active = Gauge(
            "bgem3_fallback_active",
            "1 while requests go to the fallback Triton",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self.fallback_requests = Counter(
            "bgem3_fallback_requests",
            "Requests to the fallback Triton",
            ["reason"],
            registry=registry,
        )
        self.canary_up = Gauge(
            "bgem3_canary_up",
            "1 while the canary can answer its share; 0 also where there is none",
            registry=registry,
            multiprocess_mode="livemin",
        )
        self.canary_failures = Counter(
            "bgem3_canary_failures",
            "Requests that the canary failed at, and that went to the primary",
            ["kind"],
            registry=registry,
        )
        self.served_seconds = Histogram(
            "bgem3_served_seconds",
            "From a request's arrival to the end of its answer, by what encoded its texts",
            ["by"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.waiting_tokens = Gauge(
            "bgem3_waiting_tokens",
            "Tokens admitted and not yet sent to Triton",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.in_flight_tokens = Gauge(
            "bgem3_in_flight_tokens",
            "Tokens that Triton has",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.result_bytes = Gauge(
            "bgem3_result_bytes",
            "Memory that answers take until sent",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.max_load_tokens = Gauge(
            "bgem3_max_load_tokens",
            "Tokens that may wait or run at once",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.max_in_flight_tokens = Gauge(
            "bgem3_max_in_flight_tokens",
            "Tokens that Triton may have at once",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.max_result_bytes = Gauge(
            "bgem3_max_result_bytes",
            "Memory that answers may take until sent",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.max_cache_bytes = Gauge(
            "bgem3_max_cache_bytes",
            "Memory that the cache may take; 0 without one",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.build = Gauge(
            "bgem3_build_info",
            "1, with what is running",
            ["version", "model", "revision", "demo"],
            registry=registry,
            multiprocess_mode="livemax",
        )
        if not self.shared:
            ProcessCollector(registry=registry)

    def show_build(self, model: ModelCard) -> None:
        """Say what is running."""
        self.build.labels(
            version("bgem3-triton"), model.name, model.revision, str(model.demo).lower()
        ).set(1)

    def show_limits(self, settings: GatewaySettings) -> None:
        """Say what the figures of load are held against."""
        self.max_load_tokens.set(settings.max_load_tokens)
        self.max_in_flight_tokens.set(settings.max_in_flight_tokens)
        self.max_result_bytes.set(settings.max_result_bytes)
        self.max_cache_bytes.set(settings.cache_bytes)

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """Return all figures, and their content type.

        Args:
            accept: The scraper's header; it may ask for OpenMetrics.
        """
        registry = self.registry
        if self.shared:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        try:
            encode, content_type = choose_encoder(accept)
        except TypeError:  # it compares a version that is no number with one that is
            encode, content_type = generate_latest, CONTENT_TYPE_PLAIN_0_0_4
        return encode(registry), content_type
