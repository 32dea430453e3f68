"""Order, concurrency, retries, deadlines and cancellation, over a fake transport."""

from __future__ import annotations

import asyncio
import time

import pytest

from bgem3_client import (
    AccessError,
    AsyncClient,
    ClientClosedError,
    ContractError,
    DeadlineError,
    FakeTransport,
    InternalServerError,
    InvalidInputError,
    Limits,
    ModelInfo,
    ModelNotFoundError,
    RetryPolicy,
    UnavailableError,
)

ONE_TEXT_A_REQUEST = Limits(max_in_flight=4, max_texts_per_request=1)
QUICK_RETRIES = RetryPolicy(attempts=3, initial_backoff_seconds=0.001)


class CountingTransport(FakeTransport):
    """Knows how many requests were under way at the same time, and how many were cancelled."""

    def __init__(self, **options):
        super().__init__(**options)
        self.running = 0
        self.most_running = 0
        self.cancelled = 0

    async def infer(self, request):
        """Count, and answer as usual."""
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            return await super().infer(request)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1


def run(transport, call, **options):
    """Make a client in an event loop and return what the call returns."""

    async def main():
        async with AsyncClient(transport=transport, **options) as client:
            return await call(client)

    return asyncio.run(main())


def test_requests_in_flight_are_bounded_over_all_calls():
    """`max_in_flight` holds for the client: two calls at once share it, and use it fully."""
    transport = CountingTransport(delay_seconds=0.002)

    async def calls(client):
        await asyncio.gather(*[client.encode(["a", "b", "c", "d", "e", "f"]) for _ in range(2)])

    run(transport, calls, limits=ONE_TEXT_A_REQUEST)

    assert (12, 4) == (len(transport.requests), transport.most_running)


def test_order_is_kept_when_later_requests_answer_first():
    """Results are in the order of the texts whatever the order of the answers."""

    class Backwards(FakeTransport):
        async def infer(self, request):
            await asyncio.sleep(0.02 / len(request.texts[0]))
            return await super().infer(request)

    texts = [" ".join("x" * n) for n in range(1, 9)]

    embeddings = run(
        Backwards(), lambda client: client.encode(texts), limits=Limits(8, max_texts_per_request=1)
    )

    assert [len(text.split()) + 2 for text in texts] == embeddings.token_lengths.tolist()


@pytest.mark.parametrize("failures", [1, 2])
def test_unavailable_server_is_tried_again(failures):
    """Up to `attempts` tries; the answer counts."""
    transport = FakeTransport(script=[UnavailableError("busy")] * failures)

    embeddings = run(transport, lambda client: client.encode(["a"]), retries=QUICK_RETRIES)

    assert (1, failures + 1) == (len(embeddings), len(transport.requests))


def test_retries_end():
    """After `attempts` tries the error is raised, and says how many there were."""
    transport = FakeTransport(script=[UnavailableError("busy")] * 9)

    with pytest.raises(UnavailableError, match=r"busy \(tried 3 times\)"):
        run(transport, lambda client: client.encode(["a"]), retries=QUICK_RETRIES)

    assert 3 == len(transport.requests)


@pytest.mark.parametrize(
    "error",
    [
        InvalidInputError("wrong"),
        DeadlineError("late"),
        ModelNotFoundError("gone"),
        AccessError("who?"),
        InternalServerError("broken"),
        ContractError("odd"),
    ],
)
def test_other_errors_are_final(error):
    """Nothing but UnavailableError is tried again; the error arrives as it is."""
    transport = FakeTransport(script=[error])

    with pytest.raises(type(error)) as caught:
        run(transport, lambda client: client.encode(["a"]), retries=QUICK_RETRIES)

    assert error is caught.value
    assert 1 == len(transport.requests)


def test_refusal_is_not_blamed_on_the_server_that_has_the_output():
    """With hidden states asked for, and there, a refused request is the caller's mistake."""
    refusal = InvalidInputError("too many tokens")

    with pytest.raises(InvalidInputError) as caught:
        run(
            FakeTransport(script=[refusal]),
            lambda client: client.encode(["a"], return_hidden_states=True),
        )

    assert refusal is caught.value


def test_server_that_says_when_is_waited_for():
    """Beside the policy's own wait; once the tries are spent the caller is told too."""
    transport = FakeTransport(script=[UnavailableError("busy", retry_after_seconds=0.3)] * 2)
    started = time.monotonic()

    with pytest.raises(UnavailableError, match="tried 2 times") as caught:
        run(
            transport,
            lambda client: client.encode(["a"]),
            retries=RetryPolicy(attempts=2, initial_backoff_seconds=0.001),
        )

    assert 0.3 <= time.monotonic() - started < 2
    assert 0.3 == caught.value.retry_after_seconds


