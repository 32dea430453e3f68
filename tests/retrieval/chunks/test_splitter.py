"""What chunks are, for any document and any way to count."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
import regex
from chunk_documents import SPECIAL, counter, document, paragraph, sentence, unruly, words
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bgem3_client.errors import InvalidInputError
from bgem3_retrieval.chunks.chunk import Chunk
from bgem3_retrieval.chunks.options import ChunkOptions
from bgem3_retrieval.chunks.splitter import Splitter
from bgem3_retrieval.documents.document import Block, BlockKind, Document

KINDS: list[BlockKind] = ["heading", "paragraph", "list_item", "table", "code"]
PIECES = [
    *("word", "Another", "e.g.", "3.5", "U.S.", "(2)", "1.", "U+FDFA ﷺ", "x" * 90, "\u200b"),
    *(
        "这是一个句子。",
        "你好吗？！",
        "他说：“好。”",
        "；",
        "，",
        "日本語の文です。",
        "ภาษาไทยไม่มีช่องว่าง",
    ),
    *(
        "👨‍👩‍👧‍👦",
        "🇨🇳🇫🇷",
        "e\u0301\u0302",
        "नमस्ते।",
        ".",
        "!",
        "?”",
        "\n",
        "  ",
        "\n\n",
        "\t",
        "\u3000",
    ),
]
texts = st.lists(st.sampled_from(PIECES), max_size=40).flatmap(
    lambda pieces: st.sampled_from(["", " "]).map(lambda space: space.join(pieces))
)
gaps = st.sampled_from(["\n\n", "\n", " ", "", "\n\n- ", " | ", "\n\n## ", "\n<img src='a b'>\n"])
counts = st.sampled_from([words, unruly])


@st.composite
def documents(
    draw: st.DrawFn,
    gaps: st.SearchStrategy[str] = gaps,
    headings: st.SearchStrategy[str] = texts,
) -> Document:
    """Any blocks, and whatever between them."""
    text = draw(gaps)
    blocks = []
    for _ in range(draw(st.integers(0, 12))):
        kind = draw(st.sampled_from(KINDS))
        level = draw(st.integers(1, 6)) if kind == "heading" else 0
        content = draw(headings if level else texts)
        blocks.append(Block(kind, len(text), len(text) + len(content), level))
        text += content + draw(gaps)
    return Document(draw(st.sampled_from("ab")), text, tuple(blocks))


@st.composite
def any_options(draw: st.DrawFn) -> ChunkOptions:
    """Small chunks, so that there are several."""
    most = draw(st.integers(16, 60))
    return ChunkOptions(most, draw(st.integers(0, (most - 1) // 2)))


def covered(document: Document, chunks: Sequence[Chunk]) -> list[bool]:
    """Which characters of a document are in a chunk."""
    inside = [False] * len(document.text)
    for chunk in chunks:
        inside[chunk.begin : chunk.end] = [True] * (chunk.end - chunk.begin)
    return inside


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.lists(documents(), max_size=3), any_options(), counts)
def test_what_holds_for_every_chunk(batch, options, count):
    """Exact places, never too large, nothing lost, in order, and the same again, alone too."""
    splitter = Splitter(counter(count), options)
    split_batch = splitter.split(batch)

    assert len(batch) == len(split_batch)
    for whole, chunks in zip(batch, split_batch, strict=True):
        assert list(range(len(chunks))) == [chunk.position for chunk in chunks]
        for chunk in chunks:
            assert whole.text[chunk.begin : chunk.end] == chunk.text
            assert chunk.text == chunk.text.strip() != ""
            assert count(chunk.text) + SPECIAL == chunk.tokens <= options.max_tokens
            assert whole.source == chunk.source
        begins, ends = [c.begin for c in chunks], [c.end for c in chunks]
        assert sorted(set(begins)) == begins
        assert sorted(set(ends)) == ends
        inside = covered(whole, chunks)
        for block in whole.blocks:
            for place in range(block.begin, block.end):
                assert inside[place] or whole.text[place].isspace()
        assert [chunks] == splitter.split([whole])


short_headings = st.sampled_from(["Top", "一", " Two words "])
small_gaps = st.sampled_from(["\n\n", " ", "\n\n## "])


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(documents(small_gaps, short_headings), any_options())
def test_what_holds_for_headings(whole, options):
    """None ends a chunk unless nothing follows; none of level 1 or 2 follows a section's rest."""
    blocks = [block for block in whole.blocks if whole.text[block.begin : block.end].strip()]
    headings = [block for block in blocks if block.kind == "heading"]
    follows = [after.kind != "heading" for after in blocks[1:]] + [False]
    # More of them than fit in the smallest chunks are cut somewhere.
    assume("hhhh" not in "".join(block.kind[0] for block in blocks))
    starts = {whole.text.index(whole.text[b.begin : b.end].strip(), b.begin) for b in headings}
    first = min((block.begin for block in blocks), default=0)

    [chunks] = Splitter(counter(words), options).split([whole])

    for chunk in chunks:
        goes_on = chunk.begin not in starts and whole.text[first : chunk.begin].strip()
        for block, text_follows in zip(blocks, follows, strict=True):
            if block.kind == "heading":
                assert not (text_follows and block.begin < chunk.end <= block.end)
                if block.level <= 2 and goes_on:
                    assert not chunk.begin < block.begin < chunk.end


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(st.lists(documents(), min_size=1, max_size=4), any_options(), counts)
def test_no_text_is_counted_twice(batch, options, count):
    """Over all documents of a call; and few calls, whatever there is to count."""
    seen = []
    calls = []

    def count_tokens(texts):
        seen.extend(texts)
        calls.append(len(texts))
        return counter(count)(texts)

    Splitter(count_tokens, options).split(batch)

    assert len(set(seen)) == len(seen)
    assert count is unruly or len(calls) <= 5


