"""What a run does with new, unchanged, changed and gone files, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from threading import Thread

import pytest
from index_run import (
    COLLECTION,
    SMALL_CHUNKS,
    Notes,
    Recorder,
    WatchedTransport,
    counts,
    state,
    texts,
    words,
)
from memory_store import MemoryStore

from bgem3_client import (
    Client,
    FakeTransport,
    InferRequest,
    InferResponse,
    InternalServerError,
    InvalidInputError,
)
from bgem3_retrieval.documents.document import Block, Document
from bgem3_retrieval.errors import CollectionMismatchError, InputFileError, ModelChangedError
from bgem3_retrieval.index.collection import CollectionOptions
from bgem3_retrieval.index.corpus import Corpus
from bgem3_retrieval.index.indexer import Change, Indexer, preview
from bgem3_retrieval.index.selection import Selection


def rows(*values: tuple[str, str]) -> str:
    """A JSONL table of ids and texts."""
    return "".join(json.dumps({"id": key, "text": text}) + "\n" for key, text in values)


def document(source: str, text: str) -> Document:
    """A document of one paragraph."""
    return Document(source, text, (Block("paragraph", 0, len(text)),))


def test_a_folder_becomes_a_collection(notes: Notes) -> None:
    """All chunks of all files are there, with all three representations."""
    notes.write({"a.txt": words("a", 40), "deep/b.md": "# Title\n\n" + words("b", 10)})
    report = notes.index()
    spec = notes.store.spec(COLLECTION)
    points = notes.store.points(COLLECTION)

    assert (2, 0, 0, 0, 0) == counts(report)
    assert ["a.txt", "deep/b.md"] == notes.sources
    assert (2, len(points)) == (report.files, report.chunks)
    assert report.tokens == sum(point.stored.chunk.tokens for point in points)
    assert all(point.colbert is not None for point in points)
    assert ("bge_m3", 16, 16, 16, 4) == (
        spec.model,
        spec.dense_size,
        spec.colbert_size,
        spec.max_tokens,
        spec.overlap_tokens,
    )
    assert all(source.complete for source in notes.store.sources(COLLECTION))


def test_nothing_is_encoded_again_when_nothing_has_changed(notes: Notes) -> None:
    """Neither a file nor a row; only one chunk, to see that the model is still the same."""
    notes.write({"a.txt": words("a", 40), "t.jsonl": rows(("1", "one"), ("2", "two"))})
    notes.index()
    before = state(notes.store)
    encoded = len(notes.transport.encoded_texts)
    report = notes.index()

    assert (0, 0, 3, 0, 0) == counts(report)
    assert encoded == len(notes.transport.encoded_texts)
    assert before == state(notes.store)


def test_a_changed_file_takes_the_place_of_what_it_was(notes: Notes) -> None:
    """The others stay as they are."""
    notes.write({"a.txt": words("a", 40), "b.txt": words("b", 10)})
    notes.index()
    notes.write({"a.txt": words("new", 10)})
    report = notes.index()

    assert (0, 1, 1, 0, 0) == counts(report)
    assert not any(text.startswith("a0") for text in texts(notes.store, notes.source("a.txt")))
    assert state(notes.fresh()) == state(notes.store)


def test_what_is_gone_from_the_paths_is_removed_and_nothing_else(notes: Notes) -> None:
    """A folder beside the one that is indexed is left alone, even if its name begins alike."""
    notes.write({"in/a.txt": "a", "in/b.txt": "b", "in2/c.txt": "c", "d.txt": "d"})
    notes.index()
    for name in ("in/b.txt", "in2/c.txt", "d.txt"):
        (notes.folder / name).unlink()
    report = notes.index(notes.folder / "in")

    assert (0, 0, 1, 1, 0) == counts(report)
    assert ["d.txt", "in/a.txt", "in2/c.txt"] == notes.sources


def test_only_the_changed_rows_of_a_table_are_encoded(notes: Notes) -> None:
    """A row that is the same in another place is the same."""
    notes.write({"t.jsonl": rows(("1", "one"), ("2", "two"), ("3", "three"))})
    notes.index()
    encoded = len(notes.transport.encoded_texts)
    notes.write({"t.jsonl": rows(("3", "three"), ("1", "changed"), ("4", "four"))})
    report = notes.index()

    assert (1, 1, 1, 1, 0) == counts(report)
    assert {"changed", "four"} == set(notes.transport.encoded_texts[encoded:])
    assert ["t.jsonl#1", "t.jsonl#3", "t.jsonl#4"] == notes.sources
    assert state(notes.fresh()) == state(notes.store)


def test_a_table_that_is_gone_takes_its_rows_along(notes: Notes) -> None:
    """Also when the table itself was the path's only one of its kind."""
    notes.write({"t.jsonl": rows(("1", "one"), ("2", "two")), "a.txt": "a"})
    notes.index()
    (notes.folder / "t.jsonl").unlink()
    report = notes.index()

    assert (0, 0, 1, 2, 0) == counts(report)
    assert ["a.txt"] == notes.sources


