"""The dialect of Hugging Face's text-embeddings-inference (TEI)."""

from bgem3_server.gateway.dialects.tei.embedding import embed
from bgem3_server.gateway.dialects.tei.requests import TeiEmbedRequest, TeiRerankRequest
from bgem3_server.gateway.dialects.tei.reranking import rerank
from bgem3_server.gateway.dialects.tei.routes import router

__all__ = ["TeiEmbedRequest", "TeiRerankRequest", "embed", "rerank", "router"]
