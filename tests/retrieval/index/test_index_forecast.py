"""How much there is still to do, from what was read so far."""

from __future__ import annotations

from bgem3_retrieval.index.forecast import Forecast


def test_files_are_taken_to_be_like_those_of_their_format() -> None:
    """A PDF has less text for its size than a text; what was never read is like the rest."""
    forecast = Forecast()
    forecast.expect({".pdf": 1000, ".txt": 100, ".md": 100})
    before = forecast.total_bytes
    forecast.passed(".pdf", 500, 5)
    after_a_pdf = forecast.total_bytes
    forecast.passed(".txt", 50, 50)

    assert 1200 == before
    assert 5 + 5 + 1 + 1 == after_a_pdf
    assert 55 == forecast.done_bytes
    # What was read is 55 of 550 bytes.
    assert 55 + 5 + 50 + 10 == forecast.total_bytes


def test_nothing_is_left_at_the_end() -> None:
    """Whatever there was in the files."""
    forecast = Forecast()
    forecast.expect({".pdf": 1000})
    forecast.passed(".pdf", 0, 7)
    forecast.passed(".pdf", 1000, 0)

    assert (7, 7) == (forecast.done_bytes, forecast.total_bytes)
