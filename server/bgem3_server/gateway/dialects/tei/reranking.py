"""Texts in order of how well they answer, as text-embeddings-inference answers."""

from __future__ import annotations

from starlette.responses import Response

from bgem3_server.gateway.calls.call import Call
from bgem3_server.gateway.dialects.dialect import Dialect
from bgem3_server.gateway.dialects.rerank_schema import DEFAULT_WEIGHTS
from bgem3_server.gateway.dialects.tei.embedding import computed
from bgem3_server.gateway.dialects.tei.requests import TeiRerankRequest
from bgem3_server.gateway.dialects.texts import text_list
from bgem3_server.gateway.gateway import Gateway
from bgem3_server.gateway.scoring.ranking import RankOptions
from bgem3_server.gateway.scoring.ranking import rank as rank_texts


async def rerank(body: TeiRerankRequest, call: Call, gateway: Gateway) -> Response:
    """Answer ``/rerank``: the texts' scores, best first."""
    call.dialect = Dialect.TEI
    texts = text_list(body.texts, "texts")
    truncate = gateway.settings.auto_truncate if body.truncate is None else body.truncate
    scores = await rank_texts(
        body.query, texts, RankOptions(truncate=truncate), gateway, call, field="texts"
    )
    by_text = scores.weighted(DEFAULT_WEIGHTS).tolist()
    # sorted() is stable: of equal scores the earlier text comes first.
    order = sorted(range(len(texts)), key=lambda index: -by_text[index])
    ranks = [
        {"index": index, "score": by_text[index]}
        | ({"text": texts[index]} if body.return_text else {})
        for index in order
    ]
    return computed(ranks, [body.query, *texts], call)