def test_retry_that_would_be_too_late_is_not_waited_for():
    """When the next try would start after the deadline, the reason is told at once."""
    transport = FakeTransport(script=[UnavailableError("busy")])
    started = time.monotonic()

    with pytest.raises(UnavailableError, match="busy"):
        run(
            transport,
            lambda client: client.encode(["a"], timeout_seconds=5),
            retries=RetryPolicy(initial_backoff_seconds=60, max_backoff_seconds=60),
        )

    assert time.monotonic() - started < 2


def test_backoff_grows_with_jitter_up_to_a_limit():
    """Half to the whole of the initial wait, doubled each time, and never above the maximum."""
    policy = RetryPolicy(initial_backoff_seconds=1, max_backoff_seconds=5)
    waits = [[policy.backoff_seconds(attempt) for _ in range(100)] for attempt in (1, 2, 3, 9)]

    for longest, row in zip((1, 2, 4, 5), waits, strict=True):
        assert longest / 2 <= min(row) < max(row) <= longest
    assert 0 <= policy.backoff_seconds(5000) <= 5


@pytest.mark.parametrize(
    "options", [{"attempts": 0}, {"initial_backoff_seconds": -1}, {"max_backoff_seconds": 0.01}]
)
def test_impossible_retry_policy_is_refused(options):
    """The message names the setting."""
    with pytest.raises(InvalidInputError, match="RetryPolicy"):
        RetryPolicy(**options)


def test_deadline_holds_for_the_whole_call():
    """Every request is quick enough, all together are not; the rest is cancelled."""
    transport = CountingTransport(delay_seconds=0.05)
    started = time.monotonic()

    with pytest.raises(DeadlineError, match=r"0\.12 s"):
        run(
            transport,
            lambda client: client.encode(["a"] * 40, timeout_seconds=0.12),
            limits=ONE_TEXT_A_REQUEST,
        )

    assert time.monotonic() - started < 1
    assert 0 == transport.running
    assert len(transport.requests) <= 12


def test_transport_learns_the_time_that_is_left():
    """The server can be told, and give up too."""
    transport = FakeTransport(script=[UnavailableError("busy")])

    run(
        transport,
        lambda client: client.encode(["a"]),
        timeout_seconds=7,
        retries=RetryPolicy(initial_backoff_seconds=0.02),
    )

    first, second = [request.timeout_seconds for request in transport.requests]
    assert second + 0.01 <= first <= 7


def test_no_deadline_is_no_deadline():
    """`timeout_seconds=None` of the client sets no limit."""
    transport = FakeTransport()

    run(transport, lambda client: client.encode(["a"]), timeout_seconds=None)

    assert transport.requests[0].timeout_seconds is None


def test_first_fatal_error_cancels_the_rest():
    """Requests under way are cancelled, and those that wait are never sent."""

    class FirstFails(CountingTransport):
        async def infer(self, request):
            if request.texts[0] == b"first":
                raise InternalServerError("broken")
            return await super().infer(request)

    transport = FirstFails(delay_seconds=60)

    with pytest.raises(InternalServerError, match="broken"):
        run(
            transport,
            lambda client: client.encode(["a", "b", "first"] + ["c"] * 50),
            limits=ONE_TEXT_A_REQUEST,
        )

    assert transport.cancelled == len(transport.requests) <= 3


def test_cancelled_call_cancels_its_requests():
    """Cancelling the task leaves nothing running, and is still a cancellation."""
    transport = CountingTransport(delay_seconds=60)

    async def cancelled(client):
        task = asyncio.create_task(client.encode(["a"] * 10))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(transport, cancelled, limits=ONE_TEXT_A_REQUEST)

    assert (4, 0) == (transport.cancelled, transport.running)


def test_refused_text_is_named_by_its_place_in_the_call():
    """The server counts within a request, the caller's index is of all texts."""
    texts = ["a b"] * 7 + ["a b c d"] + ["a"]

    with pytest.raises(InvalidInputError, match="6 tokens, more than max_length=4") as caught:
        run(
            FakeTransport(),
            lambda client: client.encode(texts, max_length=4, truncate=False),
            limits=Limits(max_texts_per_request=3),
        )

    assert 7 == caught.value.index
    assert ["about texts[7]"] == caught.value.__notes__


def test_closed_client_says_so():
    """After close, and closing again is nothing."""
    transport = FakeTransport()

    async def main():
        client = AsyncClient(transport=transport)
        await client.close()
        await client.close()
        with pytest.raises(ClientClosedError, match="closed"):
            await client.encode(["a"])

    asyncio.run(main())

    assert transport.closed


def test_client_belongs_to_one_event_loop():
    """In another `asyncio.run` its connections are dead: it says so instead of hanging."""
    client = AsyncClient(transport=FakeTransport())
    asyncio.run(client.encode(["a"]))

    with pytest.raises(ClientClosedError, match="another event loop"):
        asyncio.run(client.encode(["a"]))


