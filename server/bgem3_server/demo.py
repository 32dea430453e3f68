"""``bgem3 demo``: a real Triton for a moment, and what it makes of four sentences."""

from __future__ import annotations

import time
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from bgem3_client import Client, Embeddings, colbert_score, dense_score, lexical_score
from bgem3_client.command_line.requirements import require
from bgem3_server.repository import read_repository
from bgem3_server.serving import running_triton

# The models run in this environment, inside Triton.
require("tokenizers", "torch")

TEXTS = (
    "如何重置微信支付密码",
    "微信支付密码忘了怎么办",
    "How do I reset my WeChat Pay password?",
    "今天天气很好",
)


@click.command()
@click.argument("repository", type=click.Path(path_type=Path))
def demo(repository: Path) -> None:
    """Serve REPOSITORY for a moment and compare four sentences with it.

    REPOSITORY is what `bgem3 export` has written. Triton runs on free ports and is stopped again.
    """
    console = Console()
    manifest = read_repository(repository)
    started = time.monotonic()
    with console.status("starting Triton …"), running_triton(repository) as addresses:
        ready_seconds = time.monotonic() - started
        with Client(addresses.grpc) as client:
            client.encode(TEXTS, {"dense"})  # the first request of a process is slower
            asked = time.monotonic()
            embeddings = client.encode(TEXTS, {"dense", "sparse", "colbert"}, return_tokens=True)
            answer_milliseconds = (time.monotonic() - asked) * 1e3
    size = embeddings.dense.shape[1]
    if manifest is not None and manifest.versions[manifest.newest].demo:
        console.print(f"[bold]demo model: {size} dimensions, not BGE-M3[/bold]")
    console.print(
        f"Triton was ready in {ready_seconds:.1f} s. One request, {len(TEXTS)} texts, "
        f"{embeddings.token_lengths.sum()} tokens, all three representations: "
        f"{answer_milliseconds:.0f} ms"
    )
    console.print(_table(embeddings))
    console.print(f"Keep it running, with the HTTP service and its page: bgem3 serve {repository}")


def _table(embeddings: Embeddings) -> Table:
    """The first text against each of the others."""
    dense, sparse, colbert = embeddings.dense, embeddings.sparse, embeddings.colbert
    table = Table(title=f"{TEXTS[0]} against", title_justify="left")
    table.add_column("text")
    table.add_column("dense", justify="right")
    table.add_column("lexical", justify="right")
    table.add_column("words that matched")
    table.add_column("ColBERT", justify="right")
    query = sparse[0].tokens()
    for number in range(1, len(TEXTS)):
        passage = sparse[number].tokens()
        matched = sorted(
            (query[word] * passage[word], word) for word in query.keys() & passage.keys()
        )
        table.add_row(
            TEXTS[number],
            f"{dense_score(dense[0], dense[number]):.3f}",
            f"{lexical_score(sparse[0], sparse[number]):.3f}",
            " ".join(word for _, word in reversed(matched)) or "-",
            f"{colbert_score(colbert[0], colbert[number]):.3f}",
        )
    return table
