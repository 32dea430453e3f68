"""What ``encode`` returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from bgem3_client.colbert import ColbertEmbeddings, TokenVectors
from bgem3_client.errors import InvalidInputError, VersionChangedError
from bgem3_client.hidden_states import HiddenStates
from bgem3_client.sparse import SparseEmbedding, SparseEmbeddings

Part = TypeVar("Part")


@dataclass(frozen=True, eq=False)
class Parts:
    """The representations of N texts as far as they are there, in the same order.

    Attributes:
        dense: float32 [N, d], each row of length 1.
        sparse: N texts' lexical weights.
        colbert: N texts' token vectors.
        tokens: N texts' tokens as text, special tokens included.
        hidden_states: N texts' hidden states.
        token_ids: N texts' tokens as ids, special tokens included: int32 [t] each.
    """

    dense: NDArray[np.float32] | None = None
    sparse: SparseEmbeddings | None = None
    colbert: ColbertEmbeddings | None = None
    tokens: Sequence[Sequence[str]] | None = None
    hidden_states: HiddenStates | None = None
    token_ids: Sequence[NDArray[np.int32]] | None = None


@dataclass(frozen=True, eq=False)
class Embeddings(Sequence["Embedding"]):
    """The representations of N texts, in the order the texts were given.

    What was not asked for is not there: reading it raises InvalidInputError, so that ``dense``,
    ``sparse``, ``colbert``, ``tokens``, ``token_ids`` and ``hidden_states`` are never None. Arrays
    are read-only; copy what you want to change. ``embeddings[i]`` is one text's
    :class:`Embedding`, ``embeddings[i:j]`` the `Embeddings` of some, as views.

    Attributes:
        token_lengths: int32 [N], tokens of each text after truncation, special tokens included.
        truncated: bool [N], whether a text was cut to ``max_length``.
        model_version: The version of the model that answered.
        parts: The representations as they are, None where absent.
    """

    token_lengths: NDArray[np.int32]
    truncated: NDArray[np.bool_]
    model_version: str
    parts: Parts

    @property
    def dense(self) -> NDArray[np.float32]:
        """float32 [N, d], each row of length 1."""
        return _present(self.parts.dense, "dense", "outputs={'dense'}")

    @property
    def sparse(self) -> SparseEmbeddings:
        """N texts' lexical weights."""
        return _present(self.parts.sparse, "sparse", "outputs={'sparse'}")

    @property
    def colbert(self) -> ColbertEmbeddings:
        """N texts' token vectors, [t, d] each; ``t`` is the text's token length less 1."""
        return _present(self.parts.colbert, "colbert", "outputs={'colbert'}")

    @property
    def tokens(self) -> Sequence[Sequence[str]]:
        """N texts' tokens as text, special tokens included: as many as ``token_lengths`` says.

        ``colbert[i][k]`` is the vector of ``tokens[i][k + 1]``.
        """
        return _present(self.parts.tokens, "tokens", "return_tokens=True")

    @property
    def token_ids(self) -> Sequence[NDArray[np.int32]]:
        """N texts' tokens as ids, int32 [t] each: ``tokens[i][k]`` is the text of the id there."""
        return _present(self.parts.token_ids, "token_ids", "return_tokens=True")

    @property
    def hidden_states(self) -> HiddenStates:
        """N texts' hidden states, float32 [t, H] each; ``t`` is the text's token length.

        ``hidden_states[i][k]`` is the state of ``tokens[i][k]``.
        """
        return _present(self.parts.hidden_states, "hidden_states", "return_hidden_states=True")

    def __len__(self) -> int:
        return len(self.token_lengths)

    @overload
    def __getitem__(self, key: int) -> Embedding: ...

    @overload
    def __getitem__(self, key: slice) -> Embeddings: ...

    def __getitem__(self, key: int | slice) -> Embedding | Embeddings:
        if not isinstance(key, slice):
            return Embedding(self, range(len(self))[key])
        parts = self.parts
        return Embeddings(
            self.token_lengths[key],
            self.truncated[key],
            self.model_version,
            Parts(
                None if parts.dense is None else parts.dense[key],
                None if parts.sparse is None else parts.sparse[key],
                None if parts.colbert is None else parts.colbert[key],
                None if parts.tokens is None else parts.tokens[key],
                None if parts.hidden_states is None else parts.hidden_states[key],
                None if parts.token_ids is None else parts.token_ids[key],
            ),
        )

    @classmethod
    def concatenate(cls, answers: Sequence[Embeddings]) -> Embeddings:
        """Return the texts of all answers (one at least, to the same question), in order.

        Raises:
            VersionChangedError: The answers come from more than one version of the model.
        """
        if len(answers) == 1:
            return answers[0]
        versions = sorted({answer.model_version for answer in answers})
        if len(versions) > 1:
            raise VersionChangedError(
                f"the server changed the model's version during the call ({', '.join(versions)}), "
                "and vectors of two versions do not go together; call again, or name a "
                "model_version"
            )
        parts = [answer.parts for answer in answers]
        dense = [part.dense for part in parts if part.dense is not None]
        sparse = [part.sparse for part in parts if part.sparse is not None]
        colbert = [part.colbert for part in parts if part.colbert is not None]
        tokens = [part.tokens for part in parts if part.tokens is not None]
        states = [part.hidden_states for part in parts if part.hidden_states is not None]
        ids = [part.token_ids for part in parts if part.token_ids is not None]
        return cls(
            np.concatenate([answer.token_lengths for answer in answers]),
            np.concatenate([answer.truncated for answer in answers]),
            versions[0],
            Parts(
                np.concatenate(dense) if dense else None,
                SparseEmbeddings.concatenate(sparse) if sparse else None,
                ColbertEmbeddings.concatenate(colbert) if colbert else None,
                list(chain.from_iterable(tokens)) if tokens else None,
                HiddenStates.concatenate(states) if states else None,
                list(chain.from_iterable(ids)) if ids else None,
            ),
        )

    def __post_init__(self) -> None:
        arrays: list[NDArray[Any] | None] = [self.token_lengths, self.truncated, self.parts.dense]
        if self.parts.sparse is not None:
            arrays += [self.parts.sparse.indices, self.parts.sparse.values]
        if self.parts.colbert is not None:
            arrays.append(self.parts.colbert.vectors)
        if self.parts.hidden_states is not None:
            arrays.append(self.parts.hidden_states.vectors)
        for array in arrays:
            if array is not None:
                array.flags.writeable = False


