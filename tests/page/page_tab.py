"""A tab of the browser, as a person uses it: by what it shows, and by keys."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from selenium.webdriver import ActionChains, Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

WAIT_SECONDS = 30


class Tab:
    """Drives one tab with the page in it; what a view has of its own is in subclasses."""

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

    def write(self, selector: str, text: str) -> None:
        """Replace what is in a field."""
        field = self.one(selector)
        field.clear()
        field.send_keys(text)

    def switch_language(self) -> None:
        """Press the language button."""
        self.one("#language").click()

    def copied(self, program: str, within: str = "#request") -> str:
        """Press a copy button and return what the clipboard then has."""
        self.browser.execute_cdp_cmd(
            "Browser.grantPermissions",
            {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]},
        )
        self.one(f"{within} [data-program={program}] button").click()
        self.until(lambda: self.one(f"{within} [data-program={program}] [role=status]").text)
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
