"""The view that compares, as a person uses it: by its labels, its keys and what it shows."""

from __future__ import annotations

from collections.abc import Sequence

from page_tab import Tab


class ComparePage(Tab):
    """Drives the view that compares."""

    # --- doing ------------------------------------------------------------------------------

    def fill(self, query: str, passages: Sequence[str]) -> None:
        """Write the query, and each passage into a box of its own."""
        while len(self.all("#passages textarea")) > len(passages):
            self.one("#passages .remove").click()
        while len(self.all("#passages textarea")) < len(passages):
            self.one("#add").click()
        # Not typed: that takes a second for each test.
        boxes = [self.one("#query"), *self.all("#passages textarea")]
        for box, text in zip(boxes, [query, *passages], strict=True):
            self.browser.execute_script("arguments[0].value = arguments[1]", box, text)

    def compare(self) -> None:
        """Press the button and wait for the answer, or for the reason why there is none."""
        self.one("#compare-button").click()
        self.until(lambda: self.one("#compare-button").get_attribute("aria-disabled") == "false")

    def move_slider(self, kind: str, key: str, times: int = 1) -> None:
        """Move the slider of a weight by keyboard."""
        self.one(f"#weight-{kind}").send_keys(*[key] * times)

    # --- reading ----------------------------------------------------------------------------

    @property
    def ranked_passages(self) -> list[int]:
        """The numbers of the passages, from the top of the table."""
        return [int(number) for number in self.texts("#ranking tbody .number")]

    def scores(self, kind: str) -> dict[int, float]:
        """Return the score of each passage by its number, as the table shows it."""
        values = self.texts(f"#ranking td[data-kind={kind}] .value")
        return dict(zip(self.ranked_passages, map(float, values), strict=True))

    def ranks(self, kind: str) -> dict[int, int]:
        """Return the rank of each passage by its number, as the table shows it."""
        values = self.texts(f"#ranking td[data-kind={kind}] .rank [aria-hidden]")
        ranks = [int(value.removeprefix("#")) for value in values]
        return dict(zip(self.ranked_passages, ranks, strict=True))

    @property
    def notice(self) -> str:
        """What the page complains of."""
        return self.one("#notice").text
