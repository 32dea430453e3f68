"""Whether one system is better than another, or was lucky with its queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.stats import permutation_test, ttest_rel

Test: TypeAlias = Literal["permutation", "t-test"]

LEVEL: Final = 0.05
"""A difference with a corrected p below this is called significant."""
_RESAMPLES: Final = 9_999
# Of sign flips at once: 128 MB for 16,000 queries.
_BATCH_NUMBERS: Final = 2**24


@dataclass(frozen=True)
class Comparison:
    """Two systems on the same queries.

    Attributes:
        first: A system's name.
        second: Another's.
        difference: The mean of the first less the mean of the second.
        p: How likely so large a difference is, either way, where neither is better.
        p_corrected: The same with Holm's correction for all comparisons made.
    """

    first: str
    second: str
    difference: float
    p: float
    p_corrected: float

    @property
    def is_significant(self) -> bool:
        """Whether chance is an unlikely reason."""
        return self.p_corrected < LEVEL


def compare(
    values: Mapping[str, NDArray[np.float64]],
    test: Test = "permutation",
    seed: int = 0,
    pairs: Sequence[tuple[str, str]] | None = None,
) -> list[Comparison]:
    """Compare systems two by two, by a paired, two-sided test.

    Args:
        values: By system: a measure's value for each of Q queries, in one order.
        test: ``permutation`` flips the signs of random differences 9,999 times (or in all ways,
            where those are fewer); ``t-test`` is Student's.
        seed: Of those.
        pairs: Which two; None for every two.
    """
    pairs = list(combinations(values, 2)) if pairs is None else pairs
    p_values = [_p(values[first] - values[second], test, seed) for first, second in pairs]
    return [
        Comparison(first, second, float(np.mean(values[first] - values[second])), p, corrected)
        for (first, second), p, corrected in zip(pairs, p_values, holm(p_values), strict=True)
    ]


def holm(p_values: list[float]) -> list[float]:
    """Return the p values corrected for their number (Holm, 1979), in the same order."""
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for step, place in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        highest = max(highest, min(1.0, (len(p_values) - step) * p_values[place]))
        corrected[place] = highest
    return corrected


def _p(differences: NDArray[np.float64], test: Test, seed: int) -> float:
    # Neither test says anything where nothing differs, or of a single query.
    if len(differences) < 2 or not differences.any():
        return 1.0
    if test == "t-test":
        return float(ttest_rel(differences, np.zeros_like(differences)).pvalue)
    result = permutation_test(
        (differences,),
        lambda sample, axis: np.mean(sample, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=_RESAMPLES,
        batch=max(1, _BATCH_NUMBERS // len(differences)),
        random_state=np.random.default_rng(seed),
    )
    return float(result.pvalue)
