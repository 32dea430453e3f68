"""A checkpoint in BGE-M3's layout that is made in a moment: random weights, two layers of 32.

Its tokenizer has a piece for every character of the export's reference texts, and puts ``<s>`` and
``</s>`` around a text as XLM-RoBERTa's does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import XLMRobertaConfig, XLMRobertaModel

from bgem3_export.reference_texts import REFERENCE_TEXTS

HIDDEN_SIZE: Final = 32
COLBERT_SIZE: Final = 24
LAYERS: Final = 2
POSITIONS: Final = 514
MAX_LENGTH_TOKENS: Final = 512
CLS, PAD, EOS, UNK = 0, 1, 2, 3

_WORDS: Final = ("▁", "▁the", "▁and", "▁know", "ing", "password", "▁knock", "支付", "密码")


def tiny_tokenizer() -> Tokenizer:
    """Return a Unigram tokenizer with XLM-RoBERTa's special tokens; ``<mask>`` is the last id."""
    characters = sorted({character for text in REFERENCE_TEXTS for character in text} - {" "})
    pieces = [*_WORDS, *characters]
    vocabulary = [
        ("<s>", 0.0),
        ("<pad>", 0.0),
        ("</s>", 0.0),
        ("<unk>", 0.0),
        *((piece, -10.0 + len(piece)) for piece in pieces),
        ("<mask>", 0.0),
    ]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=UNK))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", CLS), ("</s>", EOS)]
    )
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True) for token in ("<s>", "<pad>", "</s>", "<unk>", "<mask>")]
    )
    return tokenizer


def tiny_model(
    seed: int = 0, positions: int = POSITIONS, hidden_size: int = HIDDEN_SIZE
) -> XLMRobertaModel:
    """Return a random trunk whose attention, positions and layers all weigh in."""
    torch.manual_seed(seed)
    config = XLMRobertaConfig(
        vocab_size=tiny_tokenizer().get_vocab_size(),
        hidden_size=hidden_size,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=positions,
        type_vocab_size=1,
        pad_token_id=PAD,
        bos_token_id=CLS,
        eos_token_id=EOS,
        layer_norm_eps=1e-5,
        initializer_range=0.3,
    )
    model = XLMRobertaModel(config, add_pooling_layer=False).eval()
    # transformers starts biases at 0 and layer norms at 1, where a mixed-up tensor goes unseen.
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias") or "LayerNorm" in name:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def write_heads(directory: Path, seed: int = 0, hidden_size: int = HIDDEN_SIZE) -> None:
    """Write random heads as BAAI/bge-m3 has them."""
    generator = torch.Generator().manual_seed(seed)
    for name, size in (("sparse", 1), ("colbert", COLBERT_SIZE)):
        torch.save(
            {
                "weight": torch.randn(size, hidden_size, generator=generator) * 0.1,
                "bias": torch.randn(size, generator=generator) * 0.1,
            },
            directory / f"{name}_linear.pt",
        )


def write_tiny_checkpoint(
    directory: Path,
    *,
    weights_file: str = "model.safetensors",
    prefix: str = "",
    seed: int = 0,
    positions: int = POSITIONS,
    hidden_size: int = HIDDEN_SIZE,
) -> XLMRobertaModel:
    """Write a whole checkpoint into an existing folder and return its trunk.

    Args:
        directory: Where to.
        weights_file: ``model.safetensors`` or ``pytorch_model.bin``.
        prefix: In front of the name of each trunk weight.
        seed: Of the random weights.
        positions: Of its table: two more than the longest text has tokens.
        hidden_size: A multiple of 4, which is how many attention heads there are.
    """
    model = tiny_model(seed, positions, hidden_size)
    model.config.save_pretrained(directory)
    state = {f"{prefix}{name}": value.clone() for name, value in model.state_dict().items()}
    if weights_file == "model.safetensors":
        save_file(state, directory / weights_file, metadata={"format": "pt"})
    else:
        torch.save(state, directory / weights_file)
    tiny_tokenizer().save(str(directory / "tokenizer.json"))
    write_heads(directory, seed, hidden_size)
    return model
