"""The connection to a Qdrant server: made once, tried again while a failure may pass."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from itertools import count
from typing import Final, TypeVar

from qdrant_client import QdrantClient

from bgem3_client.retry_policy import RetryPolicy
from bgem3_retrieval.errors import StoreError
from bgem3_retrieval.outage import Outage
from bgem3_retrieval.stores.qdrant.failures import FAILURES, explain
from bgem3_retrieval.stores.qdrant.server_url import ServerUrl

_Answer = TypeVar("_Answer")

_PROBE_SECONDS: Final = 2.0
# Otherwise gRPC waits up to two minutes between attempts to reconnect, and fails every request
# meanwhile: a server that is back would go unnoticed.
_GRPC_OPTIONS: Final = {
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 1_000,
}


class ServerConnection:
    """A client of a server: by gRPC where its port is open, by HTTP elsewhere.

    Any thread may use it. Before the server has answered once, a failure is reported at once.
    """

    def __init__(
        self,
        url: ServerUrl,
        api_key: str | None,
        timeout_seconds: int,
        retries: RetryPolicy,
        say: Callable[[str], None] | None,
    ) -> None:
        """Take down where the server is; the first request connects.

        Args:
            url: The server's.
            api_key: Sent with every request.
            timeout_seconds: Of a request.
            retries: When a request is made again.
            say: Told when the server is waited for, and when it is back.
        """
        self._url = url
        self._api_key = api_key
        self._timeout_seconds = timeout_seconds
        self._retries = retries
        self._outage = None if say is None else Outage(f"Qdrant at {url.base}", say)
        self._guard = threading.Lock()
        self._connected: QdrantClient | None = None
        self._uses_grpc = False
        self._answered = False
        self._closed = False

    @property
    def address(self) -> str:
        """The URL."""
        return self._url.base

    @property
    def uses_grpc(self) -> bool:
        """Whether requests go by gRPC; known once there was one."""
        return self._uses_grpc

    def ask(self, request: Callable[[QdrantClient], _Answer]) -> _Answer:
        """Return the answer to a request that may be made again.

        Raises:
            StoreError: The connection is closed.
            Exception: One of `FAILURES`, that of the last attempt.
        """
        for attempt in count(1):
            try:
                answer = self.ask_once(request)
            except FAILURES as error:
                failure = explain(error)
                if not (failure.transient and self._answered and attempt < self._retries.attempts):
                    raise
                if self._outage is not None:
                    self._outage.failed(failure.reason)
                time.sleep(self._retries.backoff_seconds(attempt) + failure.retry_after_seconds)
            else:
                self._answered = True
                if self._outage is not None:
                    self._outage.answered()
                return answer
        raise AssertionError("unreachable")

    def ask_once(self, request: Callable[[QdrantClient], _Answer]) -> _Answer:
        """Return the answer to a request that must not be made again.

        Raises:
            StoreError: The connection is closed.
            Exception: One of `FAILURES`.
        """
        return request(self._client())

    def close(self) -> None:
        """Let go of the client. Again: nothing."""
        with self._guard:
            self._closed = True
            client, self._connected = self._connected, None
        if client is not None:
            client.close()

    def _client(self) -> QdrantClient:
        with self._guard:
            if self._closed:
                raise StoreError(f"the store {self.address} is closed")
            if self._connected is None:
                self._uses_grpc = self._has_grpc()
                self._connected = QdrantClient(
                    url=self._url.base,
                    grpc_port=self._url.grpc_port,
                    prefer_grpc=self._uses_grpc,
                    api_key=self._api_key,
                    grpc_options=dict(_GRPC_OPTIONS),
                    timeout=self._timeout_seconds,
                    # Checked by the store, with an error and not a warning.
                    check_compatibility=False,
                )
            return self._connected

    def _has_grpc(self) -> bool:
        if not self._url.grpc_port:
            return False
        try:
            socket.create_connection((self._url.host, self._url.grpc_port), _PROBE_SECONDS).close()
        except OSError:
            return False
        return True
