"""What is read of plain text, in whatever encoding."""

from __future__ import annotations

from pathlib import Path

import pytest
from document_files import blocks_of, read_all, read_bytes

from bgem3_retrieval.documents.reader import ReaderOptions
from bgem3_retrieval.errors import UnreadableDocumentError

TEXTS = {
    "gb18030": "第十二条　用人单位应当依法建立和完善劳动规章制度，保障劳动者的权利。密码重置。",
    "big5": "人工智慧是資訊科學的一個分支，研究如何讓電腦模擬人類的智慧。請問如何重設密碼？",
    "shift_jis": "日本国民は、正当に選挙された国会における代表者を通じて行動する。パスワード。",
    "euc_jp": "日本国民は、正当に選挙された国会における代表者を通じて行動し、恵沢を確保する。",
    "cp949": "비밀번호를 잊어버린 경우에는 어떻게 해야 합니까? 설정에서 계정을 선택하십시오.",
    "cp1251": "Как сбросить пароль? Откройте настройки и выберите учётную запись.",
    "cp1252": "Où est passé l'élève? Ça c'est très bien, à bientôt. Die Größe läßt sich ändern.",
    "utf-16": "如何重置密码 – and then?",
    "utf-8-sig": "如何重置密码 – and then?",
    "utf-8": "如何重置密码 – and then?",
}


@pytest.mark.parametrize("encoding", TEXTS)
def test_encodings_are_found(tmp_path: Path, encoding: str) -> None:
    """After lines of ASCII, too, which say nothing."""
    text = f"Version 24.10\n{'A line that says nothing.' * 9}\n\n{TEXTS[encoding]}\n"
    document = read_bytes(tmp_path, "a.txt", text.encode(encoding))

    assert text == document.text


def test_the_part_of_a_file_that_is_not_ascii_says_its_encoding(tmp_path: Path) -> None:
    """However far down it is."""
    text = "A line that says nothing.\n" * 20_000 + TEXTS["gb18030"]

    assert text == read_bytes(tmp_path, "a.txt", text.encode("gb18030")).text


def test_one_wrong_byte_does_not_make_it_another_encoding(tmp_path: Path) -> None:
    """It is the only thing that is lost."""
    content = ("如何重置密码\n" * 10).encode() + b"caf\xe9\n"
    document = read_bytes(tmp_path, "a.txt", content)

    assert "如何重置密码\n" * 10 + "caf\ufffd\n" == document.text


def test_empty_lines_part_paragraphs(tmp_path: Path) -> None:
    """So do the wide spaces that Chinese paragraphs begin with; line ends become LF."""
    text = (
        "\ufeff\r\n  One,\r\ntwo. \r\n \t\r\nThree.\rFour\r\n\r\n\r\n　　第一段。\n　　第二段。\n"
    )
    document = read_bytes(tmp_path, "a.txt", text)

    assert [
        ("paragraph", "One,\ntwo."),
        ("paragraph", "Three.\nFour"),
        ("paragraph", "第一段。"),
        ("paragraph", "第二段。"),
    ] == blocks_of(document)
    assert "" == document.title


def test_what_cannot_be_seen_is_dropped(tmp_path: Path) -> None:
    """It would part words that are one; the joiners of emoji and Persian stay."""
    document = read_bytes(
        tmp_path, "a.txt", "pass\u00adword\u200b \u2060x \U0001f469\u200d\U0001f4bb"
    )

    assert "password x \U0001f469\u200d\U0001f4bb" == document.text


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "has no text"),
        (b" \n\t\n", "has no text"),
        (b"a\0b", "is not text"),
        (bytes(range(256)) * 4, "is not text"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    """Nothing is made up of bytes that mean nothing."""
    path = tmp_path / "a.txt"
    path.write_bytes(content)

    with pytest.raises(UnreadableDocumentError) as raised:
        read_all(path)

    assert reason == raised.value.reason


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    """Before it is read."""
    path = tmp_path / "a.txt"
    path.write_bytes(b"x" * 1001)

    with pytest.raises(UnreadableDocumentError) as raised:
        read_all(path, ReaderOptions(max_file_bytes=1000))

    assert (
        "is too large: 1,001 bytes, where files of its format may have 1,000" == raised.value.reason
    )
    assert 1 == len(read_all(path, ReaderOptions(max_file_bytes=1001))[0])


@pytest.mark.parametrize(
    ("content", "kinds"),
    [
        (b"just words", ["paragraph"]),
        (b"<!DOCTYPE html><h1>one</h1><p>two", ["heading", "paragraph"]),
        (b"\xef\xbb\xbf<?xml version='1.0'?>\n<html><p>two", ["paragraph"]),
    ],
)
def test_a_file_without_a_suffix_is_looked_into(
    tmp_path: Path, content: bytes, kinds: list[str]
) -> None:
    """Its beginning says what it is."""
    document = read_bytes(tmp_path, "README", content)

    assert kinds == [block.kind for block in document.blocks]


def test_a_file_of_no_known_format_is_refused(tmp_path: Path) -> None:
    """The message lists those that are known."""
    path = tmp_path / "a.png"
    path.write_bytes(b"\x89PNG\0")

    with pytest.raises(UnreadableDocumentError, match=r"is of no format .*\.docx"):
        read_all(path)
