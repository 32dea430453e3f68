"""Levels of load as a user writes them."""

import pytest

from bgem3_bench.perf.loads import Load, parse_loads


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("8", [8]),
        ("1,8,64", [1, 8, 64]),
        ("1:64:x2", [1, 2, 4, 8, 16, 32, 64]),
        ("1:60:x4", [1, 4, 16]),
        ("10:50:20", [10, 30, 50]),
        ("1:3", [1, 2, 3]),
    ],
)
def test_concurrencies(text, values):
    """Lists, ranges with a step and ranges with a factor."""
    loads = parse_loads(text, "concurrency")

    assert [Load("concurrency", value) for value in values] == list(loads)


def test_rates_may_have_a_fraction():
    """And many small steps do not drift."""
    assert [0.5, 2.5] == [load.value for load in parse_loads("0.5,2.5", "request_rate")]
    assert 2.0 == parse_loads("0.1:2:0.1", "request_rate")[-1].value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "write a list"),
        ("a:b", "write a list"),
        ("1:8:x", "write a list"),
        ("-1", "write a list"),
        ("0,1", "above 0"),
        ("0:8:x2", "above 0"),
        ("8:1", "before it starts"),
        ("1:8:0", "never ends"),
        ("1:8:x1", "never ends"),
        ("1:1000", "more than 100 levels"),
        ("8,8", "larger than the one before"),
        ("1.5", "whole"),
    ],
)
def test_what_is_no_range_is_refused(text, reason):
    """With what is wrong about it."""
    with pytest.raises(ValueError, match=reason):
        parse_loads(text, "concurrency")


def test_a_rate_is_sent_without_waiting_for_answers():
    """Else no more requests are under way than perf_analyzer has threads."""
    assert "--async" in Load("request_rate", 20).arguments
    assert ("--concurrency-range", "8") == Load("concurrency", 8).arguments
