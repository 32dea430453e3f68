"""Chunks by the model's own tokens."""

from __future__ import annotations

from pathlib import Path

import pytest
from chunk_documents import document

from bgem3_client import Client
from bgem3_retrieval.chunks.options import ChunkOptions
from bgem3_retrieval.chunks.splitter import Splitter

pytestmark = pytest.mark.live

REPOSITORY = Path(__file__).parents[3]
CHINESE = REPOSITORY / "benchmarks" / "bgem3_bench" / "data" / "documents_zh.txt"
ENGLISH = REPOSITORY / "docs" / "architecture.md"


def test_chunks_of_mixed_text_fit_the_model(client: Client) -> None:
    """Their tokens are those that encoding finds; nothing is lost, and they are well filled."""
    chinese = [line for line in CHINESE.read_text(encoding="utf-8").split("\n") if line.strip()]
    english = [part for part in ENGLISH.read_text().split("\n\n") if part.strip()]
    mixed = [f"{zh} {en}" for zh, en in zip(chinese[:20], english[:20], strict=False)]
    whole = document(
        (1, "混合 mixed"),
        (2, "中文"),
        *chinese[:60],
        (2, "English"),
        *english,
        (2, "Both"),
        *mixed,
        "ﷺ" * 300,
        "x" * 3_000 + "密" * 3_000,
    )
    for options in (ChunkOptions(), ChunkOptions(64, 12)):
        [chunks] = Splitter(client.count_tokens, options).split([whole])

        embeddings = client.encode([chunk.text for chunk in chunks[:6]])
        assert embeddings.token_lengths.tolist() == [chunk.tokens for chunk in chunks[:6]]
        assert max(chunk.tokens for chunk in chunks) <= options.max_tokens
        assert sum(c.tokens for c in chunks) / len(chunks) > options.max_tokens * 0.7
        missing = set(range(len(whole.text)))
        for chunk in chunks:
            assert whole.text[chunk.begin : chunk.end] == chunk.text
            missing -= set(range(chunk.begin, chunk.end))
        assert "" == "".join(whole.text[place] for place in missing).replace("#", "").strip()
