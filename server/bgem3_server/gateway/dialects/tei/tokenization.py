"""Texts to tokens and back, as text-embeddings-inference answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from starlette.responses import Response

from bgem3_server.gateway.calls.call import Call
from bgem3_server.gateway.calls.errors import EmptyInputError, TooLargeError
from bgem3_server.gateway.dialects.tei.requests import TeiDecodeRequest, TeiTokenizeRequest
from bgem3_server.gateway.dialects.texts import text_list
from bgem3_server.gateway.encoding.token_counter import Token
from bgem3_server.gateway.gateway import Gateway
from bgem3_server.gateway.serialization.json import json_response

# A token in Python and in JSON together.
_TOKEN_BYTES: Final = 400


async def tokenize(body: TeiTokenizeRequest, call: Call, gateway: Gateway) -> Response:
    """Answer ``/tokenize``: the tokens of each text, nothing truncated."""
    texts = text_list(body.inputs, "inputs")
    async with call.deadline.enforced():
        # Counted first, because a token's description takes many times its own memory.
        _check_tokens(int((await gateway.encoder.count(texts)).sum()), call, gateway)
        tokens = await gateway.counter.tokenize(texts, add_special_tokens=body.add_special_tokens)
    # Iterators: a long text's tokens are written some at a time.
    return json_response(map(_simple_tokens, tokens))


async def decode(body: TeiDecodeRequest, call: Call, gateway: Gateway) -> Response:
    """Answer ``/decode``: the text of each row of ids."""
    if not body.ids:
        raise EmptyInputError("ids is empty: send the ids of one text at least")
    limit = gateway.settings.max_texts
    if len(body.ids) > limit:
        raise TooLargeError(
            f"the request has {len(body.ids)} rows of ids, and this service takes {limit} at "
            "once: send them in several requests",
            figures={"request_texts": len(body.ids), "limit_texts": limit},
        )
    async with call.deadline.enforced():
        texts = await gateway.counter.decode(body.ids, skip_special_tokens=body.skip_special_tokens)
    return json_response(texts)


def _simple_tokens(tokens: Sequence[Token]) -> Iterator[dict[str, Any]]:
    for token in tokens:
        yield {
            "id": token.id,
            "text": token.text,
            "special": token.special,
            "start": token.start,
            "stop": token.stop,
        }


def _check_tokens(tokens: int, call: Call, gateway: Gateway) -> None:
    """Refuse more tokens than could be embedded, and keep memory for their descriptions.

    Raises:
        TooLargeError: There are more.
        ResultMemoryError: There is not so much memory now.
    """
    limit = gateway.settings.max_load_tokens
    if tokens > limit:
        raise TooLargeError(
            f"the texts have {tokens} tokens together, and this service takes {limit} at once: "
            "send fewer or shorter texts a request",
            figures={"request_tokens": tokens, "budget_tokens": limit},
        )
    gateway.memory.reserve(tokens * _TOKEN_BYTES, call)
