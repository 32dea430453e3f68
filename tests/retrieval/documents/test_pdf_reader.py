"""What is read of PDF files."""

from __future__ import annotations

from pathlib import Path

import pytest
from document_files import PdfPage, blocks_of, pdf_bytes, read_all, read_bytes

from bgem3_retrieval.errors import UnreadableDocumentError

PROSE = [
    "The retrieval of documents begins with the words that are in them, and with",
    "what those words mean; a server that encodes both in one pass does half of the",
    "work that two servers would do, and keeps them together.",
]


def filler(page: PdfPage, y: float = 300) -> PdfPage:
    """A paragraph that makes 10 points the usual size of a page."""
    return page.lines(50, y, [f"{line} {line[:10]}" for line in PROSE] * 3)


def test_lines_become_paragraphs(tmp_path: Path) -> None:
    """A gap ends a paragraph, and so does a line that had room for more; each knows its page."""
    second = [
        "A second paragraph, of two lines, that follows the first without any gap at all,",
        "short.",
    ]
    page = PdfPage().lines(50, 800, PROSE).lines(50, 740, second).lines(50, 716, second)
    document = read_bytes(tmp_path, "a.pdf", pdf_bytes(page))

    paragraph = " ".join(second)

    assert [
        ("paragraph", " ".join(PROSE)),
        ("paragraph", paragraph),
        ("paragraph", paragraph),
    ] == blocks_of(document)
    assert [1, 1, 1] == [block.page for block in document.blocks]


def test_a_gap_ends_a_paragraph(tmp_path: Path) -> None:
    """Where its last line is as long as the others, too."""
    page = PdfPage().lines(50, 800, PROSE[:1] * 3).lines(50, 756, PROSE[:1] * 3)
    document = read_bytes(tmp_path, "a.pdf", pdf_bytes(page))

    assert [("paragraph", " ".join(PROSE[:1] * 3))] * 2 == blocks_of(document)


def test_an_article_of_a_law_begins_a_paragraph(tmp_path: Path) -> None:
    """Where the line above it is full, too."""
    page = PdfPage()
    for number, article in enumerate(("第一条", "第二条")):
        page.text(50, 800 - 24 * number, f"{article}　为了规范用人单位与劳动者", font="F3")
        page.text(50, 788 - 24 * number, "订立劳动合同的行为，制定本办法。", font="F3")
    document = read_bytes(tmp_path, "a.pdf", pdf_bytes(page))

    assert ["第一条", "第二条"] == [text[:3] for _, text in blocks_of(document)]


def test_indented_lines_begin_paragraphs(tmp_path: Path) -> None:
    """Books do so, and leave no gap."""
    page = PdfPage()
    for number in range(3):
        page.text(65, 800 - 36 * number, PROSE[0]).lines(50, 788 - 36 * number, PROSE[:2])
    document = read_bytes(tmp_path, "a.pdf", pdf_bytes(page))

    assert [("paragraph", " ".join([PROSE[0], *PROSE[:2]]))] * 3 == blocks_of(document)


def test_divided_words_are_put_together(tmp_path: Path) -> None:
    """Except where the hyphen is part of the word, as elsewhere in the document."""
    page = PdfPage().lines(
        50,
        800,
        [
            "Documents are found by what they say, and that takes consid-",
            "erable care with words at the end of a line; a well-known way of",
            "treating them is to look them up, and a less well-",
            "known one is UTF-",
            "8.",
        ],
    )
    document = read_bytes(tmp_path, "a.pdf", pdf_bytes(page))

    assert "takes considerable care" in document.text
    assert "a less well-known one is UTF-8." in document.text


def test_chinese_lines_are_joined_without_a_space(tmp_path: Path) -> None:
    """A line's end in the middle of a word is nothing."""
    page = PdfPage()
    page.text(50, 800, "第一条　为了规范用人单位与劳动者订立", font="F3")
    page.text(50, 788, "劳动合同的行为，制定本办法。密码重置", font="F3")
    page.text(50, 776, "使用 Triton。", font="F3")
    page.text(50, 764, "第二条　本单位与全体员工建立劳动关系", font="F3")
    document = read_bytes(tmp_path, "a.pdf", pdf_bytes(page, title="劳动合同"))

    assert [
        "第一条　为了规范用人单位与劳动者订立劳动合同的行为，制定本办法。密码重置使用 Triton。",
        "第二条　本单位与全体员工建立劳动关系",
    ] == [text for _, text in blocks_of(document)]
    assert "劳动合同" == document.title


