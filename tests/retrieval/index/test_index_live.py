"""A small folder of several formats and languages, a real Triton, and an embedded Qdrant."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import docx
import numpy as np
import pytest
from index_run import counts

from bgem3_client import Client
from bgem3_retrieval.index.collection import CollectionOptions
from bgem3_retrieval.index.corpus import Corpus
from bgem3_retrieval.index.indexer import Indexer
from bgem3_retrieval.stores.address import open_store
from bgem3_retrieval.stores.query import QueryVectors

pytestmark = pytest.mark.live

COLLECTION = "handbook"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A handbook in pieces."""
    folder = tmp_path / "handbook"
    folder.mkdir()
    (folder / "leave.md").write_text(
        "# Leave\n\n## Annual leave\n\nEverybody has thirty days of paid holiday a year.\n\n"
        "## Sick leave\n\nWhoever is ill tells the office on the first day.\n"
    )
    (folder / "密码.txt").write_text("如何重置密码：打开设置，选择“安全”，然后按“重置密码”。\n")
    (folder / "travel.html").write_text(
        "<!doctype html><title>Travel</title><nav>Home</nav>"
        "<p>Trains are booked in second class.</p>"
    )
    rows = [
        {"id": "E-4711", "text": "The coolant pump E-4711 is out of order."},
        {"id": "E-4712", "text": "The door of the oven E-4712 does not close."},
    ]
    (folder / "faults.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    document = docx.Document()
    document.add_heading("Canteen", 1)
    document.add_paragraph("Lunch is served from twelve to two o'clock.")
    document.save(str(folder / "canteen.docx"))
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7 and then nothing")
    return folder


def test_a_mixed_folder_is_found_again(client: Client, folder: Path, tmp_path: Path) -> None:
    """Every format is read, and a question finds its answer; then a change is all that is done."""
    with closing(open_store(str(tmp_path / "store"))) as store:
        indexer = Indexer(client, store)
        options = CollectionOptions(max_tokens=64)
        first = indexer.index(COLLECTION, Corpus([folder], root=folder), options)
        again = indexer.index(COLLECTION, Corpus([folder], root=folder))
        questions = {
            "How many days of holiday do I have?": "leave.md",
            "密码忘了怎么办": "密码.txt",
            "Which class do I book on a train?": "travel.html",
            "coolant pump E-4711": "faults.jsonl#E-4711",
            "When is lunch?": "canteen.docx",
        }
        found = {
            question: store.nearest(COLLECTION, QueryVectors(dense=dense), 1)[0].stored.chunk.source
            for question, dense in zip(questions, client.encode(list(questions)).dense, strict=True)
        }

        assert (6, 0, 0, 0, 1) == counts(first)
        assert (0, 0, 6, 0, 1) == counts(again)
        assert questions == found

        (folder / "canteen.docx").unlink()
        (folder / "密码.txt").write_text("要重置密码，请联系服务台。\n")
        third = indexer.index(COLLECTION, Corpus([folder], root=folder))
        text = "要重置密码，请联系服务台。"
        encoded = client.encode([text], {"dense", "sparse", "colbert"})[0]
        query = QueryVectors(
            encoded.dense, encoded.sparse, encoded.colbert.astype(np.float32, copy=False)
        )
        (nearest,) = store.nearest(COLLECTION, QueryVectors(dense=encoded.dense), 1)
        scores = store.scores(COLLECTION, query, [nearest.id])[nearest.id]

        assert (0, 1, 4, 1, 1) == counts(third)
        assert text == nearest.stored.chunk.text
        assert encoded.token_length == nearest.stored.chunk.tokens
        assert pytest.approx(1, abs=2e-3) == scores["dense"]
        assert pytest.approx(1, abs=2e-3) == scores["colbert"]
        assert pytest.approx(float(np.sum(encoded.sparse.values**2)), rel=1e-2) == scores["sparse"]
