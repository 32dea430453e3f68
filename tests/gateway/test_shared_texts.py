"""Equal texts that are on their way are computed once, and nobody suffers for it."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Sequence

import numpy as np
import pytest

from bgem3_client import (
    DeadlineError,
    Embeddings,
    FakeTransport,
    InternalServerError,
    InvalidInputError,
)
from bgem3_client.deadline import Deadline
from bgem3_client.encode_request import EncodeOptions
from bgem3_client.transports import InferRequest, InferResponse
from bgem3_server.gateway.calls.caching import Caching
from bgem3_server.gateway.calls.call import Call, Priority
from bgem3_server.gateway.calls.errors import BusyError
from bgem3_server.gateway.dialects.dialect import Dialect
from bgem3_server.gateway.encoding.in_flight import WantedTexts
from bgem3_server.gateway.encoding.one_text import detached
from bgem3_server.gateway.gateway import Gateway
from bgem3_server.gateway.settings import GatewaySettings

DENSE = EncodeOptions()
ALL = EncodeOptions(
    frozenset({"dense", "sparse", "colbert"}), return_tokens=True, return_hidden_states=True
)


class Triton(FakeTransport):
    """A fake whose answers wait until a test lets them go.

    Attributes:
        open: Lets all of them go.
        released: Texts that are let go before.
        refused: Texts that make a part fail, with what it fails with.
    """

    def __init__(self) -> None:
        super().__init__(hidden_size=16, colbert_size=16)
        self.open = asyncio.Event()
        self.released: set[str] = set()
        self.refused: dict[str, Exception] = {}

    async def infer(self, request: InferRequest) -> InferResponse:
        """Answer counts of tokens at once, and representations when it is open."""
        if len(request.outputs) > 1:
            self.requests.append(request)
            texts = {text.decode() for text in request.texts}
            while not self.open.is_set() and not texts <= self.released:
                await asyncio.sleep(0.001)
            for index, text in enumerate(request.texts):
                if (error := self.refused.get(text.decode())) is not None:
                    if isinstance(error, InvalidInputError):
                        raise InvalidInputError(str(error), index)
                    raise error
        return self._answer(request)

    @property
    def parts(self) -> list[list[str]]:
        """The texts of each request for representations."""
        return [[text.decode() for text in request.texts] for request in self.requests]


def run(
    scenario: Callable[[Gateway, Triton], Awaitable[None]], **settings: float
) -> tuple[Gateway, Triton]:
    """Run a scenario; when it ends nothing may be waiting, or in flight."""

    async def main() -> tuple[Gateway, Triton]:
        triton = Triton()
        gateway = Gateway.assemble(GatewaySettings(**settings), triton)
        await scenario(gateway, triton)
        triton.open.set()
        async with asyncio.timeout(5):
            while gateway.scheduler.load_tokens:
                await asyncio.sleep(0.001)
        await gateway.client.close()
        return gateway, triton

    gateway, triton = asyncio.run(main())
    assert 0 == gateway.scheduler.waiting_tokens
    assert 0 == gateway.scheduler.in_flight_tokens
    return gateway, triton


async def settled() -> None:
    """Let every task run that can."""
    for _ in range(50):
        await asyncio.sleep(0)


class Caller:
    """A request under way."""

    def __init__(
        self,
        gateway: Gateway,
        texts: Sequence[str],
        options: EncodeOptions = DENSE,
        *,
        priority: Priority | None = None,
        caching: Caching = Caching.SHARED,
        timeout_seconds: float | None = None,
    ) -> None:
        self.call = Call("id", Dialect.NATIVE, Deadline.after(timeout_seconds), priority, caching)
        self.task: asyncio.Task[Embeddings] = asyncio.create_task(
            gateway.encoder.encode(texts, options, self.call)
        )


def test_equal_texts_of_one_request_are_computed_once():
    """Each place in the list has its representations, and equal ones the same."""
    texts = ["one two", "three", "one two", "three", "one two"]

    async def scenario(gateway: Gateway, triton: Triton) -> None:
        triton.open.set()
        caller = Caller(gateway, texts, ALL)
        together = await caller.task
        alone = await Caller(gateway, texts[1:2], ALL).task

        assert [["one two", "three"], ["three"]] == triton.parts
        assert [4, 3, 4, 3, 4] == together.token_lengths.tolist()
        assert (5, 18, 3) == (caller.call.texts, caller.call.tokens, caller.call.joined)
        for row in (1, 3):
            np.testing.assert_array_equal(alone.dense[0], together.dense[row])
            np.testing.assert_array_equal(alone.colbert[0], together.colbert[row])
            np.testing.assert_array_equal(alone.hidden_states[0], together.hidden_states[row])
            assert alone.sparse[0].tokens() == together.sparse[row].tokens()
            assert alone.tokens[0] == together.tokens[row]

    run(scenario)


def test_equal_texts_of_many_requests_are_computed_once():
    """Whoever comes while a text is on its way gets the same answer."""

    async def scenario(gateway: Gateway, triton: Triton) -> None:
        callers = [Caller(gateway, ["one two", f"text {n}"], ALL) for n in range(10)]
        await settled()
        triton.open.set()
        answers = [await caller.task for caller in callers]

        sent = [text for part in triton.parts for text in part]
        assert 11 == len(sent) == len(set(sent))
        assert [0] + [1] * 9 == [caller.call.joined for caller in callers]
        for number, answer in enumerate(answers):
            alone = await Caller(gateway, [f"text {number}"], ALL).task
            np.testing.assert_array_equal(answers[0].colbert[0], answer.colbert[0])
            np.testing.assert_array_equal(alone.colbert[0], answer.colbert[1])

    run(scenario)


def test_texts_that_wait_are_sent_by_whoever_is_first():
    """Two bulk requests for the same texts share the work, and both are served in parts."""
    texts = [f"{number} " + "word " * 97 for number in range(30)]

    async def scenario(gateway: Gateway, triton: Triton) -> None:
        callers = [Caller(gateway, texts, priority=Priority.BULK) for _ in range(2)]
        await settled()

        assert 3000 == gateway.scheduler.load_tokens
        triton.open.set()
        first, second = [await caller.task for caller in callers]
        np.testing.assert_array_equal(first.dense, second.dense)
        assert 30 == sum(caller.call.joined for caller in callers)
        assert all(caller.call.joined for caller in callers)

    _, triton = run(scenario)

    sent = [text for part in triton.parts for text in part]
    assert sorted(texts) == sorted(sent)
    assert len(triton.parts) > 4


def test_interactive_request_does_not_wait_for_the_bulk_one_that_has_its_text():
    """It sends the text itself, at its own turn; the bulk request then has it for nothing."""
    texts = [f"{number} " + "word " * 97 for number in range(30)]

    async def scenario(gateway: Gateway, triton: Triton) -> None:
        bulk = Caller(gateway, texts, priority=Priority.BULK)
        await settled()
        query = Caller(gateway, texts[-1:])
        await settled()

        assert texts[-1:] == triton.parts[-1]
        triton.released = {texts[-1]}
        await query.task
        assert 3000 == 100 * sum(map(len, triton.parts)) + gateway.scheduler.waiting_tokens
        triton.open.set()
        await asyncio.gather(bulk.task, query.task)
        assert (1, 0) == (bulk.call.joined, query.call.joined)

    _, triton = run(scenario)

    assert 30 == sum(map(len, triton.parts))


def test_request_whose_texts_others_have_sent_needs_no_turn_any_more():
    """Its answer does not wait for a place in a queue that it has nothing to do in."""

    async def scenario(gateway: Gateway, triton: Triton) -> None:
        full, long = "full " * 510, "long " * 510
        Caller(gateway, [full])
        await settled()
        first, between, last = (Caller(gateway, [text]) for text in ("a", long, "a"))
        await settled()

        assert [[full]] == triton.parts
        triton.released = {full, "a"}
        await asyncio.gather(first.task, last.task)
        assert [[full], ["a"], [long]] == triton.parts
        assert not between.task.done()
        assert 1 == last.call.joined
        triton.open.set()
        await between.task

    run(scenario, max_in_flight_tokens=512)


@pytest.mark.parametrize("sent", [True, False], ids=["sent", "waiting"])
@pytest.mark.parametrize("leaver", [0, 1], ids=["the first", "the second"])
def test_caller_who_leaves_takes_nothing_from_the_others(leaver: int, sent: bool):
    """Whether it was the one that came first, and whether the text was sent already."""

    async def scenario(gateway: Gateway, triton: Triton) -> None:
        if not sent:
            Caller(gateway, ["word " * 510])
            await settled()
        callers = [Caller(gateway, ["one two three"]) for _ in range(2)]
        await settled()
        waiting = 0 if sent else 5
        assert waiting == gateway.scheduler.waiting_tokens
        callers[leaver].task.cancel()
        await settled()

        assert callers[leaver].task.cancelled()
        assert waiting == gateway.scheduler.waiting_tokens
        triton.open.set()
        assert 1 == len(await callers[1 - leaver].task)

    _, triton = run(scenario, max_in_flight_tokens=512)

    assert 1 == triton.parts.count(["one two three"])


def test_text_that_nobody_wants_any_more_is_not_sent():
    """When all who wanted it have left, its place in the budget is free."""

    async def scenario(gateway: Gateway, triton: Triton) -> None:
        Caller(gateway, ["word " * 510])
        await settled()
        callers = [Caller(gateway, ["one two three"]) for _ in range(3)]
        await settled()
        for caller in callers:
            caller.task.cancel()
        await settled()

        assert 0 == gateway.scheduler.waiting_tokens
        assert 1 == len(triton.parts)
        Caller(gateway, ["one two three"])
        await settled()
        assert 5 == gateway.scheduler.waiting_tokens

    run(scenario, max_in_flight_tokens=512)


def test_deadline_of_one_does_not_end_the_other():
    """Each has its own."""

    async def scenario(gateway: Gateway, triton: Triton) -> None:
        hasty = Caller(gateway, ["a"], timeout_seconds=0.05)
        patient = Caller(gateway, ["a"])
        with pytest.raises(DeadlineError):
            await hasty.task
        triton.open.set()

        assert 1 == len(await patient.task)

    _, triton = run(scenario)

    assert [["a"]] == triton.parts


def test_caller_who_comes_back_finds_its_text_on_its_way():
    """What was sent for one that gave up is not sent again."""

    async def scenario(gateway: Gateway, triton: Triton) -> None:
        with pytest.raises(DeadlineError):
            await Caller(gateway, ["a"], timeout_seconds=0.05).task
        again = Caller(gateway, ["a"])
        await settled()
        triton.open.set()
        await again.task

        assert 1 == again.call.joined

    _, triton = run(scenario)

    assert [["a"]] == triton.parts


def test_refused_text_is_named_by_each_callers_own_index():
    """And the callers whose texts were in the same part get their answers."""

    async def scenario(gateway: Gateway, triton: Triton) -> None:
        triton.refused["odd"] = InvalidInputError("the text is odd")
        callers = [
            Caller(gateway, ["good", "good", "odd"]),
            Caller(gateway, ["fine", "odd"]),
            Caller(gateway, ["good", "fine"]),
            Caller(gateway, ["fine", "odd"]),
        ]
        await settled()
        triton.open.set()
        errors = []
        for caller in (callers[0], callers[1], callers[3]):
            with pytest.raises(InvalidInputError, match="the text is odd") as caught:
                await caller.task
            errors.append(caught.value.index)

        assert [2, 1, 1] == errors
        assert 2 == len(await callers[2].task)

    run(scenario)


def test_failure_of_one_requests_part_is_not_the_others():
    """A part may fail for its own size: what was shared with it is sent again, alone."""

    async def scenario(gateway: Gateway, triton: Triton) -> None:
        triton.refused["heavy"] = InternalServerError("too heavy")
        first = Caller(gateway, ["heavy", "shared"])
        second = Caller(gateway, ["shared", "mine"])
        await settled()
        triton.open.set()
        with pytest.raises(InternalServerError, match="too heavy"):
            await first.task

        assert 2 == len(await second.task)
        assert [["heavy", "shared"], ["mine"], ["shared"]] == triton.parts
        assert 0 == second.call.joined

    run(scenario)


def test_text_on_its_way_is_let_in_by_a_full_service():
    """It costs nothing more; a text that would is refused."""

    async def scenario(gateway: Gateway, triton: Triton) -> None:
        await gateway.encoder.model_info()
        first = Caller(gateway, ["word " * 98])
        await settled()
        gateway.scheduler.admit(8092)
        with pytest.raises(BusyError):
            await Caller(gateway, ["another"]).task
        second = Caller(gateway, ["word " * 98])
        await settled()
        gateway.scheduler.withdraw(8092)
        triton.open.set()
        await asyncio.gather(first.task, second.task)

        assert 1 == second.call.joined

    run(scenario, max_load_tokens=8192)


@pytest.mark.parametrize(
    "other",
    [
        EncodeOptions(frozenset({"sparse"})),
        EncodeOptions(max_length=100),
        EncodeOptions(truncate=False),
        EncodeOptions(colbert_dtype="float16"),
        EncodeOptions(return_tokens=True),
        EncodeOptions(return_hidden_states=True),
    ],
    ids=["outputs", "max_length", "truncate", "colbert_dtype", "tokens", "hidden_states"],
)
def test_same_text_for_something_else_is_another_text(other: EncodeOptions):
    """Outputs and parameters belong to what is computed."""

    async def scenario(gateway: Gateway, triton: Triton) -> None:
        callers = [Caller(gateway, ["a"], options) for options in (DENSE, other)]
        await settled()
        triton.open.set()
        await asyncio.gather(*(caller.task for caller in callers))

    _, triton = run(scenario)

    assert [["a"], ["a"]] == triton.parts


def test_private_request_shares_nothing_with_others():
    """Its own equal texts are still computed once."""

    async def scenario(gateway: Gateway, triton: Triton) -> None:
        callers = [
            Caller(gateway, ["a", "a"], caching=caching)
            for caching in (Caching.SHARED, Caching.PRIVATE, Caching.SHARED)
        ]
        await settled()
        scheduler = gateway.scheduler
        assert (0, 6) == (scheduler.waiting_tokens, scheduler.in_flight_tokens)
        triton.open.set()
        await asyncio.gather(*(caller.task for caller in callers))

        assert [1, 1, 2] == [caller.call.joined for caller in callers]

    _, triton = run(scenario)

    assert [["a"], ["a"]] == triton.parts


def test_shared_result_keeps_no_others_in_memory():
    """A text taken from another request's part is a copy, and read-only like all results."""

    async def scenario(gateway: Gateway, triton: Triton) -> None:
        large = Caller(gateway, ["a", "word " * 500], ALL)
        small = Caller(gateway, ["a"], ALL)
        await settled()
        triton.open.set()
        await large.task
        embeddings = await small.task

        arrays = [
            embeddings.dense,
            embeddings.sparse.values,
            embeddings.sparse.indices,
            embeddings.colbert.vectors,
            embeddings.hidden_states.vectors,
            embeddings.token_ids[0],
        ]
        for array in arrays:
            assert not array.flags.writeable
            owner = array if array.base is None else array.base
            assert owner.nbytes == array.nbytes
        assert {"<s>", "a", "</s>"} == set(embeddings.sparse.token_texts.values())

    run(scenario)


