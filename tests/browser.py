"""A Chromium without a window and without a network, for tests of pages.

Debian: apt-get install chromium chromium-driver. Selenium is imported where it is used.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from selenium import webdriver

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")


@contextmanager
def chromium(width: int = 1280, height: int = 800, dark: bool = False) -> Iterator[webdriver.Chrome]:
    """A browser whose every host name leads nowhere; it keeps a log of the console and of all requests."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (
        "--headless=new",
        "--no-sandbox",  # CI is root
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--disable-background-networking",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost",
        "--force-device-scale-factor=1",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        theme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": theme})
        yield browser
    finally:
        browser.quit()


def open_page(browser: webdriver.Chrome, page: Path, state: str = "") -> None:
    """Open a page of the explorer from the file system, and wait until it says that it is ready."""
    from selenium.webdriver.support.ui import WebDriverWait

    browser.get("about:blank")  # a change of the hash alone would not load it again
    browser.get(f"{page.as_uri()}/index.html{state}")
    WebDriverWait(browser, 60, 0.02).until(
        lambda it: it.execute_script("return document.documentElement.dataset.ready === 'yes'")
    )


def complaints(browser: webdriver.Chrome) -> list[str]:
    """What the console said since it was asked last."""
    return [entry["message"] for entry in browser.get_log("browser")]


def requested(browser: webdriver.Chrome) -> list[str]:
    """The addresses of all requests since this was asked last."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]
