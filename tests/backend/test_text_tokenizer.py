"""Tokenization and truncation equal Hugging Face's; parameters are held to their range."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_checkpoint import CLS, EOS, tiny_tokenizer
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from bgem3_backend.errors import InvalidRequestError
from bgem3_backend.text_tokenizer import TextTokenizer, Truncation
from bgem3_export.reference_texts import REFERENCE_TEXTS

UNCUT = Truncation(8192)


@pytest.fixture(scope="module")
def tokenizer(tiny_tokenizer_file) -> TextTokenizer:
    """The tokenizer under test."""
    return TextTokenizer(tiny_tokenizer_file)


@pytest.fixture(scope="module")
def hugging_face() -> PreTrainedTokenizerFast:
    """The tokenizer as FlagEmbedding uses it: transformers, with truncation switched on."""
    return PreTrainedTokenizerFast(
        tokenizer_object=tiny_tokenizer(), cls_token="<s>", eos_token="</s>", pad_token="<pad>"
    )


def rows(tokenized) -> list[list[int]]:
    """Return the ids of each text."""
    return [row.tolist() for row in np.split(tokenized.texts.input_ids, tokenized.texts.starts[1:])]


@pytest.mark.parametrize("max_length", [2, 3, 5, 17, 512])
def test_truncation_is_that_of_transformers(tokenizer, hugging_face, max_length):
    """From 2 tokens up a cut text begins with ``<s>`` and ends with ``</s>``, as there."""
    texts = list(REFERENCE_TEXTS)
    tokenized = tokenizer.pack(tokenizer.encode(texts), Truncation(max_length))

    assert hugging_face(texts, truncation=True, max_length=max_length)["input_ids"] == rows(
        tokenized
    )


def test_one_token_is_the_first(tokenizer):
    """A ``max_length`` of 1 has no room for ``</s>``: dense needs the ``<s>``."""
    tokenized = tokenizer.pack(tokenizer.encode(["", "a", "knock knock"]), Truncation(1))

    assert [[CLS], [CLS], [CLS]] == rows(tokenized)
    assert [2, 4, 4] == tokenized.full_lengths.tolist()


def test_full_lengths_are_those_before_truncation(tokenizer):
    """They tell which texts were cut; a text of just ``max_length`` was not."""
    tokenized = tokenizer.pack(tokenizer.encode(["", "knock", "knock knock"]), Truncation(3))

    assert [2, 3, 4] == tokenized.full_lengths.tolist()
    assert [2, 3, 3] == tokenized.texts.lengths.tolist()
    assert 1 == tokenized.truncated_count
    assert np.int32 == tokenized.full_lengths.dtype == tokenized.texts.lengths.dtype
    assert np.int32 == tokenized.texts.input_ids.dtype


def test_a_text_that_must_not_be_cut_is_refused(tokenizer):
    """The first one too long is named, with its length and the limit."""
    encodings = tokenizer.encode(["knock", "", "knock knock knock", "knock knock"])

    with pytest.raises(InvalidRequestError) as caught:
        tokenizer.pack(encodings, Truncation(3, truncate=False))

    assert (
        "[index=2] the text has 5 tokens, and 'max_length' is 3: shorten it, or send 'truncate' "
        "true to have it cut" == str(caught.value)
    )
    assert 2 == caught.value.index


def test_texts_that_fit_pass_without_truncation(tokenizer):
    """``truncate`` false changes nothing for a text of just ``max_length``."""
    encodings = tokenizer.encode(["knock", "knock knock"])

    assert rows(tokenizer.pack(encodings, UNCUT)) == rows(
        tokenizer.pack(encodings, Truncation(4, truncate=False))
    )


def test_each_request_takes_its_own_part_of_a_batch(tokenizer):
    """One call tokenizes the texts of many requests; each is packed with its own limit."""
    encodings = tokenizer.encode(["a", "knock knock", "支付密码", "knock"])
    first = tokenizer.pack(encodings[:2], Truncation(3))
    second = tokenizer.pack(encodings[2:], UNCUT)

    assert rows(tokenizer.pack(tokenizer.encode(["a", "knock knock"]), Truncation(3))) == rows(
        first
    )
    assert rows(tokenizer.pack(tokenizer.encode(["支付密码", "knock"]), UNCUT)) == rows(second)


@given(texts=st.lists(st.text(max_size=40), max_size=6))
def test_a_text_gets_the_same_tokens_in_any_company(tokenizer, texts):
    """No text changes another's tokens, and each has ``<s>`` and ``</s>`` at its ends."""
    together = rows(tokenizer.pack(tokenizer.encode(texts), UNCUT)) if texts else []
    alone = [rows(tokenizer.pack(tokenizer.encode([text]), UNCUT))[0] for text in texts]

    assert alone == together
    assert all(row[0] == CLS and row[-1] == EOS for row in together)