def test_detached_text_is_the_same_text():
    """All that was asked for is there, and equal."""

    async def scenario(gateway: Gateway, triton: Triton) -> None:
        triton.open.set()
        options = EncodeOptions(
            ALL.outputs, 4, return_tokens=True, colbert_dtype="float16", return_hidden_states=True
        )
        embeddings = await Caller(gateway, ["a b c", "d e f g"], options).task
        text = embeddings[1]
        copy = detached(text, options)

        np.testing.assert_array_equal(text.dense, copy.dense)
        np.testing.assert_array_equal(text.sparse.indices, copy.sparse.indices)
        np.testing.assert_array_equal(text.sparse.values, copy.sparse.values)
        np.testing.assert_array_equal(text.colbert, copy.colbert)
        np.testing.assert_array_equal(text.hidden_states, copy.hidden_states)
        np.testing.assert_array_equal(text.token_ids, copy.token_ids)
        assert text.tokens == copy.tokens
        assert text.sparse.tokens() == copy.sparse.tokens()
        assert (np.float16, 4, True) == (copy.colbert.dtype, copy.token_length, copy.truncated)

    run(scenario)


def test_results_are_freed_without_the_search_for_garbage():
    """That comes seldom in service, and results are large."""

    async def scenario(gateway: Gateway, triton: Triton) -> None:
        triton.open.set()
        callers = [Caller(gateway, ["a", "word " * 500], ALL) for _ in range(2)]
        for caller in callers:
            await caller.task
        del caller, callers
        await settled()

        assert set() == held() - before

    def held() -> set[int]:
        """Those of other tests are not of interest."""
        return {id(item) for item in gc.get_objects() if type(item) in (Embeddings, WantedTexts)}

    gc.collect()
    before = held()
    gc.disable()
    try:
        run(scenario)
    finally:
        gc.enable()
