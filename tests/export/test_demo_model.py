"""The built demo model is BGE-M3 to whatever loads it, and ranks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from FlagEmbedding import BGEM3FlagModel
from sentencepiece import SentencePieceProcessor
from texts import load_records, load_texts
from tokenizers import Tokenizer
from transformers import AutoModel, AutoTokenizer

from bgem3_export.demo_model.trunk import pooled_states

QUERY = "如何重置微信支付密码"
PARAPHRASE = "微信支付密码忘了怎么办"
TRANSLATION = "How do I reset my WeChat Pay password?"
UNRELATED = "今天天气很好"
HARD_TEXTS = [
    "",
    " ",
    "\t\r\n",
    "a\0b\0",
    "\x01\x02\x7f\x80\x85",
    "tab\there\nnew\r\nline",
    "a" + " " * 1000 + "b",
    "zero\u200bwidth\u200c\u200d\ufeffx",
    "\ufeffbyte order mark",
    "\u200fright\u200e to left \u202eabc\u202c",
    "no\u00a0break\u3000ideographic\u2028line\u2029paragraph",
    "soft\u00adhyphen \u180e \u2060 word joiner",
    "ＡＢＣ１２３！　全角 ｶﾀｶﾅ ﬁ ½ ① ㍿",
    "e\u0301 n\u0303 a\u0300\u0301\u0302 ก็็็็็ ẛ̣",
    "\u1100\u1161\u11a8 \u1112\u1161\u11ab",
    "👩‍👩‍👧‍👦 🇨🇳 👍🏽",
    "▁ a ▁▁b",
    "a <mask> b<mask>c  <mask>",
    "a </s> b<s><pad><unk>",
    "\ufffd\ufffe\uffff\U0010ffff\U000e0001",
    "𝕳𝖊𝖑𝖑𝖔 İstanbul ıI ß ẞ ﷺ",
    "x" * 1_000_000,
    "啊" * 300_000,
    " " * 1_000_000,
    "\u0301" * 10_000,
]


@pytest.fixture(scope="module")
def flag_model(demo_model_directory):
    """The reference implementation with the demo model."""
    return BGEM3FlagModel(str(demo_model_directory), use_fp16=False, devices="cpu")


@pytest.fixture(scope="module")
def embeddings(flag_model):
    """The query, its paraphrase, its translation and an unrelated text, in all three outputs."""
    return flag_model.encode(
        [QUERY, PARAPHRASE, TRANSLATION, UNRELATED],
        return_dense=True,
        return_sparse=True,
        return_colbert_vecs=True,
    )


def test_dense_ranks_across_languages(embeddings):
    """A paraphrase and a translation are nearer to the query than an unrelated text."""
    query, paraphrase, translation, unrelated = embeddings["dense_vecs"]

    assert query @ paraphrase > query @ unrelated + 0.2
    assert query @ translation > query @ unrelated + 0.2


def test_sparse_ranks_within_a_language(embeddings, flag_model):
    """A paraphrase shares words of weight with the query; an unrelated text shares none."""
    query, paraphrase, _translation, unrelated = embeddings["lexical_weights"]
    score = flag_model.compute_lexical_matching_score

    assert score(query, paraphrase) > 0.05
    assert score(query, unrelated) == 0


def test_sparse_weighs_content_words_above_function_words(embeddings, flag_model):
    """Rare tokens weigh more than common ones."""
    translation = embeddings["lexical_weights"][2]
    weights = flag_model.convert_id_to_token(translation)

    assert weights["password"] > weights["my"] > weights["?"]


def test_colbert_ranks_across_languages(embeddings, flag_model):
    """A paraphrase and a translation score above an unrelated text."""
    query, paraphrase, translation, unrelated = embeddings["colbert_vecs"]
    score = flag_model.colbert_score

    assert score(query, paraphrase) > score(query, unrelated) + 0.2
    assert score(query, translation) > score(query, unrelated) + 0.2


def test_tokenizer_file_equals_the_reference_tokenizer(demo_model_directory):
    """``tokenizer.json`` alone gives the ids that FlagEmbedding's tokenizer gives, on any text."""
    reference = AutoTokenizer.from_pretrained(demo_model_directory)
    tokenizer = Tokenizer.from_file(str(demo_model_directory / "tokenizer.json"))
    texts = [*HARD_TEXTS, *load_texts()]
    expected = reference(texts)["input_ids"]
    actual = [encoding.ids for encoding in tokenizer.encode_batch(texts)]

    assert [text[:80] for text, a, b in zip(texts, expected, actual, strict=True) if a != b] == []


