"""The synchronous client: one implementation, on an event loop of its own."""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from bgem3_client import AsyncClient, Client, ClientClosedError, FakeTransport, InvalidInputError

METHODS = (
    "__init__",
    "encode",
    "count_tokens",
    "compute_score",
    "ready",
    "wait_until_ready",
    "model_info",
    "close",
)


def client_threads():
    """Return the threads of clients that are alive."""
    return [thread for thread in threading.enumerate() if thread.name == "bgem3-client"]


def python(code, **options):
    """Start a program."""
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@pytest.mark.parametrize("name", METHODS)
def test_signatures_are_those_of_the_async_client(name):
    """Both clients take the same arguments, with the same defaults."""
    expected = inspect.signature(getattr(AsyncClient, name)).parameters

    assert expected == inspect.signature(getattr(Client, name)).parameters


def test_both_clients_have_the_same_methods():
    """Nothing can be done with only one of them."""
    public = {name for name in vars(AsyncClient) if not name.startswith("_")}

    assert public == {name for name in vars(Client) if not name.startswith("_")}
    assert public == set(METHODS) - {"__init__"}


def test_results_are_those_of_the_async_client():
    """The same texts, the same numbers."""

    async def encode():
        async with AsyncClient(transport=FakeTransport()) as client:
            return await client.encode(["a", "b c"])

    with Client(transport=FakeTransport()) as client:
        embeddings = client.encode(["a", "b c"])

    assert asyncio.run(encode()).dense.tolist() == embeddings.dense.tolist()


def test_it_works_inside_a_running_event_loop():
    """As in Jupyter, where a cell runs inside one."""

    async def cell():
        with Client(transport=FakeTransport()) as client:
            return client.encode(["a"])

    assert 1 == len(asyncio.run(cell()))


def test_threads_may_share_a_client():
    """Each gets its own answer."""
    texts = [" ".join("x" * n) for n in range(1, 30)]
    with Client(transport=FakeTransport()) as client, ThreadPoolExecutor(8) as pool:
        lengths = list(pool.map(lambda text: client.encode([text])[0].token_length, texts))

    assert [len(text.split()) + 2 for text in texts] == lengths


def test_close_ends_the_thread():
    """Nothing is left behind; closing again is nothing, and using it is an error."""
    before = client_threads()
    transport = FakeTransport()
    client = Client(transport=transport)
    client.encode(["a"])
    client.close()
    client.close()

    assert transport.closed
    assert before == client_threads()
    with pytest.raises(ClientClosedError, match="closed"):
        client.encode(["a"])


def test_call_under_way_ends_when_another_thread_closes():
    """A call does not hang on a client that is gone."""
    client = Client(transport=FakeTransport(delay_seconds=60))
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(client.encode, ["a"])
        while not client._client._transport.requests:
            pass
        client.close()

        with pytest.raises(ClientClosedError):
            call.result(timeout=5)


def test_forgotten_client_is_closed():
    """A client that nobody holds any more lets go of its thread and connections."""
    before = client_threads()
    transport = FakeTransport()
    client = Client(transport=transport)
    client.encode(["a"])
    del client
    gc.collect()

    assert transport.closed
    assert before == client_threads()


def test_wrong_constructor_leaves_no_thread():
    """An argument error comes before anything is started."""
    before = client_threads()
    with pytest.raises(InvalidInputError):
        Client("no address")

    assert before == client_threads()


def test_interrupt_cancels_the_work_and_does_not_hang():
    """Ctrl-C ends a call at once, its requests are cancelled, and the process can go on."""
    process = python(
        """
import asyncio, threading
from bgem3_client import Client, FakeTransport

cancelled = threading.Event()

class Slow(FakeTransport):
    async def infer(self, request):
        print("sent", flush=True)
        try:
            return await super().infer(request)
        except asyncio.CancelledError:
            cancelled.set()
            raise

client = Client(transport=Slow(delay_seconds=60))
try:
    client.encode(["a"])
except KeyboardInterrupt:
    print("interrupted", cancelled.wait(5), flush=True)
print(client.model_info().name)
"""
    )
    assert "sent\n" == process.stdout.readline()

    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)

    assert ["interrupted", "True", "bge_m3"] == out.split()
    assert (0, "") == (process.returncode, err)


def test_open_client_does_not_hold_up_the_end_of_the_program():
    """A client that was never closed is closed when the interpreter ends."""
    process = python(
        """
from bgem3_client import Client, FakeTransport

class Said(FakeTransport):
    async def close(self):
        print("closed")

client = Client(transport=Said())
client.encode(["a"])
"""
    )
    out, err = process.communicate(timeout=20)

    assert ("closed\n", "", 0) == (out, err, process.returncode)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_forked_child_is_told_to_make_its_own():
    """The parent's threads and connections are not there: an error instead of a hang."""
    process = python(
        """
import os
import warnings
from bgem3_client import Client, ClientClosedError, FakeTransport

client = Client(transport=FakeTransport())
client.encode(["a"])
# Python 3.12 warns of forking with threads, which is what this is about.
warnings.simplefilter("ignore", DeprecationWarning)
child = os.fork()
if child:
    os.waitpid(child, 0)
try:
    client.encode(["a"])
    print("parent" if child else "child", "answered", flush=True)
except ClientClosedError as error:
    print("parent" if child else "child", "after forking" in str(error), flush=True)
client.close()
"""
    )
    out, err = process.communicate(timeout=20)

    assert ["child True", "parent answered"] == out.splitlines()
    assert (0, "") == (process.returncode, err)
