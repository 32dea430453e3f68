"""The one way from texts to representations: parts, order, giving up, and what is left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import numpy as np
import pytest

from bgem3_client import DeadlineError, FakeTransport, InternalServerError, InvalidInputError
from bgem3_client.deadline import Deadline
from bgem3_client.encode_request import EncodeOptions
from bgem3_server.gateway.calls.call import Call
from bgem3_server.gateway.calls.errors import (
    BusyError,
    ResultMemoryError,
    TooLargeError,
)
from bgem3_server.gateway.dialects.dialect import Dialect
from bgem3_server.gateway.gateway import Gateway
from bgem3_server.gateway.settings import GatewaySettings

ALL = EncodeOptions(frozenset({"dense", "sparse", "colbert"}), return_tokens=True)
DENSE = EncodeOptions()


class Transport(FakeTransport):
    """Counts tokens aside, so that ``requests`` has only what was encoded."""

    @property
    def parts(self) -> list[int]:
        """The number of texts in each request for representations."""
        return [len(request.texts) for request in self.requests if len(request.outputs) > 1]


def call(timeout_seconds: float | None = None) -> Call:
    """A call of its own."""
    return Call("id", Dialect.NATIVE, Deadline.after(timeout_seconds))


def passages(count: int, tokens: int = 100) -> list[str]:
    """Texts of so many tokens, no two of them equal."""
    return [f"{number} " + "word " * (tokens - 3) for number in range(count)]


def run(
    scenario: Callable[[Gateway], Awaitable[None]], transport: Transport, **settings: float
) -> Gateway:
    """Run a scenario; when it ends nothing may be waiting, in flight, or kept."""

    async def main() -> Gateway:
        gateway = Gateway.assemble(GatewaySettings(**settings), transport)
        await scenario(gateway)
        await gateway.client.close()
        return gateway

    gateway = asyncio.run(main())
    assert 0 == gateway.scheduler.load_tokens
    return gateway


def test_large_request_is_cut_and_put_together_in_order() -> None:
    """Every text has its own representations, whichever part it travelled in."""
    texts = [f"text number {i} " + "word " * (i % 7) for i in range(500)]
    transport = Transport()

    async def scenario(gateway: Gateway) -> None:
        embeddings = await gateway.encoder.encode(texts, ALL, call())
        alone = await gateway.encoder.encode(texts[321:322], ALL, call())

        assert 500 == len(embeddings)
        np.testing.assert_array_equal(alone[0].dense, embeddings[321].dense)
        np.testing.assert_array_equal(alone[0].colbert, embeddings[321].colbert)
        assert alone[0].sparse.tokens() == embeddings[321].sparse.tokens()

    run(scenario, transport)

    assert 501 == sum(transport.parts)
    assert len(transport.parts) > 5


def test_request_that_fits_is_one_part() -> None:
    """An interactive request is not cut."""
    transport = Transport()

    async def scenario(gateway: Gateway) -> None:
        await gateway.encoder.encode([f"text {number}" for number in range(64)], DENSE, call())

    run(scenario, transport)

    assert [64] == transport.parts


def test_index_counts_in_the_request_not_in_the_part() -> None:
    """The caller is told which of its texts was wrong."""
    script = [None, None, InvalidInputError("the text is odd", index=3)]
    transport = Transport(script=[None, *script])  # the first request counts tokens

    async def scenario(gateway: Gateway) -> None:
        with pytest.raises(InvalidInputError, match="the text is odd") as caught:
            await gateway.encoder.encode(passages(300, tokens=10), DENSE, call())

        assert sum(transport.parts[:2]) + 3 == caught.value.index

    run(scenario, transport, bulk_parts=4)


def test_text_that_must_not_be_cut_fails_before_anything_is_computed() -> None:
    """Its index and both lengths are told."""
    transport = Transport()
    options = EncodeOptions(max_length=5, truncate=False)

    async def scenario(gateway: Gateway) -> None:
        with pytest.raises(InvalidInputError, match="6 tokens, and max_length is 5") as caught:
            await gateway.encoder.encode(["one two three", "a b c d"], options, call())

        assert 1 == caught.value.index

    run(scenario, transport)

    assert [] == transport.parts


def test_failed_part_fails_the_request_and_frees_what_was_not_sent() -> None:
    """The rest of the request is not sent any more."""
    transport = Transport(script=[None, InternalServerError("broken")], delay_seconds=0.01)

    async def scenario(gateway: Gateway) -> None:
        with pytest.raises(InternalServerError, match="broken"):
            await gateway.encoder.encode(passages(200), DENSE, call())
        await asyncio.sleep(0.05)

    run(scenario, transport)

    assert len(transport.parts) < 10


def test_caller_who_gives_up_frees_its_place_at_once() -> None:
    """What Triton already has counts until it is answered; the rest does not."""
    transport = Transport(delay_seconds=0.1)

    async def scenario(gateway: Gateway) -> None:
        task = asyncio.create_task(gateway.encoder.encode(passages(100), DENSE, call()))
        while not transport.parts:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert 0 == gateway.scheduler.waiting_tokens
        assert 0 < gateway.scheduler.in_flight_tokens
        await asyncio.sleep(0.2)

    run(scenario, transport)

    assert sum(transport.parts) < 100


def test_deadline_ends_the_wait() -> None:
    """A request is answered by its deadline, though Triton is not done with it."""
    transport = Transport(delay_seconds=0.2)

    async def scenario(gateway: Gateway) -> None:
        with pytest.raises(DeadlineError):
            await gateway.encoder.encode(["a"], DENSE, call(timeout_seconds=0.25))
        await asyncio.sleep(0.3)

    run(scenario, transport)


def test_full_service_refuses_before_counting() -> None:
    """Nobody can keep a full service busy with counting tokens."""
    transport = Transport()

    async def scenario(gateway: Gateway) -> None:
        await gateway.encoder.model_info()
        gateway.scheduler.admit(524_288)
        with pytest.raises(BusyError):
            await gateway.encoder.encode(["a"], DENSE, call())
        gateway.scheduler.withdraw(524_288)

    run(scenario, transport)

    assert [] == transport.requests


def test_memory_for_answers_is_bounded_and_given_back() -> None:
    """An answer counts from before it is computed until it has been sent."""
    colbert = EncodeOptions(frozenset({"colbert"}))

    async def scenario(gateway: Gateway) -> None:
        first = call()
        await gateway.encoder.encode(["word " * 6000] * 2, colbert, first)

        assert 2 * 6002 * 16 * 4 <= gateway.memory.used_bytes
        with pytest.raises(ResultMemoryError, match="send fewer or shorter texts") as caught:
            await gateway.encoder.encode(["word " * 6000] * 2, colbert, call())
        assert 1024 * 1024 == caught.value.figures["limit_bytes"]
        with pytest.raises(TooLargeError):
            await gateway.encoder.encode(["word " * 6000] * 3, colbert, call())
        first.finish.close()
        assert 0 == gateway.memory.used_bytes

    run(scenario, Transport(), max_result_bytes=1024 * 1024)


def test_too_many_texts() -> None:
    """More texts than the service takes are refused with both numbers."""

    async def scenario(gateway: Gateway) -> None:
        with pytest.raises(TooLargeError, match=r"3 texts.*2 at once"):
            await gateway.encoder.encode(["a", "b", "c"], DENSE, call())

    run(scenario, Transport(), max_texts=2)
