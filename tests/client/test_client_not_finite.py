"""NaN and infinity from a model: told as what they are, with the text, and not tried again."""

from __future__ import annotations

import asyncio

import pytest

from bgem3_client import (
    AsyncClient,
    FakeTransport,
    Limits,
    NotFiniteError,
    RetryPolicy,
    ServerError,
)


def test_the_index_counts_within_the_call():
    """Not within the request that the text travelled in; nothing is sent twice."""
    transport = FakeTransport(script=[None, NotFiniteError("the model gave NaN", index=1)])

    async def main():
        limits = Limits(max_in_flight=1, max_texts_per_request=2)
        async with AsyncClient(transport=transport, limits=limits, retries=RetryPolicy()) as client:
            await client.encode(["a", "b", "c", "d", "e"])

    with pytest.raises(NotFiniteError, match=r"^the model gave NaN") as caught:
        asyncio.run(main())

    assert 3 == caught.value.index
    assert ["about texts[3]"] == caught.value.__notes__
    assert 2 == len(transport.requests)


def test_an_error_of_no_known_text_is_passed_on():
    """As from a server of which no more is known."""
    transport = FakeTransport(script=[NotFiniteError("the model gave NaN")])

    async def main():
        async with AsyncClient(transport=transport) as client:
            await client.encode(["a", "b"])

    with pytest.raises(NotFiniteError) as caught:
        asyncio.run(main())

    assert caught.value.index is None
    assert isinstance(caught.value, ServerError)
