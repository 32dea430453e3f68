"""Arguments of `encode`, checked at the edge, before anything is sent."""

from __future__ import annotations

import numpy as np
import pytest

from bgem3_client import Client, FakeTransport, InvalidInputError


@pytest.fixture
def transport():
    """Return a transport that keeps its requests."""
    return FakeTransport()


@pytest.fixture
def client(transport):
    """Return a client of that transport."""
    with Client(transport=transport) as client:
        yield client


@pytest.mark.parametrize(
    ("texts", "words", "index"),
    [
        ("a text", r"\[text\]", None),
        (b"a text", r"\[text\]", None),
        ([], "empty", None),
        (None, "not a NoneType", None),
        (7, "not a int", None),
        ({"a"}, "not a set", None),
        ({"a": 1}, "not a dict", None),
        (["a", None], "not NoneType", 1),
        (["a", "b", 3.5], "not float", 2),
        ([b"a"], "not bytes", 0),
        (["a", "b\ud800c"], r"character 1 is the lone surrogate U\+D800", 1),
    ],
)
def test_wrong_texts_are_named(client, transport, texts, words, index):
    """The message says what is wrong, `index` with which text, and nothing is sent."""
    with pytest.raises(InvalidInputError, match=words) as caught:
        client.encode(texts)

    assert index == caught.value.index
    assert [] == transport.requests


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"outputs": "dense"}, r"outputs=\{'dense'\}"),
        ({"outputs": None}, "set of names, not None"),
        ({"outputs": [1, "dense"]}, "some of"),
        ({"outputs": set()}, "some of"),
        ({"outputs": {"dense", "spares"}}, "spares"),
        ({"max_length": 0}, "1 to 8192"),
        ({"max_length": 8193}, "1 to 8192"),
        ({"max_length": True}, "1 to 8192"),
        ({"max_length": 12.0}, "1 to 8192"),
        ({"max_length": None}, "1 to 8192"),
        ({"truncate": "no"}, "True or False"),
        ({"colbert_dtype": "bfloat16"}, "'float32' or 'float16'"),
        ({"headers": {"trace parent": "1"}}, "'trace parent'"),
        ({"headers": {"traceparent": "1\r\nx: y"}}, "'traceparent'"),
        ({"headers": {"Transfer-Encoding": "chunked"}}, "transfer-encoding"),
        ({"timeout_seconds": 0}, "positive"),
        ({"timeout_seconds": float("nan")}, "positive"),
    ],
)
def test_wrong_option_is_named(client, transport, options, words):
    """The message names the option and what it may be, and nothing is sent."""
    with pytest.raises(InvalidInputError, match=words):
        client.encode(["a"], **options)

    assert [] == transport.requests


@pytest.mark.parametrize("texts", [("a", ""), np.array(["a", ""]), np.array(["a", ""], object)])
def test_sequences_other_than_lists_are_texts(client, texts):
    """Tuples and arrays are as good as lists, and an empty text is a text."""
    assert [3, 2] == client.encode(texts).token_lengths.tolist()


@pytest.mark.parametrize("text", ["\0", "a\0b", "e\u0301", "\u202eabc", "😀", "\uffff"])
def test_odd_text_arrives_as_it_is(client, transport, text):
    """NUL, combining marks, right-to-left marks and the like are sent unchanged."""
    client.encode([text])

    assert (text.encode(),) == transport.requests[0].texts


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, {"dense"}),
        ({"outputs": ["sparse"]}, {"sparse_indices", "sparse_values", "sparse_lengths"}),
        ({"outputs": {"colbert"}}, {"colbert"}),
        ({"outputs": {"colbert"}, "colbert_dtype": "float16"}, {"colbert_fp16"}),
        ({"return_tokens": True}, {"dense", "token_ids", "tokens"}),
        ({"return_hidden_states": True}, {"dense", "token_states"}),
    ],
)
def test_only_what_is_asked_for_is_requested(client, transport, options, names):
    """The set of outputs decides which steps run, so nothing more than needed is in it."""
    client.encode(["a"], **options)

    requested = {output.name for output in transport.requests[0].outputs}
    assert names | {"token_lengths", "full_token_lengths"} == requested


def test_parameters_travel_with_every_request(client, transport):
    """`max_length` and `truncate` are sent also when they are the defaults."""
    client.encode(["a"])
    client.encode(["a"], max_length=16, truncate=False)

    assert [
        {"max_length": 8192, "truncate": True},
        {"max_length": 16, "truncate": False},
    ] == [request.parameters for request in transport.requests]
