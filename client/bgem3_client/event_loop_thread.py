"""An event loop in a thread of its own, for code that is not asynchronous."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import CancelledError, Future
from typing import Any, TypeVar

from bgem3_client.errors import ClientClosedError

Result = TypeVar("Result")


class EventLoopThread:
    """Runs coroutines for any thread, also for one whose own event loop is running (Jupyter)."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._process_id = os.getpid()
        self._thread = threading.Thread(target=self._run, name="bgem3-client", daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        """Return what the coroutine returns; when interrupted (Ctrl-C), cancel it.

        Raises:
            ClientClosedError: The thread was stopped, or lives in another process.
        """
        future = self.submit(coroutine)
        try:
            return future.result()
        except CancelledError as error:
            raise ClientClosedError("the client was closed while the call was under way") from error
        except BaseException:
            future.cancel()
            raise

    def submit(self, coroutine: Coroutine[Any, Any, Result]) -> Future[Result]:
        """Start the coroutine and return at once; the future has what it returns.

        Raises:
            ClientClosedError: The thread was stopped, or lives in another process.
        """
        try:
            self._check()
        except ClientClosedError:
            coroutine.close()
            raise
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    @property
    def stopped(self) -> bool:
        """Whether it was stopped."""
        return self._loop.is_closed()

    def stop(self) -> None:
        """Cancel what still runs, and end the thread. Again, or after a fork, nothing happens."""
        if os.getpid() != self._process_id or self._loop.is_closed():
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _check(self) -> None:
        if os.getpid() != self._process_id:
            raise ClientClosedError(
                f"this client belongs to process {self._process_id}, and its connections do not "
                f"live on in process {os.getpid()}: make a client after forking, not before"
            )
        if self._loop.is_closed():
            raise ClientClosedError("this client is closed: make a new one")

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            tasks = asyncio.all_tasks(self._loop)
            for task in tasks:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        finally:
            self._loop.close()
