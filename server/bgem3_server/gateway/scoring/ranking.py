"""How well passages answer queries, by the model's own representations, block by block.

A request is counted and let in once, as a whole. Its texts are then encoded and scored some at a
time, and what no later pair needs is dropped: the token vectors of 1,000 passages of 512 tokens
would be 2 GB.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bgem3_backend.contract import MAX_POSITIONS_TOKENS
from bgem3_client.embeddings import Embeddings
from bgem3_client.encode_request import ALL_OUTPUTS, EncodeOptions, Output
from bgem3_client.errors import TEXT_ERRORS, VersionChangedError
from bgem3_client.pair_scores import Weights
from bgem3_client.scores import colbert_score, dense_score, lexical_score
from bgem3_server.gateway.calls.call import Call
from bgem3_server.gateway.calls.errors import TooLargeError
from bgem3_server.gateway.encoding.admission import Admission
from bgem3_server.gateway.encoding.encoder import Encoder, check_lengths
from bgem3_server.gateway.encoding.result_memory import answer_bytes
from bgem3_server.gateway.gateway import Gateway
from bgem3_server.gateway.scoring.pair_plan import Block, Pair, PairPlan, plan_pairs

OUTPUTS: Final[tuple[Output, ...]] = ("dense", "sparse", "colbert")
"""The representations, in the order of their weights."""

# FlagEmbedding's definitions.
_SCORES: Final[Mapping[Output, Callable[[Any, Any], float]]] = {
    "dense": dense_score,
    "sparse": lexical_score,
    "colbert": colbert_score,
}

_Representations: TypeAlias = dict[Output, Any]
"""Of one text, as far as they are compared."""

_Place: TypeAlias = Callable[[int, int], tuple[str, int | None]]
"""What a caller calls a text, and its index there; from its pair's number and its side."""


@dataclass(frozen=True)
class RankOptions:
    """How pairs are scored.

    Attributes:
        outputs: The representations to compare; nothing else is computed.
        max_query_length: Tokens a query is cut to, special tokens included; 2 to 8192.
        max_passage_length: Tokens a passage is cut to.
        truncate: False makes a longer text an error.
    """

    outputs: frozenset[Output] = ALL_OUTPUTS
    max_query_length: int = MAX_POSITIONS_TOKENS
    max_passage_length: int = MAX_POSITIONS_TOKENS
    truncate: bool = True

    @property
    def max_lengths(self) -> tuple[int, int]:
        """Of a query and of a passage."""
        return self.max_query_length, self.max_passage_length


@dataclass(frozen=True, eq=False)
class Scores:
    """How well the passages of P pairs answer their queries.

    Attributes:
        by_output: For each representation that was compared: float64 [P].
        truncated: bool [P, 2], whether the query and the passage of a pair were cut.
    """

    by_output: Mapping[Output, NDArray[np.float64]]
    truncated: NDArray[np.bool_]

    def weighted(self, weights: Weights) -> NDArray[np.float64]:
        """Return the weighted means of the scores: float64 [P].

        Args:
            weights: Of dense, sparse and ColBERT, one above 0 at least. What has one must have
                been compared.
        """
        total = sum(weights)
        parts = [
            self.by_output[output] * (weight / total)
            for output, weight in zip(OUTPUTS, weights, strict=True)
            if weight
        ]
        means: NDArray[np.float64] = np.sum(parts, axis=0)
        return means


def weighted_outputs(weights: Weights) -> frozenset[Output]:
    """Return the representations that count for anything."""
    return frozenset(output for output, weight in zip(OUTPUTS, weights, strict=True) if weight)


