"""Which texts are encoded when: each once, in blocks of bounded size, and no longer than needed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgem3_server.gateway.scoring import pair_plan
from bgem3_server.gateway.scoring.pair_plan import plan_pairs

texts = st.integers(1, 12).map("word ".__mul__)


def tokens(text: str) -> int:
    """As many as words."""
    return text.count(" ")


@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=40), st.integers(1, 60))
def test_plan_is_a_walk_over_all_pairs(pairs: list[tuple[str, str]], block_bytes: int) -> None:
    """Every text is there when its pairs are scored, came once, and leaves after its last pair."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pair_plan, "BLOCK_BYTES", block_bytes)
        lengths = {text: tokens(text) for pair in pairs for text in pair}
        plan = plan_pairs(pairs, lengths, (8192, 8192), lambda length: length)

    known: set[int] = set()
    came: list[int] = []
    scored: list[int] = []
    held = []
    for block in plan.blocks:
        size = sum(plan.tokens[number] for number in block.first)
        largest = max((plan.tokens[number] for number in block.first), default=0)
        came += block.first
        known |= set(block.first)
        held.append(sum(plan.tokens[number] for number in known))
        scored += block.pairs

        assert size <= max(block_bytes, 2 * largest)
        assert all(known >= set(plan.pairs[number]) for number in block.pairs)
        known -= block.last
    assert list(range(len(plan.texts))) == sorted(came)
    assert list(range(len(plan.pairs))) == scored
    assert not known
    assert max(held) <= plan.peak_bytes <= sum(lengths.values())
    assert pairs == [tuple(plan.texts[n].text for n in plan.pairs[row]) for row in plan.rows]


def test_peak_holds_the_query_and_two_blocks() -> None:
    """One query against many passages: one block is scored while the next one is encoded."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pair_plan, "BLOCK_BYTES", 100)
        pairs = [("query", f"passage {number}") for number in range(1000)]
        lengths = {text: 10 for pair in pairs for text in pair}
        plan = plan_pairs(pairs, lengths, (8192, 8192), lambda length: length)

    assert 10_010 == plan.tokens.sum()
    assert 210 == plan.peak_bytes


def test_text_that_is_cut_is_another_text() -> None:
    """As a query and as a passage a text is the same only where neither is cut."""
    pairs = [("long", "long"), ("short", "short")]

    plan = plan_pairs(pairs, {"long": 9, "short": 4}, (5, 7), lambda length: length)

    assert [("long", 5), ("long", 7), ("short", 8192)] == list(plan.texts)
    assert [5, 7, 4] == plan.tokens.tolist()
