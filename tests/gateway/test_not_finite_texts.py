"""A text that the model gives NaN for, among others: named by its place in the caller's list."""

from __future__ import annotations

import asyncio

import pytest

from bgem3_client import FakeTransport, InferRequest, InferResponse, NotFiniteError
from bgem3_client.deadline import Deadline
from bgem3_client.encode_request import EncodeOptions
from bgem3_server.gateway.calls.call import Call
from bgem3_server.gateway.dialects.dialect import Dialect
from bgem3_server.gateway.gateway import Gateway
from bgem3_server.gateway.settings import GatewaySettings


class Poisoned(FakeTransport):
    """Gives NaN for one text, and says which of a request it is."""

    async def infer(self, request: InferRequest) -> InferResponse:
        if len(request.outputs) > 1 and b"poison" in request.texts:
            raise NotFiniteError("the model gave NaN", index=request.texts.index(b"poison"))
        return await super().infer(request)


@pytest.mark.parametrize(
    "texts",
    [
        ["a", "a", "a", "poison", "b"],
        [f"{number} " + "word " * 98 for number in range(120)] + ["poison", "a", "poison"],
    ],
    ids=["texts that come again", "a request in parts"],
)
def test_the_index_is_the_callers(texts: list[str]) -> None:
    """Whichever part it travelled in, and however often other texts stand there."""

    async def main() -> None:
        gateway = Gateway.assemble(GatewaySettings(), Poisoned())
        call = Call("id", Dialect.NATIVE, Deadline.after(None))
        try:
            await gateway.encoder.encode(texts, EncodeOptions(), call)
        finally:
            await gateway.client.close()

    with pytest.raises(NotFiniteError, match="the model gave NaN") as caught:
        asyncio.run(main())

    assert texts.index("poison") == caught.value.index
