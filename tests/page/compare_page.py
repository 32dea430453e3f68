"""The page as a person uses it: by its labels, its keys and what it shows."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from selenium.webdriver import ActionChains, Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

WAIT_SECONDS = 30


class ComparePage:
    """Drives one tab."""

    def __init__(self, browser: Chrome) -> None:
        self.browser = browser

    # --- the tab ----------------------------------------------------------------------------

    def open(self, url: str, languages: str = "en-US") -> None:
        """Open the page in a browser that prefers ``languages``, and has nothing stored of it."""
        self.browser.execute_cdp_cmd(
            "Storage.clearDataForOrigin", {"origin": url, "storageTypes": "local_storage"}
        )
        agent = self.browser.execute_script("return navigator.userAgent")
        self.browser.execute_cdp_cmd(
            "Network.setUserAgentOverride", {"userAgent": agent, "acceptLanguage": languages}
        )
        self.browser.get(url)

    def console_errors(self) -> list[str]:
        """Return what the console has of errors, but for refused requests."""
        return [
            entry["message"]
            for entry in self.browser.get_log("browser")
            if entry["level"] == "SEVERE" and "Failed to load resource" not in entry["message"]
        ]

    def requests(self) -> list[str]:
        """Return the URLs that the tab has asked for since the last call."""
        messages = [
            json.loads(entry["message"])["message"] for entry in self.browser.get_log("performance")
        ]
        return [
            message["params"]["request"]["url"]
            for message in messages
            if message["method"] == "Network.requestWillBeSent"
        ]

    def resize(
        self, width: int, height: int = 900, *, scale: float = 1, phone: bool = False
    ) -> None:
        """Give the tab another size, in CSS pixels."""
        self.browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": phone},
        )

    # --- finding ----------------------------------------------------------------------------

    def one(self, selector: str) -> WebElement:
        """Return the element of a CSS selector."""
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        """Return the elements of a CSS selector."""
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def until(self, condition: Callable[[], Any]) -> Any:
        """Wait for a condition, and return what it gave."""
        return WebDriverWait(self.browser, WAIT_SECONDS, poll_frequency=0.05).until(
            lambda _: condition()
        )

    def texts(self, selector: str) -> list[str]:
        """Return what elements say, all at once: hundreds of calls would take seconds."""
        script = "return [...document.querySelectorAll(arguments[0])].map(e => e.innerText.trim())"
        found: list[str] = self.browser.execute_script(script, selector)
        return found

    def attributes(self, selector: str, name: str) -> list[str | None]:
        """Return an attribute of elements."""
        script = (
            "return [...document.querySelectorAll(arguments[0])].map("
            "e => e.getAttribute(arguments[1]))"
        )
        found: list[str | None] = self.browser.execute_script(script, selector, name)
        return found

    @property
    def focused(self) -> WebElement:
        """The element that takes the keys."""
        return self.browser.switch_to.active_element

    # --- doing ------------------------------------------------------------------------------

    def press(self, *keys: str) -> None:
        """Press keys where the focus is."""
        ActionChains(self.browser).send_keys(*keys).perform()

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

    def write(self, selector: str, text: str) -> None:
        """Replace what is in a field."""
        field = self.one(selector)
        field.clear()
        field.send_keys(text)

    def compare(self) -> None:
        """Press the button and wait for the answer, or for the reason why there is none."""
        self.one("#compare").click()
        self.until(lambda: self.one("#compare").get_attribute("aria-disabled") == "false")

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

    def switch_language(self) -> None:
        """Press the language button."""
        self.one("#language").click()

    def copied(self, program: str) -> str:
        """Press a copy button and return what the clipboard then has."""
        self.browser.execute_cdp_cmd(
            "Browser.grantPermissions",
            {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]},
        )
        self.one(f"[data-program={program}] button").click()
        self.until(lambda: self.one(f"[data-program={program}] [role=status]").text)
        text: str = self.browser.execute_async_script(
            "const done = arguments[0];"
            "navigator.clipboard.readText().then(done, error => done(String(error)))"
        )
        return text

    def tab_to(self, element: WebElement, limit: int = 60) -> None:
        """Press Tab until an element has the focus."""
        for _ in range(limit):
            if self.focused == element:
                return
            self.press(Keys.TAB)
        raise AssertionError(f"Tab does not reach {element.get_attribute('outerHTML')[:200]}")