@pytest.mark.parametrize(
    ("script", "ready"),
    [
        ([], True),
        ([UnavailableError("x")], False),
        ([InternalServerError("its process died")], False),
        ([ModelNotFoundError("x")], False),
    ],
)
def test_ready_is_proved_by_a_request(script, ready):
    """A server is ready when it answers a request, tried once."""
    transport = FakeTransport(script=script)

    assert ready == run(transport, lambda client: client.ready())
    assert 1 == len(transport.requests)


def test_server_that_does_not_answer_is_not_ready():
    """Neither is one that takes too long."""
    transport = FakeTransport(delay_seconds=60)

    assert not run(transport, lambda client: client.ready(timeout_seconds=0.05))


def test_refused_caller_is_not_told_to_wait():
    """Wrong credentials do not get better with time."""
    for call in (lambda client: client.ready(), lambda client: client.wait_until_ready(5)):
        with pytest.raises(AccessError):
            run(FakeTransport(script=[AccessError("who?")]), call)


def test_wait_until_ready_waits():
    """It returns with the first answer."""
    transport = FakeTransport(script=[UnavailableError("x"), ModelNotFoundError("loading")])

    run(transport, lambda client: client.wait_until_ready(5))

    assert 3 == len(transport.requests)


def test_wait_until_ready_ends_with_the_reason():
    """When the time is up, the last trouble is told."""
    transport = FakeTransport(script=[UnavailableError("refused")] * 99)

    with pytest.raises(DeadlineError, match=r"0\.1 s: refused"):
        run(transport, lambda client: client.wait_until_ready(0.1))


def test_model_info_has_sizes_and_versions():
    """As the server describes the model that the client names."""
    transport = FakeTransport(hidden_size=24, colbert_size=12)

    info = run(transport, lambda client: client.model_info(), model="mine", model_version="3")

    assert ModelInfo("mine", ("3",), 24, 12) == info


def test_other_model_is_not_described():
    """A model without the outputs is another project's."""

    class Other(FakeTransport):
        async def model_metadata(self, model, model_version, timeout_seconds):
            metadata = await super().model_metadata(model, model_version, timeout_seconds)
            return type(metadata)(model, ("1",), {"logits": (-1, 2)})

    with pytest.raises(ContractError, match="'dense'"):
        run(Other(), lambda client: client.model_info())


class Choosy(FakeTransport):
    """Takes some texts and some words at once, as its configuration says, or does not."""

    def __init__(self, texts=99, words=99, parameters=None):
        super().__init__()
        self.texts, self.words, self.parameters = texts, words, parameters

    async def infer(self, request):
        """Refuse what is too much, as the server's tokenizer does."""
        words = sum(len(text.split()) for text in request.texts)
        if len(request.texts) > self.texts or words > self.words:
            self.requests.append(request)
            raise InvalidInputError("too much at once: split it")
        return await super().infer(request)

    async def model_parameters(self, model, timeout_seconds):
        """Tell, or refuse to."""
        assert "bge_m3_tokenizer" == model
        if isinstance(self.parameters, Exception):
            raise self.parameters
        return self.parameters


def sizes(transport):
    """Return how many texts each request had."""
    return [len(request.texts) for request in transport.requests]


def test_a_request_is_cut_by_what_the_server_takes():
    """It says so when it has refused one; the next call is cut so from the start."""
    texts = [f"word{number}" for number in range(7)]
    transport = Choosy(texts=3, parameters={"max_texts_per_request": "3"})

    async def twice(client):
        return await client.encode(texts), await client.encode(texts)

    first, second = run(transport, twice)
    expected = run(FakeTransport(), lambda client: client.encode(texts))

    assert [7, 3, 3, 1, 3, 3, 1] == sizes(transport)
    assert expected.dense.tolist() == first.dense.tolist() == second.dense.tolist()


def test_a_request_is_cut_by_the_tokens_that_the_server_takes():
    """By their estimate, which is from above: 7 and 2 for each text here."""
    transport = Choosy(words=4, parameters={"max_request_tokens": "20"})

    embeddings = run(transport, lambda client: client.encode(["one two"] * 5))

    assert (5, [5, 2, 2, 1]) == (len(embeddings), sizes(transport))


@pytest.mark.parametrize(
    "parameters",
    [{}, {"max_texts_per_request": "7"}, AccessError("not for you"), ModelNotFoundError("none")],
)
def test_a_refusal_stands_where_the_server_names_no_limit(parameters):
    """The server's own words reach the caller, and nothing is sent again."""
    transport = Choosy(texts=3, parameters=parameters)

    with pytest.raises(InvalidInputError, match="too much at once"):
        run(transport, lambda client: client.encode(["a"] * 7))

    assert [7] == sizes(transport)


def test_a_refused_text_of_a_piece_is_named_by_its_place_in_the_call():
    """Cutting again does not change what the caller is told."""
    texts = ["a"] * 5 + ["far too long"] + ["a"]
    transport = Choosy(texts=3, parameters={"max_texts_per_request": "3"})

    with pytest.raises(InvalidInputError) as error:
        run(transport, lambda client: client.encode(texts, max_length=4, truncate=False))

    assert 5 == error.value.index