async def rank(
    query: str,
    documents: Sequence[str],
    options: RankOptions,
    gateway: Gateway,
    call: Call,
    *,
    field: str = "documents",
) -> Scores:
    """Return how well each document answers one query, in the order of the documents.

    Args:
        query: Encoded once.
        documents: One at least; equal ones are encoded once and get equal scores.
        options: What to compare.
        gateway: Encodes.
        call: The request that they belong to; its modes and counts are filled in.
        field: What the caller calls the documents; errors about a text name it.

    Raises:
        InvalidInputError: A text is wrong; ``index`` is that of the document, None for the query.
        TooLargeError: More texts, tokens or memory than the service takes.
        BusyError: No room now; nothing was computed.
        ResultMemoryError: No memory now; nothing was computed.
        DeadlineError: The call's deadline has passed.
        ServerError: Triton failed, or is away.
    """

    def place(number: int, side: int) -> tuple[str, int | None]:
        return (f"{field}[{number}]", number) if side else ("query", None)

    pairs = [(query, document) for document in documents]
    return await _Ranking(pairs, options, gateway, call, place).scores()


async def score_pairs(
    pairs: Sequence[Pair], options: RankOptions, gateway: Gateway, call: Call
) -> Scores:
    """Return how well the passage of each pair answers its query.

    Args:
        pairs: One at least; each distinct text is encoded once for each length it is cut to.
        options: What to compare.
        gateway: Encodes.
        call: The request that they belong to; its modes and counts are filled in.

    Raises:
        BgeM3Error: As :func:`rank`; the ``index`` of an InvalidInputError is that of the pair.
    """

    def place(number: int, side: int) -> tuple[str, int | None]:
        return f"pairs[{number}][{side}]", number

    return await _Ranking(pairs, options, gateway, call, place).scores()


class _Ranking:
    """One request's pairs on their way to scores."""

    def __init__(
        self,
        pairs: Sequence[Pair],
        options: RankOptions,
        gateway: Gateway,
        call: Call,
        place: _Place,
    ) -> None:
        self._pairs = pairs
        self._options = options
        self._encoder: Encoder = gateway.encoder
        self._max_pairs = gateway.settings.max_texts
        self._call = call
        self._place = place
        self._model_version: str | None = None

    async def scores(self) -> Scores:
        self._call.modes = "+".join(o for o in OUTPUTS if o in self._options.outputs)
        self._check_count()
        async with self._call.deadline.enforced():
            lengths = await self._lengths()
            model = await self._encoder.model_info()
            plan = plan_pairs(
                self._pairs,
                lengths,
                self._options.max_lengths,
                lambda tokens: answer_bytes(EncodeOptions(self._options.outputs), 1, tokens, model),
            )
            tokens = int(plan.tokens.sum())
            try:
                by_output = await self._score(plan, tokens)
            except VersionChangedError:
                # Triton switched in between. It does not do so all the time.
                self._model_version = None
                by_output = await self._score(plan, tokens)
        pair_lengths = np.array([[lengths[text] for text in pair] for pair in self._pairs])
        return Scores(
            {output: scores[plan.rows] for output, scores in by_output.items()},
            pair_lengths > self._options.max_lengths,
        )

    async def _score(self, plan: PairPlan, tokens: int) -> Mapping[Output, NDArray[np.float64]]:
        with self._encoder.admitted(tokens, plan.peak_bytes, self._call) as admission:
            return await self._score_blocks(plan, admission)

    async def _lengths(self) -> dict[str, int]:
        """Each text's length; refuses what must not be cut."""
        texts = list(dict.fromkeys(chain.from_iterable(self._pairs)))
        with self._named(texts):
            lengths = await self._encoder.count(texts)
        by_text = dict(zip(texts, lengths.tolist(), strict=True))
        for side, max_length in enumerate(self._options.max_lengths):
            texts = [pair[side] for pair in self._pairs]
            with self._named(texts):
                check_lengths(
                    np.array([by_text[text] for text in texts], np.int32),
                    EncodeOptions(max_length=max_length, truncate=self._options.truncate),
                )
        return by_text

    async def _score_blocks(
        self, plan: PairPlan, admission: Admission
    ) -> Mapping[Output, NDArray[np.float64]]:
        """Score each block in a thread, while the next one is encoded."""
        scorer = _Scorer(plan, self._options.outputs)
        scoring: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        scoring.set_result(None)
        try:
            for block in plan.blocks:
                answers = await self._encode(plan, block.first, admission)
                await asyncio.shield(scoring)
                scoring = asyncio.ensure_future(asyncio.to_thread(scorer.score, block, answers))
                del answers  # the thread drops them, and nobody else holds them
            await asyncio.shield(scoring)
        finally:
            # A thread cannot be cancelled, and must not outlive the memory kept for it.
            scorer.stopped = True
            await asyncio.wait([scoring])
        return scorer.scores

    async def _encode(
        self, plan: PairPlan, numbers: Sequence[int], admission: Admission
    ) -> list[_Answer]:
        """Encode texts, one answer for each length that they are cut to."""
        by_length: dict[int, list[int]] = {}
        for number in numbers:
            by_length.setdefault(plan.texts[number].max_length, []).append(number)
        answers = []
        for max_length, group in by_length.items():
            texts = [plan.texts[number].text for number in group]
            with self._named(texts):
                embeddings = await self._encoder.encode_admitted(
                    texts,
                    plan.tokens[group],
                    EncodeOptions(self._options.outputs, max_length),
                    admission,
                )
            self._check_version(embeddings.model_version)
            answers.append(_Answer(group, embeddings))
        return answers

    @contextmanager
    def _named(self, texts: Sequence[str]) -> Iterator[None]:
        """Have an error about one of these texts say which one of the caller's it is."""
        try:
            yield
        except TEXT_ERRORS as error:
            if error.index is None:
                raise
            text = texts[error.index]
            number, pair = next((n, pair) for n, pair in enumerate(self._pairs) if text in pair)
            name, index = self._place(number, pair.index(text))
            raise type(error)(f"{name}: {error}", index) from error

    def _check_count(self) -> None:
        pairs, limit = len(self._pairs), self._max_pairs
        if pairs > limit:
            raise TooLargeError(
                f"the request has {pairs} texts to score, and this service takes {limit} at "
                "once: send them in several requests",
                figures={"request_texts": pairs, "limit_texts": limit},
            )

    def _check_version(self, version: str) -> None:
        if self._model_version not in (None, version):
            raise VersionChangedError(
                f"Triton changed the model's version during the request ({self._model_version} "
                f"to {version}), and vectors of two versions do not go together; send it again"
            )
        self._model_version = version


