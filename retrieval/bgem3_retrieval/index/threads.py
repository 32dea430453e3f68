"""Iterators whose work is done ahead by threads, in order and with a bound.

Closed early, they wait for what their threads are at: a request that is given up on its way does
some servers harm.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import Final, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_END: Final = object()


def ahead(items: Iterable[Item], count: int, name: str) -> Generator[Item]:
    """Yield the items, while a thread of that name fetches so many of those to come."""
    iterator = iter(items)
    executor = ThreadPoolExecutor(1, name)
    try:
        waiting = deque(executor.submit(next, iterator, _END) for _ in range(count))
        while (item := waiting.popleft().result()) is not _END:
            waiting.append(executor.submit(next, iterator, _END))
            yield item  # type: ignore[misc]  # it is no end
    finally:
        executor.shutdown(cancel_futures=True)


def in_threads(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int, held: int, name: str
) -> Generator[Result]:
    """Yield ``function(item)`` of each item, in order, from so many threads.

    Once it has raised for an item, no item behind that one is begun: nobody will ask for it, and
    what waits for a server that is away would take as long again.

    Args:
        function: Called by threads of that name.
        items: Fetched by the caller's thread, whenever there is room.
        threads: How many run at the same time.
        held: Items that are worked on, or done and not yet asked for, at most.
        name: The threads'.
    """
    executor = ThreadPoolExecutor(threads, name)
    waiting: deque[Future[Result]] = deque()
    failed: list[int] = []

    def work(number: int, item: Item) -> Result:
        if any(number > other for other in failed):
            raise CancelledError
        try:
            return function(item)
        except BaseException:
            failed.append(number)
            raise

    try:
        for number, item in enumerate(items):
            waiting.append(executor.submit(work, number, item))
            # The others keep the threads busy while the first of them is waited for.
            while waiting and (waiting[0].done() or len(waiting) >= held):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        executor.shutdown(cancel_futures=True)
