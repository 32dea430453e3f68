"""What is served, as text-embeddings-inference tells it."""

from __future__ import annotations

from importlib.metadata import version
from typing import Final

from bgem3_backend.contract import MAX_POSITIONS_TOKENS
from bgem3_server.gateway.dialects.tei.answers import EmbeddingModel, Info, ModelType
from bgem3_server.gateway.gateway import Gateway

# Of a long passage.
_REQUEST_TOKENS: Final = 512


def info(gateway: Gateway) -> Info:
    """Return the model and the limits.

    Clients cut their work into batches of ``max_client_batch_size`` without looking at lengths,
    so it is what always fits, not the most that may be sent.
    """
    settings = gateway.settings
    return Info(
        model_id=gateway.model.name,
        model_sha=gateway.model.revision or None,
        model_dtype=gateway.model.precision,
        model_type=ModelType(embedding=EmbeddingModel(pooling="cls")),
        max_concurrent_requests=settings.max_load_tokens // _REQUEST_TOKENS,
        max_input_length=MAX_POSITIONS_TOKENS,
        max_batch_tokens=settings.max_in_flight_tokens,
        max_batch_requests=None,
        max_client_batch_size=min(
            settings.max_texts, settings.max_load_tokens // MAX_POSITIONS_TOKENS
        ),
        auto_truncate=settings.auto_truncate,
        tokenization_workers=gateway.counter.workers,
        version=version("bgem3-triton"),
        sha=None,
        docker_label=None,
    )
