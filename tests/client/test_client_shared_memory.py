"""ColBERT results by shared memory, over a transport that plays the server on this machine."""

from __future__ import annotations

import asyncio
import os
from multiprocessing import shared_memory

import numpy as np
import pytest

from bgem3_client import (
    AccessError,
    AsyncClient,
    ContractError,
    DeadlineError,
    FakeTransport,
    InternalServerError,
    InvalidInputError,
    Limits,
    ModelNotFoundError,
    RetryPolicy,
    UnavailableError,
)
from bgem3_client.shared_memory import Region, SharedMemoryTransport
from bgem3_client.transports import InferResponse

pytestmark = pytest.mark.skipif(
    not os.path.isdir("/dev/shm"), reason="system shared memory is seen in /dev/shm"
)

REGION_BYTES = 4096
TOKEN_BYTES = 16 * 4  # the fake's 16 numbers in FP32


def regions():
    """Return the names of this process's regions that exist."""
    return {name for name in os.listdir("/dev/shm") if name.startswith(f"bgem3-{os.getpid()}-")}


class LocalServer(FakeTransport):
    """Writes the outputs that a request places in shared memory there, as Triton does."""

    def __init__(self, **options):
        super().__init__(**options)
        self.known = {}
        self.in_use = set()
        self.refuse = None
        self.forget_restarted = ModelNotFoundError

    async def register_region(self, name, key, size_bytes):
        """Remember the region, or refuse it."""
        if self.refuse is not None:
            raise self.refuse
        self.known[name] = size_bytes

    async def unregister_region(self, name):
        """Forget the region unless it is in use."""
        if name in self.in_use:
            raise InternalServerError("it is currently in use")
        self.known.pop(name, None)

    async def infer(self, request):
        """Answer, with the outputs that are placed in their regions."""
        response = await super().infer(request)
        tensors = dict(response.tensors)
        for output, placement in request.placements.items():
            if placement.region_name not in self.known:
                raise self.forget_restarted("Unable to find shared memory region")
            memory = shared_memory.SharedMemory(placement.region_name)
            array = np.ndarray(tensors[output].shape, tensors[output].dtype, memory.buf)
            array[:] = tensors[output]
            del array
            memory.close()
            tensors[output] = placement.read(tensors[output].dtype, tensors[output].shape)
        return InferResponse(tensors, response.model_version)

    @property
    def placed(self):
        """Whether each request had an output in shared memory."""
        return [bool(request.placements) for request in self.requests]


def run(server, call, *, limits=None, retries=None, region_bytes=REGION_BYTES):
    """Make a client in an event loop, and check what it leaves behind."""

    async def main():
        transport = SharedMemoryTransport(server, region_bytes)
        async with AsyncClient(
            transport=transport,
            limits=limits or Limits(max_in_flight=1, max_texts_per_request=1),
            retries=retries or RetryPolicy(attempts=1),
        ) as client:
            return await call(client)

    result = asyncio.run(main())
    assert set() == regions()
    assert {} == server.known or server.in_use
    return result


@pytest.fixture(autouse=True)
def nothing_left():
    """Hold every test to giving its memory back."""
    yield

    assert set() == regions()


@pytest.mark.parametrize("colbert_dtype", ["float32", "float16"])
def test_result_is_that_of_a_message(colbert_dtype):
    """Results are copies: they stay when a region is used again."""
    texts = ["one two", "", "three", "four five six"]
    server = LocalServer()

    async def encode(client):
        return await client.encode(texts, {"dense", "colbert"}, colbert_dtype=colbert_dtype)

    async def by_message():
        async with AsyncClient(transport=FakeTransport()) as client:
            return await encode(client)

    by_memory = run(server, encode)

    assert [True] * 4 == server.placed
    np.testing.assert_array_equal(
        asyncio.run(by_message()).colbert.vectors, by_memory.colbert.vectors
    )


def test_regions_are_used_again():
    """As many as there are requests under way, however many requests there are."""
    server = LocalServer(delay_seconds=0.001)
    seen = set()

    async def encode(client):
        await client.encode(["a"] * 20, {"colbert"})
        seen.update(server.known)

    run(server, encode, limits=Limits(max_in_flight=3, max_texts_per_request=1))

    assert 3 == len(seen)


def test_only_what_surely_fits_is_placed():
    """A token a character, two special tokens and a leading space: CLS has no row."""
    characters = REGION_BYTES // TOKEN_BYTES - 2
    fits, does_not = "x" * characters, "x" * (characters + 1)
    server = LocalServer()

    run(server, lambda client: client.encode([fits, does_not], {"colbert"}))

    assert [True, False] == server.placed