class _Answer(NamedTuple):
    """Some texts' numbers, and their representations in the same order."""

    numbers: Sequence[int]
    embeddings: Embeddings


class _Scorer:
    """Scores blocks, one after the other, in whatever thread.

    Attributes:
        scores: For each representation float64, one for each distinct pair.
        stopped: Set by others when nobody waits for the scores any more.
    """

    def __init__(self, plan: PairPlan, outputs: frozenset[Output]) -> None:
        self.scores: dict[Output, NDArray[np.float64]] = {
            output: np.zeros(len(plan.pairs)) for output in OUTPUTS if output in outputs
        }
        self.stopped = False
        self._pairs = plan.pairs
        self._known: dict[int, _Representations] = {}

    def score(self, block: Block, answers: list[_Answer]) -> None:
        """Score a block, and keep only what a later one needs."""
        known = self._known
        while answers:
            numbers, embeddings = answers.pop()
            for number, embedding in zip(numbers, embeddings, strict=True):
                known[number] = {output: getattr(embedding, output) for output in self.scores}
        for row in block.pairs:
            if self.stopped:
                return
            query, passage = self._pairs[row]
            for output, scores in self.scores.items():
                scores[row] = _SCORES[output](known[query][output], known[passage][output])
        new = frozenset(block.first)
        self._known = {
            # A copy of what is new, so that a text that stays does not keep its whole block.
            number: copy.deepcopy(text) if number in new else text
            for number, text in known.items()
            if number not in block.last
        }
