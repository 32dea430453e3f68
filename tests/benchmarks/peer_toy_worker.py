"""A system that does what the first text says; it stands in for a peer."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bgem3_bench.workers.worker_protocol import (
    Embeddings,
    Loaded,
    System,
    Unsupported,
    merged,
    serve,
    sparse_embeddings,
    versions,
)


class Toy(System):
    outputs = frozenset({"dense", "sparse"})

    def load(
        self, checkpoint: Path, threads: int, max_length: int, options: Mapping[str, Any]
    ) -> Loaded:
        self._options = options
        self._together = self._most_together = 0
        self._lock = threading.Lock()
        self.computed_tokens = 0
        # A class attribute of real systems; here both kinds are wanted.
        self.serialised = options.get("serialised", True)  # type: ignore[misc]
        return Loaded(versions("numpy"), f"{checkpoint.name}, {threads} threads, {max_length}")

    def encode(self, texts: list[str], outputs: frozenset[str], batch_size: int | None) -> Any:
        self.computed_tokens = (self.computed_tokens or 0) + 10 * len(texts)
        what, _, argument = texts[0].partition(" ")
        if what == "print":
            print("printed by Python")
            os.write(1, b"written by a library\n")
            subprocess.run(["echo", "echoed by a child"], check=True)
            assert sys.stdin.read() == ""
        elif what == "raise":
            raise {
                "ValueError": ValueError,
                "MemoryError": MemoryError,
                "RuntimeError": RuntimeError,
                "Unsupported": Unsupported,
            }[argument.partition(" ")[0]](argument.partition(" ")[2])
        elif what == "hold":
            held = np.ones(int(argument), np.uint8)
            del held
        elif what == "burn":
            burn = f"import time\nwhile time.process_time() < {argument}: pass\n"
            if self._options["child"] == "ends":
                subprocess.run([sys.executable, "-c", burn], check=True)
            else:
                stay = "print(flush=True)\ntime.sleep(60)\n"
                child = subprocess.Popen(
                    [sys.executable, "-c", burn + stay], stdout=subprocess.PIPE
                )
                assert child.stdout is not None
                child.stdout.readline()
        elif what == "by_batch_size":
            time.sleep({1: 0.05, 2: 0.02, 4: 0.1}[batch_size or 1])
        elif what == "nap":
            with self._lock:
                self._together += 1
                self._most_together = max(self._most_together, self._together)
            time.sleep(0.02)
            with self._lock:
                self._together -= 1
        elif what == "most_together":
            return [np.array([self._most_together])]
        return [np.array([len(text)]) for text in texts]

    def embeddings(self, results: Any, outputs: frozenset[str]) -> Embeddings:
        parts = []
        if "dense" in outputs:
            parts.append(Embeddings(dense=np.array(results, np.float32)))
        if "sparse" in outputs:
            parts.append(sparse_embeddings([{"7": 0.5, "3": 0.25} for _ in results]))
        return merged(parts)

    def count_tokens(self, texts: list[str]) -> int | None:
        return sum(map(len, texts))

    def close(self) -> None:
        if "closed_file" in self._options:
            Path(self._options["closed_file"]).write_text("closed\n")


if __name__ == "__main__":
    serve(Toy())
