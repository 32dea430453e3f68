"""The view that searches, as a person uses it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from page_tab import Tab
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select


class SearchPage(Tab):
    """Drives the view that searches."""

    # --- doing ------------------------------------------------------------------------------

    def open_search(self, url: str, fragment: str = "#search", languages: str = "en-US") -> None:
        """Open the view, and wait for the collections, or for the reason why there are none."""
        self.open(f"{url}/{fragment}", languages)
        ended = "#collection option:not([value='']), #setup:not([hidden]), #search-notice > *"
        self.until(lambda: self.all(ended))
        self.wait()

    def follow(self, fragment: str) -> None:
        """Change the address by hand, and wait for what it leads to."""
        self.browser.execute_async_script(
            "addEventListener('hashchange', () => arguments[1](), {once: true});"
            "location.hash = arguments[0]",
            fragment,
        )
        self.wait()

    def search(self, query: str) -> None:
        """Write a query, press Enter, and wait for the answer, or for the reason why not."""
        self.write("#search-query", query)
        self.press(Keys.ENTER)
        self.wait()

    def wait(self) -> None:
        """Wait until nothing is on its way."""
        self.until(lambda: self.one("#search-button").get_attribute("aria-disabled") == "false")

    def open_options(self) -> None:
        """Show the options."""
        if self.one("#search-options").get_attribute("open") is None:
            self.one("#search-options summary").click()

    def choose(self, selector: str, value: str) -> None:
        """Choose one of a list by its value."""
        Select(self.one(selector)).select_by_value(value)

    def open_why(self, rank: int) -> None:
        """Show why a hit is there."""
        details = self.one(f".hit[data-rank='{rank}'] details")
        if details.get_attribute("open") is None:
            details.find_element(By.TAG_NAME, "summary").click()

    # --- reading ----------------------------------------------------------------------------

    @property
    def notice(self) -> str:
        """What the view complains of."""
        return self.one("#search-notice").text

    def problem(self, field: str) -> str:
        """Return what is said to be wrong with a field."""
        return self.one(f"#{field}-problem").text

    @property
    def titles(self) -> list[str]:
        """The titles of the hits, in their order."""
        return self.texts(".hit h3 bdi")

    def marked(self, rank: int) -> list[str]:
        """Return the words that are marked in a hit."""
        return self.texts(f".hit[data-rank='{rank}'] .found mark")

    def parts(self, rank: int) -> dict[str, list[str]]:
        """Return the rows of the table of a hit's score: rank, score, weight, part."""
        rows: Sequence[Sequence[Any]] = self.browser.execute_script(
            "return [...document.querySelectorAll(arguments[0])].map(row =>"
            " [row.dataset.kind, [...row.querySelectorAll('td')].map(cell => cell.textContent)])",
            f".hit[data-rank='{rank}'] .parts tbody tr",
        )
        return {kind: list(cells) for kind, cells in rows}
