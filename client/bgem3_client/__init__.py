"""Dense, sparse and ColBERT representations of texts from a BGE-M3 server.

Names are imported when they are first used, so that ``bgem3 --help`` or a look at
``bgem3_client.errors`` does not wait for NumPy and gRPC.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bgem3_client.async_client import AsyncClient
    from bgem3_client.client import Client
    from bgem3_client.colbert import ColbertEmbeddings
    from bgem3_client.embeddings import Embedding, Embeddings
    from bgem3_client.errors import (
        AccessError,
        BgeM3Error,
        ClientClosedError,
        ContractError,
        DeadlineError,
        InternalServerError,
        InvalidInputError,
        ModelNotFoundError,
        NotFiniteError,
        ServerError,
        ServerOutOfMemoryError,
        UnavailableError,
    )
    from bgem3_client.limits import Limits
    from bgem3_client.model_info import ModelInfo
    from bgem3_client.retry_policy import RetryPolicy
    from bgem3_client.scores import colbert_score, dense_score, lexical_score
    from bgem3_client.sparse import SparseEmbedding, SparseEmbeddings
    from bgem3_client.tls import TLS
    from bgem3_client.transports import FakeTransport, InferRequest, InferResponse, Transport

_MODULES = {
    "AccessError": "errors",
    "AsyncClient": "async_client",
    "BgeM3Error": "errors",
    "Client": "client",
    "ClientClosedError": "errors",
    "ColbertEmbeddings": "colbert",
    "ContractError": "errors",
    "DeadlineError": "errors",
    "Embedding": "embeddings",
    "Embeddings": "embeddings",
    "FakeTransport": "transports",
    "InferRequest": "transports",
    "InferResponse": "transports",
    "InternalServerError": "errors",
    "InvalidInputError": "errors",
    "Limits": "limits",
    "ModelInfo": "model_info",
    "ModelNotFoundError": "errors",
    "NotFiniteError": "errors",
    "RetryPolicy": "retry_policy",
    "ServerError": "errors",
    "ServerOutOfMemoryError": "errors",
    "SparseEmbedding": "sparse",
    "SparseEmbeddings": "sparse",
    "TLS": "tls",
    "Transport": "transports",
    "UnavailableError": "errors",
    "colbert_score": "scores",
    "dense_score": "scores",
    "lexical_score": "scores",
}

__all__ = [
    "TLS",
    "AccessError",
    "AsyncClient",
    "BgeM3Error",
    "Client",
    "ClientClosedError",
    "ColbertEmbeddings",
    "ContractError",
    "DeadlineError",
    "Embedding",
    "Embeddings",
    "FakeTransport",
    "InferRequest",
    "InferResponse",
    "InternalServerError",
    "InvalidInputError",
    "Limits",
    "ModelInfo",
    "ModelNotFoundError",
    "NotFiniteError",
    "RetryPolicy",
    "ServerError",
    "ServerOutOfMemoryError",
    "SparseEmbedding",
    "SparseEmbeddings",
    "Transport",
    "UnavailableError",
    "colbert_score",
    "dense_score",
    "lexical_score",
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
