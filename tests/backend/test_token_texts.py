"""The table of the tokens' texts: written by the export, looked up by a model."""

from __future__ import annotations

import numpy as np
import pytest

from bgem3_backend.token_texts import TokenTexts

TEXTS = ["<s>", "", "</s>", 'a "quoted" \\ piece', "支付", "\x00", "🦊", "\u2028"]


def test_each_token_gets_its_own_text():
    """In the order of the ids, repeated ones included, as UTF-8."""
    texts = TokenTexts(TEXTS)

    assert 8 == texts.vocabulary_size
    assert [b"<s>", "支付".encode(), "支付".encode(), b"", b"</s>"] == texts(
        np.array([0, 4, 4, 1, 2], np.int32)
    ).tolist()


def test_what_was_written_is_read_again(tmp_path):
    """Every text to the byte, whatever is in it."""
    TokenTexts(TEXTS).write(tmp_path / "texts")
    read = TokenTexts.read(tmp_path / "texts")

    assert TEXTS == [text.decode() for text in read(np.arange(len(TEXTS)))]


def test_a_damaged_table_is_an_error(tmp_path):
    """A model with half a table must not load."""
    (tmp_path / "texts").write_text('["<s>", "<pa')

    with pytest.raises(ValueError, match="Unterminated string"):
        TokenTexts.read(tmp_path / "texts")
