"""A system under test that does what its texts say: a worker for the tests of the run."""

from __future__ import annotations

import os
import signal
import sys
import time
import zlib

import numpy as np

from bgem3_bench.workers.worker_protocol import Embeddings, Loaded, System, serve


class Fake(System):
    """Vectors of the texts' bytes. ``options``: ``error`` is added to them."""

    def load(self, checkpoint, threads, max_length, options):
        self._error = options.get("error", 0.0)
        if options.get("refuses"):
            raise RuntimeError("no such weights")
        return Loaded({"fake": "1.0"}, "as it comes", "fp32")

    def encode(self, texts, outputs, batch_size):
        for text in texts:
            if text == "die":
                print("last words", file=sys.stderr, flush=True)
                os.kill(os.getpid(), signal.SIGKILL)
            if text == "fail":
                raise ValueError("this text cannot be encoded")
            if text == "sleep":
                time.sleep(60)
        self.computed_tokens = 2 * sum(map(len, texts))
        return np.array([self._vector(text) for text in texts])

    def embeddings(self, results, outputs):
        return Embeddings(dense=results.astype(np.float32))

    def count_tokens(self, texts):
        return sum(map(len, texts))

    def _vector(self, text):
        vector = np.random.default_rng(zlib.crc32(text.encode())).standard_normal(64)
        vector[0] += self._error
        return vector


if __name__ == "__main__":
    serve(Fake())
