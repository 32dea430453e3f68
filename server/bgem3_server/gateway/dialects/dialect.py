"""The dialects, and which of them a path belongs to."""

from __future__ import annotations

from enum import Enum


class Dialect(Enum):
    """Whose schemas and error shapes a request expects."""

    NATIVE = "native"
    OPENAI = "openai"
    TEI = "tei"
    RERANK = "rerank"


_PATHS = {
    "/v1/embeddings": Dialect.OPENAI,
    "/embeddings": Dialect.OPENAI,
    "/v1/models": Dialect.OPENAI,
    "/": Dialect.TEI,
    "/embed_sparse": Dialect.TEI,
    "/embed_all": Dialect.TEI,
    "/similarity": Dialect.TEI,
    "/tokenize": Dialect.TEI,
    "/decode": Dialect.TEI,
    "/info": Dialect.TEI,
    "/rerank": Dialect.RERANK,
    "/v1/rerank": Dialect.RERANK,
    "/v2/rerank": Dialect.RERANK,
}


def dialect_of(path: str) -> Dialect:
    """Return the dialect of a path as far as the path alone tells.

    ``/embed`` and ``/rerank`` serve two; the body decides there.
    """
    if path.startswith("/v1/models/"):
        return Dialect.OPENAI
    return _PATHS.get(path, Dialect.NATIVE)