def split(document: Document, most: int = 64, overlap: int = 12) -> list[Chunk]:
    """Chunks by words."""
    [chunks] = Splitter(counter(words), ChunkOptions(most, overlap)).split([document])
    return chunks


def test_a_short_document_is_one_chunk():
    """With all of its sections, and what there is to know."""
    [chunk] = split(document((1, "Top"), "Text.", (2, "Part"), "More."))

    assert Chunk("a", 0, 2, 28, chunk.text, ("Top",), 8, "Title", 1) == chunk
    assert "Top\n\nText.\n\n## Part\n\nMore." == chunk.text


def test_without_text_there_are_no_chunks():
    """And nothing is counted."""

    def fail(texts):
        raise AssertionError

    documents = [document(), document("", " \n "), Document("b", "markup", ())]

    assert [[], [], []] == Splitter(fail).split(documents)
    assert [] == Splitter(fail).split([])


def test_headings_are_the_path():
    """Of all that a chunk holds; its own heading is part of it where it holds one section."""
    chunks = split(
        document(
            (1, "Top"),
            (2, "One"),
            paragraph(9),
            (3, "Deep"),
            paragraph(5, 20),
            (2, "Two"),
            paragraph(5, 30),
        ),
        overlap=0,
    )

    assert [
        ("Top", "One"),
        ("Top", "One"),
        ("Top", "One", "Deep"),
        ("Top", "Two"),
    ] == [chunk.headings for chunk in chunks]


def test_sections_under_one_heading_share_a_chunk():
    """As long as there is room; what stands under another one begins a new chunk."""
    chunks = split(
        document(
            (1, "Top"),
            (2, "One"),
            (3, "First"),
            "Tiny.",
            (3, "Second"),
            "Small.",
            paragraph(5),
            (3, "Third"),
            "Little more text.",
            (3, "Fourth"),
            "Short.",
            (2, "Two"),
            "Other.",
        ),
        overlap=0,
    )

    assert [("Top", "One"), ("Top", "One"), ("Top", "Two")] == [c.headings for c in chunks]
    assert ["Top", "Third", "Two"] == [chunk.text.split()[0] for chunk in chunks]


def test_overlap_is_whole_sentences():
    """About as many tokens as asked for."""
    chunks = split(document(paragraph(30)), overlap=22)

    for before, after in pairwise(chunks):
        shared = before.end - after.begin
        assert before.text[-shared:] == after.text[:shared]
        assert after.text.startswith("Word ")
        assert 20 == words(after.text[:shared])


def test_overlap_of_long_sentences_begins_with_a_word():
    """Where a sentence would be far more than what is asked for."""
    chunks = split(document(paragraph(6, length=50)), overlap=10)

    assert 6 == len(chunks)
    for before, after in pairwise(chunks):
        shared = after.text[: before.end - after.begin]
        assert 8 <= words(shared) <= 12
        assert " " == before.text[-len(shared) - 1]


@pytest.mark.parametrize(("level", "overlaps"), [(1, False), (2, False), (3, True), (6, True)])
def test_nothing_overlaps_a_top_heading(level, overlaps):
    """The next section begins with its heading; below level 2 with what was before it."""
    chunks = split(document((1, "Top"), paragraph(5), (level, "Next"), paragraph(5, 20)))

    assert 2 == len(chunks)
    assert overlaps == (chunks[1].begin < chunks[0].end)
    assert overlaps != chunks[1].text.startswith("Next")


def test_a_heading_goes_with_what_follows():
    """Also where there is room for it alone, and where headings follow each other."""
    chunks = split(
        document(paragraph(5), (3, "Some heading"), (4, "Another"), paragraph(5, 20)), overlap=0
    )

    assert ["Word", "Some"] == [chunk.text.split()[0] for chunk in chunks]


