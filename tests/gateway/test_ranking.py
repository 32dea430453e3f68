"""Scores of many pairs: let in once, encoded once, never all in memory."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Awaitable, Callable

import numpy as np
import pytest

from bgem3_backend.contract import COLBERT, COLBERT_FP16, DENSE, FULL_TOKEN_LENGTHS, SPARSE_VALUES
from bgem3_client import (
    DeadlineError,
    FakeTransport,
    InferRequest,
    InferResponse,
    InternalServerError,
    InvalidInputError,
    colbert_score,
    dense_score,
    lexical_score,
)
from bgem3_client.deadline import Deadline
from bgem3_client.encode_request import EncodeOptions
from bgem3_client.errors import VersionChangedError
from bgem3_server.gateway.calls.call import Call
from bgem3_server.gateway.calls.errors import BusyError, ResultMemoryError, TooLargeError
from bgem3_server.gateway.dialects.dialect import Dialect
from bgem3_server.gateway.gateway import Gateway
from bgem3_server.gateway.scoring import pair_plan
from bgem3_server.gateway.scoring.ranking import RankOptions, rank, score_pairs
from bgem3_server.gateway.settings import GatewaySettings

ALL = EncodeOptions(frozenset({"dense", "sparse", "colbert"}))
DENSE_AND_SPARSE = RankOptions(frozenset({"dense", "sparse"}))


class Transport(FakeTransport):
    """Tells what was encoded from what was counted."""

    @property
    def encoded(self) -> list[InferRequest]:
        """The requests for representations."""
        return [request for request in self.requests if len(request.outputs) > 1]


def call(timeout_seconds: float | None = None) -> Call:
    """A call of its own."""
    return Call("id", Dialect.RERANK, Deadline.after(timeout_seconds))


def run(
    scenario: Callable[[Gateway], Awaitable[None]], transport: FakeTransport, **settings: float
) -> None:
    """Run a scenario; when it ends nothing may be waiting or in flight."""

    async def main() -> Gateway:
        gateway = Gateway.assemble(GatewaySettings(**settings), transport)
        await scenario(gateway)
        await gateway.client.close()
        return gateway

    assert 0 == asyncio.run(main()).scheduler.load_tokens


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of a few texts each."""
    monkeypatch.setattr(pair_plan, "BLOCK_BYTES", 10_000)


@pytest.mark.usefixtures("small_blocks")
def test_scores_are_those_of_the_representations() -> None:
    """FlagEmbedding's definitions, whichever block a text is in; truncation is said."""
    documents = [f"word {n} " + "and more " * (n % 9) for n in range(60)]
    query = "word 3 and 5 more than that"
    transport = Transport()

    async def scenario(gateway: Gateway) -> None:
        options = RankOptions(max_query_length=6, max_passage_length=12)
        asked = call()
        scores = await rank(query, documents, options, gateway, asked)
        texts = await gateway.encoder.encode(documents, EncodeOptions(ALL.outputs, 12), call())
        question = (await gateway.encoder.encode([query], EncodeOptions(ALL.outputs, 6), call()))[0]

        for score, output in ((dense_score, "dense"), (colbert_score, "colbert")):
            expected = [score(getattr(question, output), getattr(text, output)) for text in texts]
            np.testing.assert_allclose(scores.by_output[output], expected, atol=1e-6)
        lexical = [lexical_score(question.sparse, text.sparse) for text in texts]
        np.testing.assert_allclose(scores.by_output["sparse"], lexical, atol=1e-6)
        assert all(scores.truncated[:, 0])
        assert texts.truncated.tolist() == scores.truncated[:, 1].tolist()
        assert 61 == asked.texts
        assert 1 + texts.truncated.sum() == asked.truncated
        assert "dense+sparse+colbert" == asked.modes

    run(scenario, transport)

    assert len(transport.encoded) > 10


@pytest.mark.usefixtures("small_blocks")
def test_pairs_find_their_texts_over_blocks() -> None:
    """Texts that come back blocks later are not encoded again, and are the same."""
    pairs = [(f"query {n % 7}", f"passage {n % 50} query {n % 3}") for n in range(300)]
    transport = Transport()

    async def scenario(gateway: Gateway) -> None:
        scores = await score_pairs(pairs, RankOptions(), gateway, call())
        by_pair: dict[tuple[str, str], float] = {}
        for row, pair in enumerate(pairs):
            both = await gateway.encoder.encode(pair, ALL, call())
            by_pair[pair] = colbert_score(*both.colbert)

            assert by_pair[pair] == pytest.approx(scores.by_output["colbert"][row], abs=1e-6)

    async def only_scores(gateway: Gateway) -> None:
        await score_pairs(pairs, RankOptions(), gateway, call())

    run(scenario, Transport())
    run(only_scores, transport)
    sent = sorted(text.decode() for request in transport.encoded for text in request.texts)

    assert sorted({text for pair in pairs for text in pair}) == sent