def test_a_refused_text_costs_its_document_and_no_other(notes: Notes) -> None:
    """Whatever was written of it, or of what it was before, goes; it is told why."""
    notes.write({"a.txt": words("a", 200), "b.txt": words("b", 10)})
    notes.index()

    def refuse(request: InferRequest) -> None:
        for number, text in enumerate(request.texts):
            if b"forbidden" in text and len(request.outputs) > 1:
                raise InvalidInputError("no such words here", index=number)

    notes.transport = WatchedTransport(before=refuse)
    notes.write(
        {"a.txt": words("a", 2000) + " forbidden", "b.txt": words("c", 9), "d.txt": "forbidden"}
    )
    recorder = Recorder()
    report = notes.index(observer=recorder)

    assert (0, 1, 0, 0, 2) == counts(report)
    assert ["b.txt"] == notes.sources
    assert [notes.source("a.txt"), notes.source("d.txt")] == [s.source for s in recorder.skips]
    assert {"no such words here"} == {skipped.reason for skipped in report.skipped}


def test_a_file_that_cannot_be_read_is_skipped(notes: Notes) -> None:
    """What was indexed of it before is in it no more, and goes."""
    notes.write({"a.pdf": b"%PDF-1.4 and no more", "b.txt": "b", "c.txt": "c"})
    notes.index()
    notes.write({"c.txt": ""})
    report = notes.index()

    assert (0, 0, 1, 1, 2) == counts(report)
    assert ["b.txt"] == notes.sources