def test_token_texts_are_each_id_decoded_alone(tokenizer, tiny_tokenizer_file):
    """Special tokens and pieces with a space in front included."""
    library = Tokenizer.from_file(str(tiny_tokenizer_file))
    size = library.get_vocab_size()
    texts = tokenizer.token_texts(size)

    assert [library.decode([token], skip_special_tokens=False) for token in range(size)] == texts
    assert {"<s>", "</s>", "<mask>", "<unk>", "knock", "支付"} <= set(texts)


def test_an_id_that_the_tokenizer_does_not_have_stands_for_no_text(tokenizer):
    """A trunk may have more ids than its tokenizer gives."""
    size = tokenizer.vocabulary_size

    assert [*tokenizer.token_texts(size), "", ""] == tokenizer.token_texts(size + 2)


@pytest.mark.parametrize(
    ("parameters", "truncation"),
    [
        ({}, Truncation(8192, truncate=True)),
        ({"max_length": 1}, Truncation(1)),
        ({"max_length": 8192}, Truncation(8192)),
        ({"truncate": False}, Truncation(8192, truncate=False)),
        ({"max_length": 12, "truncate": True, "priority": "high"}, Truncation(12)),
    ],
)
def test_parameters_become_a_truncation(parameters, truncation):
    """What is not sent has its default, and what others understand is left to them."""
    assert truncation == Truncation.from_parameters(parameters, 8192)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            {"max_length": 0},
            "'max_length' is 0; it must be from 1 to 8192, special tokens included",
        ),
        (
            {"max_length": -1},
            "'max_length' is -1; it must be from 1 to 8192, special tokens included",
        ),
        (
            {"max_length": 8193},
            "'max_length' is 8193; it must be from 1 to 8192, special tokens included",
        ),
        ({"max_length": "12"}, "'max_length' is '12'; send an integer from 1 to 8192"),
        ({"max_length": 12.0}, "'max_length' is 12.0; send an integer from 1 to 8192"),
        ({"max_length": True}, "'max_length' is True; send an integer from 1 to 8192"),
        ({"max_length": None}, "'max_length' is None; send an integer from 1 to 8192"),
        ({"truncate": 1}, "'truncate' is 1; send the boolean true or false"),
        ({"truncate": "true"}, "'truncate' is 'true'; send the boolean true or false"),
        ({"truncate": None}, "'truncate' is None; send the boolean true or false"),
    ],
)
def test_parameters_of_another_type_or_range_are_refused(parameters, message):
    """A boolean is no integer and an integer no boolean, whatever Python thinks."""
    with pytest.raises(InvalidRequestError) as caught:
        Truncation.from_parameters(parameters, 8192)

    assert message == str(caught.value)
    assert caught.value.index is None


def test_the_longest_text_is_the_models():
    """A model with fewer positions takes, and defaults to, less."""
    assert Truncation(512) == Truncation.from_parameters({}, 512)
    with pytest.raises(InvalidRequestError, match="from 1 to 512"):
        Truncation.from_parameters({"max_length": 513}, 512)
