"""Texts on their way into the model: counted, cut and packed."""

from __future__ import annotations

import json
from functools import cache

import numpy as np
from fuzz.target import Target

from bgem3_backend.errors import InvalidRequestError
from bgem3_backend.text_tokenizer import TextTokenizer, Truncation
from bgem3_export.demo_model import demo_model

_MOST_TOKENS = 8192
_FIRST, _LAST = 0, 2


@cache
def _tokenizer() -> TextTokenizer:
    return TextTokenizer(demo_model() / "tokenizer.json")


def _tokenize(content: bytes) -> None:
    """Two bytes are ``max_length``, one whether texts are cut; NUL separates the texts.

    A batch gives each text what it is given alone; what is packed is within the limits.
    """
    if len(content) < 3:
        return
    limit = max(1, int.from_bytes(content[:2]) % 300)
    truncation = Truncation(limit, truncate=bool(content[2] & 1))
    texts = content[3:].decode(errors="replace").split("\0")[:6]
    encodings = _tokenizer().encode(texts)
    assert len(encodings) == len(texts)
    full = [len(encoding) for encoding in encodings]
    try:
        tokenized = _tokenizer().pack(encodings, truncation)
    except InvalidRequestError as error:
        assert not truncation.truncate
        assert error.index == next(n for n, length in enumerate(full) if length > limit)  # noqa: PT017
        return
    lengths = tokenized.texts.lengths
    assert full == tokenized.full_lengths.tolist()
    assert [min(length, limit) for length in full] == lengths.tolist()
    ids = tokenized.texts.input_ids
    assert lengths.sum() == ids.size
    assert ((ids >= 0) & (ids < _tokenizer().vocabulary_size)).all()
    for text, row in zip(texts, np.split(ids, lengths.cumsum()[:-1]), strict=True):
        assert row[0] == _FIRST
        assert limit == 1 or row[-1] == _LAST
        alone = _tokenizer().pack(_tokenizer().encode([text]), Truncation(limit)).texts.input_ids
        assert (alone == row).all()
    offsets = _tokenizer().encode_with_offsets(texts)
    for text, encoding in zip(texts, offsets, strict=True):
        assert all(0 <= begin <= end <= len(text) for begin, end in encoding.offsets)


def _read_parameters(content: bytes) -> None:
    """What a request says of truncation is taken as it is, or refused."""
    try:
        parameters = json.loads(content)
    except (ValueError, RecursionError):
        return
    if not isinstance(parameters, dict):
        return
    try:
        truncation = Truncation.from_parameters(parameters, _MOST_TOKENS)
    except InvalidRequestError:
        return
    assert 1 <= truncation.max_length_tokens <= _MOST_TOKENS
    assert type(truncation.truncate) is bool


def targets() -> list[Target]:
    """Those of the tokenizer."""
    texts = [
        b"\x00\x20\x01Reset your password\0" + "重置密码，请联系管理员。".encode(),
        b"\x00\x05\x00" + "ก\u0e33 👨‍👩‍👧‍👦 e\u0301\u200b ﬁ ½ \u3000\ufeff".encode(),
        b"\x01\x00\x01<s></s><mask><pad><unk>\0\0 ",
    ]
    words = (
        b"\0", b"<s>", b"</s>", b"<mask>", b"\xe2\x96\x81", b"\xf0\x9f\x91\xa8\xe2\x80\x8d",
        b"\xcc\x81", b"\xef\xbf\xbd", b"\xed\xa0\x80", b"  ", b"\xe3\x80\x80",
    )  # fmt: skip
    parameters = [b'{"max_length": 128, "truncate": false}', b'{"max_length": "1"}']
    marks = (b"true", b"null", b"-1", b"8193", b"1e3", b"9" * 30, b'"max_length":', b"[]")
    return [
        Target("tokenize", _tokenize, texts, words),
        Target("truncation", _read_parameters, parameters, marks),
    ]