@dataclass(frozen=True, eq=False)
class Embedding:
    """One text's representations; like :class:`Embeddings`, absent ones raise InvalidInputError.

    Attributes:
        embeddings: The texts it is one of.
        index: Its place among them.
    """

    embeddings: Embeddings
    index: int

    @property
    def dense(self) -> NDArray[np.float32]:
        """float32 [d], of length 1."""
        vector: NDArray[np.float32] = self.embeddings.dense[self.index]
        return vector

    @property
    def sparse(self) -> SparseEmbedding:
        """The lexical weights."""
        return self.embeddings.sparse[self.index]

    @property
    def colbert(self) -> TokenVectors:
        """float32 or float16 [t, d], a vector for each token but the first."""
        return self.embeddings.colbert[self.index]

    @property
    def tokens(self) -> Sequence[str]:
        """The tokens as text, special tokens included."""
        return self.embeddings.tokens[self.index]

    @property
    def token_ids(self) -> NDArray[np.int32]:
        """int32 [t], the tokens as ids, special tokens included."""
        return self.embeddings.token_ids[self.index]

    @property
    def hidden_states(self) -> NDArray[np.float32]:
        """float32 [t, H], one for each token, not normalised."""
        return self.embeddings.hidden_states[self.index]

    @property
    def token_length(self) -> int:
        """Tokens after truncation, special tokens included."""
        return int(self.embeddings.token_lengths[self.index])

    @property
    def truncated(self) -> bool:
        """Whether the text was cut to ``max_length``."""
        return bool(self.embeddings.truncated[self.index])


def _present(part: Part | None, name: str, how: str) -> Part:
    if part is None:
        raise InvalidInputError(f"{name} was not asked for: encode(texts, {how})")
    return part