def test_a_file_that_cannot_be_opened_keeps_what_is_indexed(
    notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows whether it has changed."""
    notes.write({"a.txt": "a", "t.jsonl": rows(("1", "one")), "b.txt": "b"})
    notes.index()
    before = state(notes.store)
    unopened = {notes.folder / "a.txt", notes.folder / "t.jsonl"}
    original = Path.open

    def refuse(path: Path, *arguments: str) -> object:
        if path in unopened:
            raise PermissionError(13, "Permission denied")
        return original(path, *arguments)

    monkeypatch.setattr(Path, "open", refuse)
    report = notes.index()

    assert (0, 0, 1, 0, 2) == counts(report)
    assert before == state(notes.store)


def test_patterns_leave_alone_what_they_do_not_select(notes: Notes) -> None:
    """Neither read nor removed."""
    notes.write({"a.txt": "a", "b.md": "b", "drafts/c.md": "c", "t.jsonl": rows(("1", "one"))})
    notes.index()
    for name in ("a.txt", "b.md", "drafts/c.md", "t.jsonl"):
        (notes.folder / name).unlink()
    notes.write({"d.md": "d"})
    selection = Selection(include=["*.md"], exclude=["drafts"])
    report = notes.index(corpus=Corpus([notes.folder], selection))

    assert (1, 0, 0, 1, 0) == counts(report)
    assert ["a.txt", "d.md", "drafts/c.md", "t.jsonl#1"] == notes.sources


def test_names_from_a_root_survive_a_move(notes: Notes) -> None:
    """A folder that is somewhere else then is not encoded again."""
    notes.write({"one/a.txt": "a", "one/t.jsonl": rows(("1", "one"))})
    notes.index(corpus=Corpus([notes.folder / "one"], root=notes.folder / "one"))
    (notes.folder / "one").rename(notes.folder / "two")
    report = notes.index(corpus=Corpus([notes.folder / "two"], root=notes.folder / "two"))

    assert (0, 0, 2, 0, 0) == counts(report)


def test_a_folder_that_is_empty_all_at_once_is_refused(notes: Notes) -> None:
    """It may not be mounted; hours of encoding are not thrown away for that."""
    notes.write({"in/a.txt": "a", "b.txt": "b"})
    notes.index()
    (notes.folder / "in" / "a.txt").unlink()
    before = state(notes.store)

    with pytest.raises(InputFileError, match="has no file to read, and 1 documents"):
        notes.index(notes.folder / "in")
    assert before == state(notes.store)


def test_nothing_to_read_makes_no_collection(notes: Notes) -> None:
    """Nor does it drop one."""
    notes.write({"a.bin": b"\0\1"})

    with pytest.raises(InputFileError, match="nothing to read"):
        notes.index()
    assert [] == notes.store.names()


def test_options_belong_to_the_collection(notes: Notes) -> None:
    """Others are refused with what to do; none are the collection's."""
    notes.write({"a.txt": words("a", 40)})
    notes.index()

    with pytest.raises(CollectionMismatchError, match="with max_tokens 16, not with max_tokens 32"):
        notes.index(options=CollectionOptions(max_tokens=32))
    assert (0, 0, 1, 0, 0) == counts(notes.index(options=CollectionOptions()))


def test_recreate_makes_it_anew_with_other_options(notes: Notes) -> None:
    """Also for another model."""
    notes.write({"a.txt": words("a", 40)})
    notes.index()
    notes.transport = WatchedTransport()
    notes.transport._hidden_size = 8
    report = notes.index(options=CollectionOptions(max_tokens=32, colbert="none"), recreate=True)
    spec = notes.store.spec(COLLECTION)

    assert (1, 0, 0, 0, 0) == counts(report)
    assert (32, "none", 8) == (spec.max_tokens, spec.colbert, spec.dense_size)
    assert {None} == {point.colbert for point in notes.store.points(COLLECTION)}


def test_impossible_options_leave_the_collection(notes: Notes) -> None:
    """They are looked at before anything is dropped."""
    notes.write({"a.txt": words("a", 40)})
    notes.index()

    with pytest.raises(InvalidInputError, match="overlap"):
        notes.index(options=CollectionOptions(max_tokens=32, overlap_tokens=32), recreate=True)
    assert ["a.txt"] == notes.sources


def test_another_size_of_vectors_is_another_model(notes: Notes) -> None:
    """It is said what to do."""
    notes.write({"a.txt": "a"})
    notes.index()
    notes.transport = WatchedTransport()
    notes.transport._hidden_size = 8

    with pytest.raises(CollectionMismatchError, match=r"dense 16.*dense 8.*do not go together"):
        notes.index()


def test_other_vectors_of_the_same_size_are_another_model(notes: Notes) -> None:
    """A checkpoint with the same name and sizes does not slip in."""

    class OtherModel(WatchedTransport):
        async def infer(self, request: InferRequest) -> InferResponse:
            answer = await super().infer(request)
            if "dense" in answer.tensors:
                answer.tensors["dense"][0, :, ::2] *= -1
            return answer

    notes.write({"a.txt": words("a", 40)})
    notes.index()
    notes.transport = OtherModel()

    with pytest.raises(CollectionMismatchError, match="holds vectors of another model"):
        notes.index()


def test_another_version_of_the_model_on_the_way_ends_the_run(notes: Notes) -> None:
    """Vectors of two versions do not go together."""

    class Updated(WatchedTransport):
        async def infer(self, request: InferRequest) -> InferResponse:
            version = "1" if len(self.encoded_texts) < 100 else "2"
            answer = await super().infer(request)
            return InferResponse(answer.tensors, version)

    notes.transport = Updated()
    notes.write({f"{number:03}.txt": words(f"a{number}", 20) for number in range(100)})

    with pytest.raises(ModelChangedError, match="changed the model's version"):
        notes.index()


def test_a_failing_server_ends_the_run_and_the_next_one_goes_on(notes: Notes) -> None:
    """What was written is not encoded again."""
    notes.write({f"{number:03}.txt": words(f"a{number}", 20) for number in range(200)})

    def fail(request: InferRequest) -> None:
        if len(request.outputs) > 3 and any(b"of a150" in text for text in request.texts):
            raise InternalServerError("it broke")

    notes.transport = WatchedTransport(before=fail)
    recorder = Recorder()
    with pytest.raises(InternalServerError):
        notes.index(observer=recorder)
    done = recorder.reports[-1].indexed
    notes.transport = WatchedTransport()
    report = notes.index()

    assert 0 < done < 200
    assert done <= report.unchanged
    assert 200 == report.unchanged + report.indexed
    assert state(notes.fresh()) == state(notes.store)


def test_the_text_that_is_done_reaches_what_was_expected(notes: Notes) -> None:
    """It only grows; what is unchanged, and markup, is no part of it in the end."""
    notes.write({"old.txt": words("old", 500), "t.jsonl": rows(("old", words("r", 500)))})
    notes.index()
    texts_bytes = 0
    for number in range(9):
        text = words(f"a{number}", 300)
        notes.write({f"{number}.txt": text})
        texts_bytes += len(text)
    new_rows = [(str(number), words(f"r{number}", 50)) for number in range(50)]
    texts_bytes += sum(len(text) for _, text in new_rows)
    notes.write({"t.jsonl": rows(("old", words("r", 500)), *new_rows)})
    recorder = Recorder()
    notes.index(observer=recorder)
    done = [done for done, _ in recorder.progress]

    assert sorted(done) == done
    assert all(done <= total for done, total in recorder.progress)
    assert (0, texts_bytes) == (done[0], done[-1])
    assert (texts_bytes, texts_bytes) == recorder.progress[-1]
    assert len(set(done)) > 5


def test_two_runs_at_once_do_no_harm(notes: Notes) -> None:
    """Nothing is there twice, and nothing is missing."""
    notes.write({f"{number:03}.txt": words(f"a{number}", 60) for number in range(60)})
    notes.index()
    notes.write({f"{number:03}.txt": words(f"b{number}", 60) for number in range(0, 60, 2)})
    (notes.folder / "059.txt").unlink()
    others = [Notes(notes.folder, notes.store) for _ in range(2)]
    threads = [Thread(target=other.index) for other in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert state(notes.fresh()) == state(notes.store)


def test_documents_without_files(notes: Notes) -> None:
    """Each takes the place of the one of its name; the others stay."""
    with Client(transport=FakeTransport()) as client:
        indexer = Indexer(client, notes.store)
        first = indexer.index_documents(
            COLLECTION,
            [document("a", words("a", 40)), document("b", "b"), document("a", "twice")],
            SMALL_CHUNKS,
        )
        again = indexer.index_documents(COLLECTION, [document("b", "c"), document("c", "c")])

    assert (2, 0, 0, 0, 1) == counts(first)
    assert (1, 1, 0, 0, 0) == counts(again)
    assert ["a", "b", "c"] == notes.sources
    assert ["c"] == texts(notes.store, "b")


def test_a_preview_does_nothing_and_is_what_happens(notes: Notes) -> None:
    """It needs no server."""
    notes.write({"a.txt": "a", "b.txt": "b", "c.txt": "c"})
    notes.index()
    notes.write({"a.txt": "changed", "d.txt": "d", "e.pdf": b"%PDF-1.4 and no more"})
    (notes.folder / "b.txt").unlink()
    before = state(notes.store)
    changes = list(preview(notes.store, COLLECTION, Corpus([notes.folder])))
    kinds = {Path(change.source).name: change.kind for change in changes}

    assert {
        "a.txt": "change",
        "b.txt": "remove",
        "c.txt": "keep",
        "d.txt": "add",
        "e.pdf": "skip",
    } == kinds
    assert before == state(notes.store)
    assert (1, 1, 1, 1, 1) == counts(notes.index())


def test_a_preview_of_a_collection_that_is_not_there(notes: Notes) -> None:
    """Everything would be new."""
    notes.write({"a.txt": "a"})

    assert [Change("add", notes.source("a.txt"))] == list(
        preview(MemoryStore(), COLLECTION, Corpus([notes.folder]))
    )
