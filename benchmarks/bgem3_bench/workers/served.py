"""This package as it is served: ``bgem3 serve``'s Triton by gRPC, or the HTTP service before it.

The client is this process; its memory and processor time are not counted, since it runs
elsewhere. The servers are, all of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from bgem3_bench.workers.worker_protocol import Embeddings, Loaded, System, merged, serve, versions
from bgem3_client import Client
from bgem3_client.encode_request import ALL_OUTPUTS
from bgem3_client.limits import Limits

REQUESTS_IN_FLIGHT: Final = 64
LISTS_IN_FLIGHT: Final = 8
_TIMEOUT_SECONDS: Final = 3600.0
_START_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.02


class Served(System):
    """A server on this machine and a client of it.

    Options: ``repository``, what `bgem3 export` has written; ``protocol``, "grpc" for Triton itself
    or "bgem3" for the HTTP service; the trunk's ``engine``, or "auto".
    Without a batch size every text is a request of its own, 64 in flight; with one, requests hold
    lists of so many texts, 8 in flight.
    """

    outputs = frozenset({"dense", "sparse", "colbert"})
    serialised = False
    counts_itself = False
    url: str

    def __init__(self) -> None:
        self._resources = ExitStack()
        self._clients: dict[int, Client] = {}

    def load(
        self, checkpoint: Path, threads: int, max_length: int, options: Mapping[str, Any]
    ) -> Loaded:
        """Start the servers and connect; they are ready when they have answered a text."""
        from bgem3_bench.workers.own_trunk import ask_for_engine, precision_of
        from bgem3_bench.workers.triton_metrics import read_trunk_metrics
        from bgem3_server.serving import running_triton
        from bgem3_server.settings import ServeSettings

        ask_for_engine(options["engine"], threads)
        repository = Path(options["repository"])
        self._max_length = max_length
        settings = ServeSettings(
            grpc_port=0,
            http_port=0,
            metrics_port=0,
            # The peers compute on the CPU.
            profile="cpu",
            # Probes would be work that no other system has.
            probe_interval_seconds=0,
        )
        triton = self._resources.enter_context(running_triton(repository, settings))
        self._read_metrics = partial(read_trunk_metrics, triton.metrics)
        self.computed_tokens = self.attention_tokens = 0
        engine = self._read_metrics().engine
        self.url = triton.grpc
        if options["protocol"] == "bgem3":
            self.url = self._resources.enter_context(_gateway(repository, triton.grpc))
        self._client(1)  # callers come from several threads
        return Loaded(
            versions("bgem3-triton", "nvidia-pytriton", "tritonclient"),
            f"one text a request, {REQUESTS_IN_FLIGHT} in flight, or lists, {LISTS_IN_FLIGHT} in "
            f"flight; the trunk's engine: {engine or 'of Triton'}; the client's work is not "
            "counted",
            precision_of(engine) if engine else None,
        )

    @property
    def computed_tokens(self) -> int | None:
        """Tokens that the trunk has computed since this was set."""
        now = self._read_metrics().computed_tokens
        return None if now is None else now - self._computed_before

    @computed_tokens.setter
    def computed_tokens(self, tokens: int | None) -> None:
        self._computed_before = (self._read_metrics().computed_tokens or 0) - (tokens or 0)

    @property
    def attention_tokens(self) -> int | None:
        """The same with the padding inside attention."""
        now = self._read_metrics().attention_tokens
        return None if now is None else now - self._attention_before

    @attention_tokens.setter
    def attention_tokens(self, tokens: int | None) -> None:
        self._attention_before = (self._read_metrics().attention_tokens or 0) - (tokens or 0)

    def encode(self, texts: list[str], outputs: frozenset[str], batch_size: int | None) -> Any:
        """Send all texts and wait for all answers."""
        return self._send(self._client(batch_size or 1), texts, outputs)

    def request(self, text: str, outputs: frozenset[str]) -> None:
        """Send one text as one caller among several."""
        self._send(self._client(1), [text], outputs)

    def embeddings(self, results: Any, outputs: frozenset[str]) -> Embeddings:
        """Return the answer's arrays."""
        parts = [Embeddings(dense=results.parts.dense)]
        if (sparse := results.parts.sparse) is not None:
            lengths = np.diff(sparse.offsets)
            indices = sparse.indices.astype(np.int64)
            parts.append(Embeddings(None, indices, sparse.values, lengths))
        if (colbert := results.parts.colbert) is not None:
            lengths = np.diff(colbert.offsets)
            parts.append(Embeddings(colbert=colbert.vectors, colbert_lengths=lengths))
        return merged(parts)

    def close(self) -> None:
        """Stop the servers in order."""
        self._resources.close()

    def _client(self, texts_per_request: int) -> Client:
        if texts_per_request not in self._clients:
            in_flight = REQUESTS_IN_FLIGHT if texts_per_request == 1 else LISTS_IN_FLIGHT
            limits = Limits(max_in_flight=in_flight, max_texts_per_request=texts_per_request)
            self._clients[texts_per_request] = self._resources.enter_context(
                Client(self.url, limits=limits, timeout_seconds=_TIMEOUT_SECONDS)
            )
        return self._clients[texts_per_request]

    def _send(self, client: Client, texts: list[str], outputs: frozenset[str]) -> Any:
        chosen = [name for name in ALL_OUTPUTS if name in outputs]
        return client.encode(texts, chosen, max_length=self._max_length)


@contextmanager
def _gateway(repository: Path, triton: str) -> Iterator[str]:
    """The HTTP service in processes of its own while the block runs; gives its ``bgem3://`` URL.

    Raises:
        RuntimeError: It did not start; standard error says why.
    """
    from bgem3_server.triton import leash

    with tempfile.TemporaryDirectory(prefix="bgem3-bench-") as folder:
        ready_file = Path(folder) / "ready.json"
        options = {
            "--host": "127.0.0.1",
            "--port": "0",
            "--triton": triton,
            "--tokenizer": str(repository),
            "--ready-interval-seconds": "0",
            "--ready-file": str(ready_file),
            # Every round sends the same texts.
            "--cache-bytes": "0",
        }
        process = subprocess.Popen(
            [
                *(sys.executable, leash.__file__, str(os.getpid())),
                *(str(Path(sys.executable).with_name("bgem3")), "gateway"),
                *(word for option in options.items() for word in option),
            ],
            stdin=subprocess.DEVNULL,
        )
        try:
            deadline = time.monotonic() + _START_SECONDS
            while not ready_file.is_file():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError("the HTTP service did not start")
                time.sleep(_POLL_SECONDS)
            address = json.loads(ready_file.read_text(encoding="utf-8"))["service"]
            yield "bgem3://" + address.removeprefix("http://")
        finally:
            process.terminate()
            process.wait()


if __name__ == "__main__":
    serve(Served())
