"""The matched words: where a passage has the tokens that its sparse weights share with the query's.

A token of BGE-M3 is a piece of SentencePiece: ``▁reset`` begins a word, and is another token than
``reset`` within one. A token's text is the same for both, so which of them a query has is read from
where the token stands in the query. In the passage the first is looked for behind white space
alone, the second anywhere else; both must end where a word ends, since ``▁the`` is no token of
``▁then``. Tokens that follow each other in the query are looked for together first, which is how
the pieces of a word that is no single token (``AX-4711``) are found. Scripts that write words side
by side, Chinese among them, have no such ends, and their tokens are found wherever they stand.

Only tokens that the passage has are looked for, which its own weights say: the rest may read alike,
as ``▁reset`` and ``reset`` do. One that is there, and nowhere as a whole word, is looked for as the
front of a longer one.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import regex

from bgem3_client.embeddings import Embedding

# <s>, <pad>, </s> and <unk>: they stand for no text.
_SPECIAL_IDS: Final = frozenset({0, 1, 2, 3})

# Thai, Lao, Tibetan, Burmese, Khmer, Japanese and Chinese put words side by side; to a Korean word
# particles are attached.
_UNSPACED: Final = regex.compile(
    r"[\p{Thai}\p{Lao}\p{Tibetan}\p{Myanmar}\p{Khmer}\p{Hiragana}\p{Katakana}\p{Han}\p{Hangul}ー]"
)

# Shorter ones are in front of too many words for a guess which of them is meant.
_SHORTEST_FRONT: Final = 3


@dataclass(frozen=True)
class Mark:
    """A matched place in a chunk's text.

    Attributes:
        begin: Where it begins, in characters of the chunk's text.
        end: Where it ends.
        weight: What its tokens contribute to the sparse score.
    """

    begin: int
    end: int
    weight: float


@dataclass(frozen=True)
class _Token:
    """A token of the query.

    Attributes:
        id: In the vocabulary.
        text: What it stands for.
        begins_word: Whether white space, or nothing, is a part of it at its front.
        follows: Whether it follows the token before it without anything between.
    """

    id: int
    text: str
    begins_word: bool
    follows: bool


@dataclass(frozen=True)
class _Span:
    begin: int
    end: int
    ids: tuple[int, ...]


class Marker:
    """Finds the words of one query in passages."""

    def __init__(self, query: str, embedding: Embedding) -> None:
        """Read the query's tokens.

        Args:
            query: The text.
            embedding: Its sparse weights and its tokens.
        """
        self._weighted = frozenset(embedding.sparse.indices.tolist())
        self._tokens = _tokens(_Text(query), embedding)

    def marks(self, text: str, contributions: Mapping[int, float]) -> tuple[Mark, ...]:
        """Return the matched places of a passage, in order; they neither overlap nor touch.

        Args:
            text: The passage.
            contributions: Of each token id that it shares with the query, to the sparse score.
        """
        passage = _Text(text)
        shared = [(at, one) for at, one in enumerate(self._tokens) if one.id in contributions]
        spans = [
            span for at, _ in shared for span in self._words_from(at, passage.text, contributions)
        ]
        whole = {token_id for span in spans for token_id in span.ids}
        spans += [
            _Span(begin, begin + len(token.text), (token.id,))
            for _, token in shared
            if token.id not in whole and token.begins_word and len(token.text) >= _SHORTEST_FRONT
            for begin in _places(token, passage.text)
        ]
        return tuple(_merged(_disjoint(spans), passage, contributions))

    def _words_from(self, first: int, text: str, shared: Collection[int]) -> Iterator[_Span]:
        """Yield where the passage has a token and, as far as it goes on, those that follow it."""
        token = self._tokens[first]
        for begin in _places(token, text):
            # A token within a word of the passage is found as a part of that word.
            if not token.begins_word and begin and _joined(text[begin - 1], text[begin]):
                continue
            end, ids = begin, list[int]()
            longest: _Span | None = None
            for next_token in self._tokens[first:]:
                if ids and not (next_token.follows and text.startswith(next_token.text, end)):
                    break
                if next_token.id in self._weighted and next_token.id not in shared:
                    break
                end += len(next_token.text)
                ids.append(next_token.id)
                if end == len(text) or not _joined(text[end - 1], text[end]):
                    longest = _Span(begin, end, tuple(ids))
            if longest is not None:
                yield longest


class _Text:
    """A text as the tokenizer reads it (NFKC), and where each of its characters comes from.

    Attributes:
        text: Normalised.
    """

    def __init__(self, original: str) -> None:
        self._origins: list[tuple[int, int]] | None = None
        if unicodedata.is_normalized("NFKC", original):
            self.text = original
            return
        pieces, self._origins = [], []
        for begin, end in _clusters(original):
            piece = unicodedata.normalize("NFKC", original[begin:end])
            pieces.append(piece)
            self._origins += [(begin, end)] * len(piece)
        self.text = "".join(pieces)

    def original_span(self, begin: int, end: int) -> tuple[int, int]:
        """Return the characters of the original that ``text[begin:end]`` was made of."""
        if self._origins is None:
            return begin, end
        return self._origins[begin][0], self._origins[end - 1][1]


def _clusters(text: str) -> Iterator[tuple[int, int]]:
    """Yield the characters, each with those behind it that may become one with it."""
    begin = 0
    for position in range(1, len(text) + 1):
        if position == len(text) or not _composes(text[position]):
            yield begin, position
            begin = position


def _composes(character: str) -> bool:
    # Accents; the second and third part of a Korean syllable; half-width voicing marks.
    return (
        unicodedata.combining(character) != 0
        or "\u1160" <= character <= "\u11ff"
        or character in "\uff9e\uff9f"
    )


def _tokens(query: _Text, embedding: Embedding) -> list[_Token]:
    """Return the query's tokens that stand for text, each as it stands in the query."""
    text, end, alone, broken = query.text, 0, False, True
    tokens = []
    for token_id, token in zip(embedding.token_ids.tolist(), embedding.tokens, strict=True):
        if token_id in _SPECIAL_IDS:
            broken = True
            continue
        if not token:
            # The white space in front is a token of its own.
            alone = True
            continue
        begin = text.find(token, end)
        if begin < 0:
            broken = True
            continue
        after_space = begin == 0 or text[begin - 1].isspace()
        follows = begin == end and not (broken or after_space)
        tokens.append(_Token(token_id, token, after_space and not alone, follows))
        end, alone, broken = begin + len(token), False, False
    return tokens


