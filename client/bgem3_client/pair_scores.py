"""Scores of many pairs, without holding all their representations at once."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bgem3_client.embeddings import Embeddings
from bgem3_client.errors import InvalidInputError
from bgem3_client.scores import colbert_score, dense_score, lexical_score
from bgem3_client.sparse import SparseEmbedding

ScoreName: TypeAlias = Literal["colbert", "sparse", "dense", "sparse+dense", "colbert+sparse+dense"]
SCORE_NAMES: Final[tuple[ScoreName, ...]] = (
    "colbert",
    "sparse",
    "dense",
    "sparse+dense",
    "colbert+sparse+dense",
)

Weights: TypeAlias = tuple[float, float, float]

# Representations are dropped after the last pair that needs them, a block at a time; 64 passages
# of 512 tokens are 134 MB.
_PAIRS_AT_ONCE: Final = 64

_Key: TypeAlias = tuple[str, int]
"""A text and the length it is cut to."""


class _Text(NamedTuple):
    dense: NDArray[np.float32]
    sparse: SparseEmbedding
    colbert: NDArray[Any]


async def score_pairs(
    pairs: Sequence[tuple[str, str]],
    weights: Weights,
    encode: Callable[[list[str], int], Awaitable[Embeddings]],
    *,
    max_query_length: int,
    max_passage_length: int,
) -> dict[ScoreName, list[float]]:
    """Return the five scores of each pair; see ``AsyncClient.compute_score``.

    Args:
        pairs: Query and passage, as often as wanted.
        weights: Of dense, sparse and ColBERT.
        encode: Returns all three representations of texts, cut to a length.
        max_query_length: The length for queries, in tokens.
        max_passage_length: The length for passages, in tokens.

    Raises:
        InvalidInputError: Not pairs of strings (``index`` names the pair), or not three weights.
    """
    _check_pairs(pairs)
    dense_weight, sparse_weight, colbert_weight = _check_weights(weights)
    keys = [((query, max_query_length), (passage, max_passage_length)) for query, passage in pairs]
    last_pair = {key: number for number, pair in enumerate(keys) for key in pair}
    scores: dict[ScoreName, list[float]] = {name: [] for name in SCORE_NAMES}
    known: dict[_Key, _Text] = {}
    for start in range(0, len(keys), _PAIRS_AT_ONCE):
        block = keys[start : start + _PAIRS_AT_ONCE]
        known |= await _encode_new(block, known, encode)
        for query_key, passage_key in block:
            query, passage = known[query_key], known[passage_key]
            dense = dense_score(query.dense, passage.dense)
            sparse = lexical_score(query.sparse, passage.sparse)
            colbert = colbert_score(query.colbert, passage.colbert)
            weighted = dense * dense_weight + sparse * sparse_weight
            scores["colbert"].append(colbert)
            scores["sparse"].append(sparse)
            scores["dense"].append(dense)
            scores["sparse+dense"].append(_divided(weighted, dense_weight + sparse_weight))
            scores["colbert+sparse+dense"].append(
                _divided(
                    weighted + colbert * colbert_weight,
                    dense_weight + sparse_weight + colbert_weight,
                )
            )
        done = start + len(block)
        known = {key: text for key, text in known.items() if last_pair[key] >= done}
    return scores


async def _encode_new(
    block: Sequence[tuple[_Key, _Key]],
    known: dict[_Key, _Text],
    encode: Callable[[list[str], int], Awaitable[Embeddings]],
) -> dict[_Key, _Text]:
    """Encode each text of the block that is not known yet, once for each length."""
    new = dict.fromkeys(key for pair in block for key in pair if key not in known)
    by_length: dict[int, list[str]] = {}
    for text, max_length in new:
        by_length.setdefault(max_length, []).append(text)
    encoded: dict[_Key, _Text] = {}
    for max_length, texts in by_length.items():
        embeddings = await encode(texts, max_length)
        encoded |= {
            # A copy, so that a text that stays does not keep its whole block.
            (text, max_length): _Text(embedding.dense, embedding.sparse, embedding.colbert.copy())
            for text, embedding in zip(texts, embeddings, strict=True)
        }
    return encoded


def _check_pairs(pairs: Sequence[tuple[str, str]]) -> None:
    if isinstance(pairs, str) or (len(pairs) == 2 and all(isinstance(item, str) for item in pairs)):
        raise InvalidInputError("pairs is a list: write [(query, passage)] for a single pair")
    for index, pair in enumerate(pairs):
        if (
            isinstance(pair, str)
            or len(pair) != 2
            or not all(isinstance(item, str) for item in pair)
        ):
            raise InvalidInputError(
                f"a pair must be (query, passage), two strings, not {pair!r:.80}", index=index
            )


def _check_weights(weights: Weights) -> Weights:
    if len(weights) != 3 or not all(np.isfinite(weights)):
        raise InvalidInputError(
            f"weights are three numbers, for dense, sparse and ColBERT, not {weights!r}"
        )
    return weights


def _divided(weighted: float, weight: float) -> float:
    """As NumPy and torch divide: nothing by nothing is not a number, and no error."""
    return weighted / weight if weight else math.nan