def test_headings_are_what_the_outline_names(tmp_path: Path) -> None:
    """With the outline's levels, whatever the size; other large lines are none."""
    page = filler(PdfPage().text(50, 800, "2.1 Fusing", size=10).text(50, 760, "An aside", size=18))
    document = read_bytes(tmp_path, "a.pdf", pdf_bytes(page, outline=[("Fusing", 0)]))

    assert [("heading1", "2.1 Fusing"), ("paragraph", "An aside")] == blocks_of(document)[:2]


def test_without_an_outline_headings_are_short_and_large(tmp_path: Path) -> None:
    """The largest are of level 1; the largest of the first page is the title."""
    page = PdfPage().text(50, 800, "A manual", size=20).text(50, 760, "Installing", size=14)
    document = read_bytes(tmp_path, "a.pdf", pdf_bytes(filler(page)))

    assert [("heading1", "A manual"), ("heading2", "Installing")] == blocks_of(document)[:2]
    assert "paragraph" == document.blocks[2].kind
    assert "A manual" == document.title


def test_headers_and_page_numbers_are_left_out(tmp_path: Path) -> None:
    """They stand at the same height of all pages, and are alike or grow with the page's number."""
    pages = []
    for number, chapter in enumerate(("Beginning", "Middle", "End")):
        page = PdfPage().text(50, 820, f"Manual of retrieval, part {number}")
        page.text(50, 805, f"{chapter} {number + 17}").lines(50, 780, PROSE[:2])
        pages.append(page.text(290, 30, str(number + 17)))
    document = read_bytes(tmp_path, "a.pdf", pdf_bytes(*pages))

    assert [("paragraph", " ".join(PROSE[:2]))] * 3 == blocks_of(document)
    assert [1, 2, 3] == [block.page for block in document.blocks]


def test_a_paragraph_goes_on_on_the_next_page(tmp_path: Path) -> None:
    """It does if its last line ends no sentence, and the next begins none."""
    first, second = PdfPage().lines(50, 60, PROSE[:2]), PdfPage().lines(50, 800, PROSE[2:])
    document = read_bytes(tmp_path, "a.pdf", pdf_bytes(first, second))

    assert [("paragraph", " ".join(PROSE))] == blocks_of(document)


def test_lists_and_code_keep_their_lines(tmp_path: Path) -> None:
    """An item begins with its mark; code is what has letters of one width."""
    page = filler(PdfPage().lines(50, 800, ["1. Open the settings", "2. Choose the account"]))
    page.lines(50, 700, ["def encode(texts):"], "F2").lines(74, 688, ["return model(texts)"], "F2")
    document = read_bytes(tmp_path, "a.pdf", pdf_bytes(page))

    assert ("list_item", "2. Choose the account") in blocks_of(document)
    assert ("code", "def encode(texts):\n    return model(texts)") in blocks_of(document)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (pdf_bytes(PdfPage()), "has no text: its pages are pictures or empty"),
        (b"%PDF-1.7\nnothing", "is damaged, or no PDF file"),
        (b"not at all", "is damaged, or no PDF file"),
        (
            pdf_bytes(
                filler(PdfPage()),
                encrypt="<< /Filter /Standard /V 1 /R 2 /Length 40 /P -4 "
                f"/O <{'00' * 32}> /U <{'00' * 32}> >>",
            ),
            "is encrypted: it cannot be read without its password",
        ),
        (
            pdf_bytes(PdfPage().text(50, 800, "\ue000\ue001\ue002", font="F3")),
            "has no readable text",
        ),
    ],
    ids=["scanned", "damaged", "no pdf", "encrypted", "unknown characters"],
)
def test_what_cannot_be_read_says_why(tmp_path: Path, content: bytes, reason: str) -> None:
    """Scanned, damaged and encrypted files are told apart."""
    path = tmp_path / "a.pdf"
    path.write_bytes(content)

    with pytest.raises(UnreadableDocumentError) as raised:
        read_all(path)

    assert "a.pdf" == raised.value.source
    assert raised.value.reason.startswith(reason)
