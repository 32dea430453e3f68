"""Index a folder into a store, in a process that may be killed: FOLDER STORE."""

from __future__ import annotations

import sys
from pathlib import Path

from bgem3_client import Client, FakeTransport
from bgem3_retrieval.index.collection import CollectionOptions
from bgem3_retrieval.index.corpus import Corpus
from bgem3_retrieval.index.indexer import Indexer
from bgem3_retrieval.stores.address import open_store


def main(folder: str, address: str) -> None:
    """Say when it begins and when it is done."""
    store = open_store(address)
    with Client(transport=FakeTransport(delay_seconds=0.02)) as client:
        print("begun", flush=True)
        Indexer(client, store).index(
            "notes", Corpus([Path(folder)]), CollectionOptions(max_tokens=32, overlap_tokens=4)
        )
    store.close()
    print("done", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