def test_a_heading_with_a_sentence_that_fills_a_chunk():
    """The sentence is cut so that the heading has company."""
    chunks = split(document((2, "Heading"), sentence(1, 62)), overlap=0)

    assert chunks[0].tokens > 40
    assert chunks[0].text.startswith("Heading\n\nWord w1x0")


def test_nothing_but_headings():
    """Are cut somewhere all the same."""
    chunks = split(document(*[(2, f"Heading number {number}") for number in range(100)]))

    assert 5 == len(chunks)
    assert () == chunks[0].headings


def test_cuts_are_at_the_best_place():
    """A heading before a paragraph, that before a sentence, though chunks are less full."""
    parts = [paragraph(3), paragraph(2, 10), paragraph(9, 30)]
    assert "\n\n".join(parts[:2]) == split(document(*parts), overlap=0)[0].text

    parts.insert(1, (3, "Heading"))
    assert parts[0] == split(document(*parts), overlap=0)[0].text

    [chunk, *_] = split(document(paragraph(20)), overlap=0)
    assert paragraph(6) == chunk.text


def test_lines_of_tables_and_code_stay_whole():
    """A line's end is where they are cut."""
    rows = "\n".join(f"| row {number} | some cell. another |" for number in range(40))
    chunks = split(document(("table", rows)), overlap=0)

    assert len(chunks) > 3
    for chunk in chunks:
        assert chunk.text.startswith("| row")
        assert chunk.text.endswith("another |")


@pytest.mark.parametrize(
    "text",
    [
        "x" * 100_000,
        "密" * 5_000,
        "ภาษาไทยไม่มีช่องว่างระหว่างคำ" * 200,
        "👨‍👩‍👧‍👦🇨🇳é" * 1_000,
        "日本語の長い文章、" * 500,
    ],
)
def test_text_without_spaces(text):
    """Is cut between grapheme clusters, in chunks that are nearly full, and overlap."""
    [chunks] = Splitter(counter(len), ChunkOptions(512, 64)).split([document(text)])
    clusters = {match.start() for match in regex.finditer(r"\X", text)} | {len(text)}

    for chunk in chunks:
        assert {chunk.begin, chunk.end} <= clusters
    for before, after in pairwise(chunks):
        assert before.tokens > 350
        assert 32 <= before.end - after.begin <= 96


def test_a_cluster_larger_than_a_chunk():
    """Is cut, since nothing else would do."""
    text = "before a" + "\u0301" * 1_000 + " after"
    [chunks] = Splitter(counter(len), ChunkOptions(100, 0)).split([document(text)])

    assert text.replace(" ", "") == "".join(c.text for c in chunks).replace(" ", "")


def test_a_character_larger_than_a_chunk():
    """Is an error that says which."""
    with pytest.raises(InvalidInputError, match=r"a: the character U\+FDFA at 5 has 18 tokens"):
        Splitter(counter(lambda text: 18 * text.count("ﷺ")), ChunkOptions(16, 0)).split(
            [document("text ﷺ")]
        )


def test_sentences_of_chinese():
    """Stay whole; quotation marks behind a full stop belong to it."""
    text = "他说：“今天天气很好。”大家都同意；没有人反对！" * 20
    for chunk in split(document(text), overlap=0):
        assert chunk.text[0] in "他大没"
        assert chunk.text[-1] in "”；！"


def test_cost_is_linear():
    """What is counted is little more than the text, twice, with the overlap."""
    counted = [0]

    def count_tokens(texts):
        counted[0] += sum(map(len, texts))
        return counter(words)(texts)

    text = paragraph(3_000)
    Splitter(count_tokens, ChunkOptions(512, 64)).split([document(text)])

    assert counted[0] < 2.3 * len(text)


def test_markup_between_blocks_counts():
    """So that chunks with it are not too large at first, and cut again."""
    calls = []

    def count_tokens(texts):
        calls.append(len(texts))
        return counter(words)(texts)

    whole = document(*[sentence(number) for number in range(30)], gap="\n<br/> - \n")
    [chunks] = Splitter(count_tokens, ChunkOptions(64, 0)).split([whole])

    assert 2 == len(calls)
    assert {chunk.tokens for chunk in chunks[:-1]} == {2 + 4 * 10 + 3 * 5}


@pytest.mark.parametrize(("most", "overlap"), [(15, 0), (8193, 0), (64, 32), (64, -1)])
def test_impossible_options_are_refused(most, overlap):
    """The message says what is possible."""
    with pytest.raises(InvalidInputError, match="chunks"):
        ChunkOptions(most, overlap)