def test_only_what_counts_is_computed() -> None:
    """Dense and sparse alone ask for no token vectors."""
    transport = Transport()

    async def scenario(gateway: Gateway) -> None:
        scores = await rank("a", ["b", "c"], DENSE_AND_SPARSE, gateway, call())

        assert {"dense", "sparse"} == scores.by_output.keys()

    run(scenario, transport)
    outputs = {output.name for request in transport.encoded for output in request.outputs}

    assert outputs >= {DENSE.name, SPARSE_VALUES.name}
    assert outputs.isdisjoint({COLBERT.name, COLBERT_FP16.name})


def test_short_request_is_one_message() -> None:
    """Query and documents travel together, and equal texts once, even with lengths of their own."""
    transport = Transport()

    async def scenario(gateway: Gateway) -> None:
        options = RankOptions(max_query_length=512, max_passage_length=4096)
        scores = await rank("a", ["b", "a", "b"], options, gateway, call())

        assert scores.by_output["colbert"][0] == scores.by_output["colbert"][2]

    run(scenario, transport)

    assert [(b"a", b"b")] == [request.texts for request in transport.encoded]


def test_memory_does_not_grow_with_the_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven times the documents, 40 MB of token vectors, take hardly more memory.

    One in thirty is needed again at the very end: it stays, without those that came with it.
    """
    monkeypatch.setattr(pair_plan, "BLOCK_BYTES", 2**21)

    class Counting(FakeTransport):
        """Does not make vectors to count words."""

        async def infer(self, request: InferRequest) -> InferResponse:
            if request.outputs != (FULL_TOKEN_LENGTHS,):
                return await super().infer(request)
            lengths = [len(text.split()) + 2 for text in request.texts]
            return InferResponse({FULL_TOKEN_LENGTHS.name: np.array([lengths], np.int32)}, "1")

    def peaks(count: int) -> tuple[int, int]:
        documents = [f"{n} " + "word " * 48 for n in range(count)]
        pairs = [("query", document) for document in documents]
        pairs += [("the last", document) for document in documents[::30]]
        reserved = 0

        async def scenario(gateway: Gateway) -> None:
            nonlocal reserved
            await score_pairs(pairs, RankOptions(), gateway, call())
            reserved = gateway.memory.used_bytes

        transport = Counting(colbert_size=1024)
        tracemalloc.start()
        try:
            run(scenario, transport)
            return tracemalloc.get_traced_memory()[1], reserved
        finally:
            tracemalloc.stop()

    few, many = peaks(30), peaks(210)

    assert many[0] < 1.5 * few[0]
    assert many[1] < 1.5 * few[1] < 7_000_000


@pytest.mark.usefixtures("small_blocks")
def test_request_is_let_in_once_and_as_a_whole() -> None:
    """While its first block is computed it holds its whole budget, and is not refused later."""
    transport = Transport(delay_seconds=0.01)
    documents = [f"number {n} of some" for n in range(1000)]

    async def scenario(gateway: Gateway) -> None:
        ranking = asyncio.create_task(rank("query", documents, RankOptions(), gateway, call()))
        while not transport.encoded:
            await asyncio.sleep(0.001)

        assert gateway.scheduler.load_tokens > 5900
        with pytest.raises(BusyError):
            await rank("another", documents, RankOptions(), gateway, call())
        assert 1000 == len((await ranking).by_output["dense"])

    run(scenario, transport, max_load_tokens=8192, max_in_flight_tokens=512)

    assert b"another" not in {text for request in transport.encoded for text in request.texts}


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"max_load_tokens": 8192}, TooLargeError),
        ({"max_texts": 400}, TooLargeError),
        ({"max_result_bytes": 2**20}, TooLargeError),
    ],
)
def test_refusals_come_before_any_work(settings: dict[str, float], error: type[Exception]) -> None:
    """What does not fit is said before anything is computed."""
    documents = [f"{n} " + "word " * 30 for n in range(500)]
    transport = Transport(colbert_size=1024)

    async def scenario(gateway: Gateway) -> None:
        with pytest.raises(error):
            await rank("query", documents, RankOptions(), gateway, call())

    run(scenario, transport, **settings)

    assert [] == transport.encoded


def test_memory_in_use_is_refused_before_any_work() -> None:
    """Answers of others leave no room: another try may help."""
    transport = Transport()

    async def scenario(gateway: Gateway) -> None:
        gateway.memory.reserve(2**20 - 100, call())
        with pytest.raises(ResultMemoryError):
            await rank("query", ["a document"], RankOptions(), gateway, call())

    run(scenario, transport, max_result_bytes=2**20)

    assert [] == transport.encoded


@pytest.mark.usefixtures("small_blocks")
def test_failure_of_a_later_block_leaves_nothing_behind() -> None:
    """The request fails with Triton's error, and gives back what it had not used yet."""
    transport = Transport(script=[None, None, None, None, InternalServerError("broken")])

    async def scenario(gateway: Gateway) -> None:
        with pytest.raises(InternalServerError, match="broken"):
            await rank(
                "query", [f"number {n}" for n in range(1000)], RankOptions(), gateway, call()
            )

    run(scenario, transport)

    assert len(transport.encoded) < 10


