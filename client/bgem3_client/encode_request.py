"""What a caller asks for, checked once, at the edge."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from bgem3_backend.contract import (
    COLBERT,
    COLBERT_FP16,
    DENSE,
    FULL_TOKEN_LENGTHS,
    MAX_LENGTH_PARAMETER,
    MAX_POSITIONS_TOKENS,
    SPARSE_INDICES,
    SPARSE_LENGTHS,
    SPARSE_VALUES,
    TOKEN_IDS,
    TOKEN_LENGTHS,
    TOKEN_STATES,
    TOKENS,
    TRUNCATE_PARAMETER,
    Tensor,
)
from bgem3_client.errors import InvalidInputError

Output: TypeAlias = Literal["dense", "sparse", "colbert"]
ColbertDtype: TypeAlias = Literal["float32", "float16"]

DENSE_ONLY: Final[frozenset[Output]] = frozenset({"dense"})
ALL_OUTPUTS: Final[frozenset[Output]] = frozenset({"dense", "sparse", "colbert"})


@dataclass(frozen=True)
class EncodeOptions:
    """How texts are to be encoded; the same for every request of a call."""

    outputs: frozenset[Output] = DENSE_ONLY
    max_length: int = MAX_POSITIONS_TOKENS
    truncate: bool = True
    return_tokens: bool = False
    colbert_dtype: ColbertDtype = "float32"
    return_hidden_states: bool = False

    def __post_init__(self) -> None:
        if not self.outputs or not self.outputs <= ALL_OUTPUTS:
            raise InvalidInputError(
                f"outputs must be some of {sorted(ALL_OUTPUTS)}, "
                f"not {sorted(map(str, self.outputs))}"
            )
        if (
            not isinstance(self.max_length, int)
            or isinstance(self.max_length, bool)
            or not 1 <= self.max_length <= MAX_POSITIONS_TOKENS
        ):
            raise InvalidInputError(
                f"max_length must be an integer from 1 to {MAX_POSITIONS_TOKENS} (tokens, special "
                f"tokens included), not {self.max_length!r}"
            )
        if not isinstance(self.truncate, bool):
            raise InvalidInputError(f"truncate must be True or False, not {self.truncate!r}")
        if self.colbert_dtype not in ("float32", "float16"):
            raise InvalidInputError(
                f"colbert_dtype must be 'float32' or 'float16', not {self.colbert_dtype!r}"
            )

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The ensemble's outputs to ask for."""
        tensors = [TOKEN_LENGTHS, FULL_TOKEN_LENGTHS]
        if "dense" in self.outputs:
            tensors.append(DENSE)
        if "sparse" in self.outputs:
            tensors += [SPARSE_INDICES, SPARSE_VALUES, SPARSE_LENGTHS]
        if "colbert" in self.outputs:
            tensors.append(COLBERT if self.colbert_dtype == "float32" else COLBERT_FP16)
        if self.return_tokens:
            tensors += [TOKEN_IDS, TOKENS]
        if self.return_hidden_states:
            tensors.append(TOKEN_STATES)
        return tuple(tensors)

    @property
    def parameters(self) -> Mapping[str, int | bool]:
        """The request parameters that say the same to the server."""
        return {MAX_LENGTH_PARAMETER: self.max_length, TRUNCATE_PARAMETER: self.truncate}


def checked_outputs(outputs: Collection[Output]) -> frozenset[Output]:
    """Return the names as a set.

    Raises:
        InvalidInputError: No set, or a single string, whose letters would be taken for names.
    """
    if isinstance(outputs, str):
        raise InvalidInputError(
            f"outputs is a set of names: write outputs={{{outputs!r}}}, not {outputs!r}"
        )
    if not isinstance(outputs, Iterable):
        raise InvalidInputError(f"outputs is a set of names, not {outputs!r}")
    return frozenset(outputs)


def encode_texts(texts: Sequence[str]) -> list[bytes]:
    """Return the texts in UTF-8.

    Raises:
        InvalidInputError: Not an ordered collection of strings, empty, or with a string that no
            UTF-8 can stand for; ``index`` names the text.
    """
    if isinstance(texts, str | bytes):
        raise InvalidInputError("texts is a list: write [text] for a single one")
    if isinstance(texts, Mapping | Set) or not isinstance(texts, Iterable):
        raise InvalidInputError(
            f"texts must be a list or another sequence of strings, not a {type(texts).__name__}"
        )
    encoded = [_utf8(text, index) for index, text in enumerate(texts)]
    if not encoded:
        raise InvalidInputError("texts is empty: pass one text at least (it may be '')")
    return encoded


def _utf8(text: object, index: int) -> bytes:
    if not isinstance(text, str):
        raise _about(index, f"a text must be a str, not {type(text).__name__} ({text!r:.80})")
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise _about(
            index,
            f"a text {not_unicode(error)}; text.encode('utf-8', 'replace').decode() drops it",
        ) from error


def not_unicode(error: UnicodeEncodeError) -> str:
    """Return what is wrong with a string that no UTF-8 can stand for, with where it is."""
    return (
        f"must be valid Unicode, but character {error.start} is the lone surrogate "
        f"U+{ord(error.object[error.start]):04X}"
    )


def _about(index: int, message: str) -> InvalidInputError:
    error = InvalidInputError(message, index=index)
    error.add_note(f"about texts[{index}]")
    return error