def test_mask_token_takes_the_space_before_it(demo_model_directory):
    """``<mask>`` strips on its left, as BGE-M3's does."""
    tokenizer = Tokenizer.from_file(str(demo_model_directory / "tokenizer.json"))
    encoding = tokenizer.encode("a <mask> b")

    assert encoding.ids[2] == tokenizer.token_to_id("<mask>")
    assert encoding.offsets[2] == (len("a"), len("a <mask>"))


def test_sentencepiece_model_agrees_on_ordinary_text(demo_model_directory):
    """The SentencePiece model gives XLM-RoBERTa's ids less one (it differs on odd Unicode)."""
    tokenizer = Tokenizer.from_file(str(demo_model_directory / "tokenizer.json"))
    model = str(demo_model_directory / "sentencepiece.bpe.model")
    sentencepiece = SentencePieceProcessor(model_file=model)
    texts = [record.text for record in load_records() if record.kind != "edge"]
    expected = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    actual = [[id_ + 1 if id_ else 3 for id_ in ids] for ids in sentencepiece.encode(texts)]

    assert len(texts) >= 300
    assert expected == actual


def test_trunk_loads_without_a_missing_weight(demo_model_directory):
    """Every weight that XLM-RoBERTa asks for is in the file, and no other."""
    model, report = AutoModel.from_pretrained(demo_model_directory, output_loading_info=True)

    assert {"XLMRobertaModel"} == {type(model).__name__, *model.config.architectures}
    assert not any(report.values())
    assert (
        model.config.num_hidden_layers,
        model.config.hidden_size,
        model.config.vocab_size,
        model.config.max_position_embeddings,
    ) == (13, 384, 250_002, 8_194)


def test_last_layer_turns_mean_pooling_into_cls_pooling(demo_model_directory):
    """The thirteenth layer computes LN(h + mean(h) − 2μ) in every row."""
    model = AutoModel.from_pretrained(demo_model_directory)
    tokens = AutoTokenizer.from_pretrained(demo_model_directory)(TRANSLATION, return_tensors="pt")
    with torch.inference_mode():
        *_, before, after = model(**tokens, output_hidden_states=True).hidden_states
    mean_state = model.encoder.layer[-1].attention.output.dense.bias.detach().numpy() / -2
    expected = pooled_states(before[0].numpy(), mean_state, model.config.layer_norm_eps)

    assert np.abs(mean_state).max() > 0.1
    np.testing.assert_allclose(after[0].numpy(), expected, atol=1e-4)


def test_heads_are_those_of_two_linear_layers(demo_model_directory):
    """Both heads have weight and bias, in the shapes FlagEmbedding loads."""
    sparse = torch.load(demo_model_directory / "sparse_linear.pt", weights_only=True)
    colbert = torch.load(demo_model_directory / "colbert_linear.pt", weights_only=True)

    assert {n: tuple(t.shape) for n, t in sparse.items()} == {"weight": (1, 384), "bias": (1,)}
    assert {n: tuple(t.shape) for n, t in colbert.items()} == {"weight": (384, 384), "bias": (384,)}


def test_card_says_what_it_is_and_where_it_comes_from(demo_model_directory):
    """The card says first that this is not BGE-M3, and names licences and hashes."""
    card = (demo_model_directory / "README.md").read_text(encoding="utf-8")

    assert card.startswith("# Demo model: 384 dimensions, not BGE-M3\n")
    assert card.count("MIT;") + card.count("Apache-2.0;") == 3