@pytest.mark.usefixtures("small_blocks")
def test_deadline_ends_it_between_blocks() -> None:
    """A request whose time is up gives up what it has not sent."""
    transport = Transport(delay_seconds=0.1)

    async def scenario(gateway: Gateway) -> None:
        documents = [f"number {n}" for n in range(1000)]
        with pytest.raises(DeadlineError):
            await rank("query", documents, RankOptions(), gateway, call(1))
        await asyncio.sleep(0.2)  # for what Triton has

    run(scenario, transport)

    assert 0 < len(transport.encoded) < 20


@pytest.mark.usefixtures("small_blocks")
def test_blocks_of_two_versions_are_not_compared() -> None:
    """Where the model is rolled over meanwhile, all is computed again; for ever, it is an error."""
    documents = [f"number {n}" for n in range(500)]

    class Rolling(Transport):
        def __init__(self, *, always: bool) -> None:
            super().__init__()
            self.always = always

        async def infer(self, request: InferRequest) -> InferResponse:
            response = await super().infer(request)
            step = len(self.encoded) // 3
            return InferResponse(response.tensors, str(step if self.always else min(step, 1)))

    async def once(gateway: Gateway) -> None:
        ranked = await rank("query", documents, RankOptions(), gateway, call())
        assert len(documents) == len(ranked.by_output["dense"])

    async def for_ever(gateway: Gateway) -> None:
        with pytest.raises(VersionChangedError, match="version"):
            await rank("query", documents, RankOptions(), gateway, call())

    run(once, Rolling(always=False))
    run(for_ever, Rolling(always=True))


@pytest.mark.parametrize(
    ("query", "documents", "words", "index"),
    [
        ("a", ["b", "c " * 9], r"documents\[1\]: the text has 11 tokens", 1),
        ("a " * 9, ["b"], "query: the text has 11 tokens", None),
        ("a", ["b", "b", "\ud800"], r"documents\[2\]: a text must be valid Unicode", 2),
    ],
)
def test_errors_name_the_text(
    query: str, documents: list[str], words: str, index: int | None
) -> None:
    """By the caller's own counting, whatever was left out as equal."""

    async def scenario(gateway: Gateway) -> None:
        options = RankOptions(max_query_length=10, max_passage_length=10, truncate=False)
        with pytest.raises(InvalidInputError, match=words) as caught:
            await rank(query, documents, options, gateway, call())

        assert index == caught.value.index

    run(scenario, Transport())


@pytest.mark.usefixtures("small_blocks")
def test_text_that_triton_refuses_is_named() -> None:
    """In a later block too."""

    class Picky(Transport):
        async def infer(self, request: InferRequest) -> InferResponse:
            response = await super().infer(request)
            if len(request.outputs) > 1 and b"number 77" in request.texts:
                raise InvalidInputError("refused", index=request.texts.index(b"number 77"))
            return response

    async def scenario(gateway: Gateway) -> None:
        documents = ["number 0", *(f"number {n}" for n in range(500))]
        with pytest.raises(InvalidInputError, match=r"documents\[78\]: .*refused") as caught:
            await rank("query", documents, RankOptions(), gateway, call())

        assert 78 == caught.value.index

    run(scenario, Picky())