def test_bound_is_of_the_normalised_text():
    """One character may become eighteen: it counts for what the tokenizer sees."""
    server = LocalServer()

    run(server, lambda client: client.encode(["\ufdfa" * 4], {"colbert"}))

    assert [False] == server.placed


def test_bound_is_max_length_at_most():
    """A long text that is cut to a few tokens fits."""
    server = LocalServer()

    run(server, lambda client: client.encode(["x" * 9999], {"colbert"}, max_length=16))

    assert [True] == server.placed


def test_other_outputs_need_no_region():
    """Dense and sparse results are small."""
    server = LocalServer()

    run(server, lambda client: client.encode(["a"], {"dense", "sparse"}))

    assert [False] == server.placed


def test_region_of_an_unfinished_request_is_never_used_again():
    """The server may still write there: another is made, and the first is forgotten later."""
    server = LocalServer(delay_seconds=0.2)
    names = []

    async def late_then_in_time(client):
        with pytest.raises(DeadlineError):
            await client.encode(["a"], {"colbert"}, timeout_seconds=0.05)
        (late,) = server.known
        assert set() == regions()
        server.in_use.add(late)
        await client.encode(["a"], {"colbert"})
        names.extend(server.known)
        server.in_use.clear()

    run(server, late_then_in_time)

    assert 2 == len(set(names))


@pytest.mark.parametrize("error", [ModelNotFoundError, InvalidInputError])
def test_restarted_server_does_not_know_the_region(error):
    """The request goes by message, and the next one through a new region."""
    server = LocalServer()
    server.forget_restarted = error

    async def encode(client):
        await client.encode(["a"], {"colbert"})
        server.known.clear()
        return await client.encode(["a", "b"], {"colbert"})

    assert 2 == len(run(server, encode))
    assert [True, True, False, True] == server.placed


def test_refused_text_is_not_sent_twice():
    """An error with an index is about the text, not about the region."""
    server = LocalServer(script=[InvalidInputError("odd", index=0)])

    async def encode(client):
        with pytest.raises(InvalidInputError, match="odd"):
            await client.encode(["a"], {"colbert"})

    run(server, encode)

    assert [True] == server.placed


def test_unavailable_server_is_tried_again():
    """A retry gets a region as the first try did."""
    server = LocalServer(script=[UnavailableError("busy")])

    run(
        server,
        lambda client: client.encode(["a"], {"colbert"}),
        retries=RetryPolicy(attempts=2, initial_backoff_seconds=0.001),
    )

    assert [True, True] == server.placed


@pytest.mark.parametrize("error", [InternalServerError("no such file"), AccessError("forbidden")])
def test_server_that_cannot_share_memory_says_so(error):
    """It is on another machine or in another container: the message says what to do."""
    server = LocalServer()
    server.refuse = error

    async def encode(client):
        with pytest.raises(type(error), match="leave out shared_memory_bytes"):
            await client.encode(["a"], {"colbert"})

    run(server, encode)


def test_too_large_a_region_is_said_before_the_server_could_die_of_it():
    """Memory that is not there is noticed here, not by the server's first write."""
    free_bytes = os.statvfs("/dev/shm").f_bavail * os.statvfs("/dev/shm").f_frsize

    with pytest.raises(InvalidInputError, match="--shm-size"):
        Region.create(free_bytes * 4)


def test_answer_larger_than_its_region_is_refused():
    """A shape that does not fit is another contract's."""
    region = Region.create(64)
    try:
        with pytest.raises(ContractError, match="128 bytes"):
            region.read(np.float32, (2, 16))
    finally:
        region.destroy()


def test_close_gives_up_on_a_server_that_is_away():
    """Closing does not wait for a server that cannot answer."""

    class Away(LocalServer):
        async def unregister_region(self, name):
            raise UnavailableError("refused")

    server = Away()

    async def main():
        async with AsyncClient(transport=SharedMemoryTransport(server, REGION_BYTES)) as client:
            await client.encode(["a"], {"colbert"})

    asyncio.run(asyncio.wait_for(main(), 2))

    assert server.closed


def test_shared_memory_needs_an_address():
    """With a transport of one's own there is no server to share with."""
    with pytest.raises(InvalidInputError, match="needs a url"):
        AsyncClient(transport=FakeTransport(), shared_memory_bytes=1)
    with pytest.raises(InvalidInputError, match="0 or more"):
        AsyncClient("localhost:1", shared_memory_bytes=-1)