def _places(token: _Token, text: str) -> Iterator[int]:
    """Yield where a passage reads like a token, as far as white space in front decides it."""
    begin = text.find(token.text)
    while begin >= 0:
        after_space = begin == 0 or text[begin - 1].isspace()
        # Where the white space is a token of its own, scripts without spaces go on behind it.
        if after_space if token.begins_word else not after_space or _is_unspaced(text[begin]):
            yield begin
        begin = text.find(token.text, begin + 1)


def _joined(left: str, right: str) -> bool:
    """Whether two neighbours are within a word."""
    return all(_is_of_word(character) and not _is_unspaced(character) for character in left + right)


def _is_of_word(character: str) -> bool:
    return character.isalnum() or character == "_" or unicodedata.category(character)[0] == "M"


def _is_unspaced(character: str) -> bool:
    return _UNSPACED.match(character) is not None


def _disjoint(spans: Sequence[_Span]) -> list[_Span]:
    """Return the longest of the spans that do not overlap, in order."""
    chosen: list[_Span] = []
    taken: set[int] = set()
    for span in sorted(spans, key=lambda span: (span.begin - span.end, span.begin)):
        places = range(span.begin, span.end)
        if taken.isdisjoint(places):
            taken.update(places)
            chosen.append(span)
    return sorted(chosen, key=lambda span: span.begin)


def _merged(spans: Sequence[_Span], passage: _Text, weights: Mapping[int, float]) -> Iterator[Mark]:
    """Yield a mark for all spans with letters or digits, one for those that touch."""
    mark: Mark | None = None
    for span in spans:
        # A hyphen or a full stop at the end is nothing to look at.
        letters = [at for at in range(span.begin, span.end) if passage.text[at].isalnum()]
        if not letters:
            continue
        begin, end = passage.original_span(letters[0], letters[-1] + 1)
        weight = sum(weights.get(token_id, 0.0) for token_id in set(span.ids))
        if mark is not None and begin <= mark.end:
            mark = Mark(mark.begin, end, mark.weight + weight)
            continue
        if mark is not None:
            yield mark
        mark = Mark(begin, end, weight)
    if mark is not None:
        yield mark
