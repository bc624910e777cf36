"""What tests of examples share: a real browser, and examples as processes of their own."""

from __future__ import annotations

import contextlib
import pathlib
import shutil
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from geventws import connect
from tests.wsgi.support import ROOT, Process, gunicorn

EXAMPLES = ROOT / "examples"

CHROMIUM, CHROMEDRIVER = shutil.which("chromium"), shutil.which("chromedriver")

# Seconds that one step may take in a browser on a busy machine.
PATIENCE = 20

CHROMIUM_OPTIONS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-sync",
    "--no-first-run",
]


class Tab:
    """One tab of the browser, with one person before it."""

    def __init__(self, browser: webdriver.Chrome, url: str) -> None:
        browser.switch_to.new_window("tab")
        browser.get(url)
        self.browser = browser
        self.handle = browser.current_window_handle

    def type(self, field: str, text: str) -> None:
        """Write into a field and press Enter."""
        self.browser.switch_to.window(self.handle)
        self.browser.find_element(By.ID, field).send_keys(text + "\n")

    def wait_for(self, script: str, expected: object) -> None:
        """Wait until an expression in the page has the expected value."""
        self.browser.switch_to.window(self.handle)
        seen = None
        try:
            WebDriverWait(self.browser, PATIENCE, 0.05).until(
                lambda _: (seen := self.browser.execute_script(f"return {script}")) == expected
            )
        except Exception:
            seen = self.browser.execute_script(f"return {script}")
            pytest.fail(f"{script} is {seen!r}, not {expected!r}")

    def wait_until_open(self) -> None:
        self.wait_for("document.getElementById('state').dataset.state", "open")

    def wait_for_lines(self, *lines: str) -> None:
        """Wait until the page shows exactly these notices and messages."""
        self.wait_for(
            "[...document.querySelectorAll('.notice, .text')].map(e => e.textContent)", list(lines)
        )

    def fits(self, width: int) -> bool:
        """Whether the page needs no scrolling sideways in a window of this width, in pixels."""
        self.browser.switch_to.window(self.handle)
        emulate = {"width": width, "height": 640, "deviceScaleFactor": 1, "mobile": True}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", emulate)
        script = "return [document.documentElement.scrollWidth, innerWidth]"
        content, window = self.browser.execute_script(script)
        return bool(content <= window == width)

    def background(self, scheme: str) -> str:
        """The colour behind the page, where the system prefers a dark or a light scheme."""
        self.browser.switch_to.window(self.handle)
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        return str(
            self.browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        )


@contextlib.contextmanager
def browser_in(folder: pathlib.Path, *more_options: str) -> Iterator[webdriver.Chrome]:
    """A browser with its profile in a folder."""
    if CHROMIUM is None or CHROMEDRIVER is None:
        pytest.skip("chromium and chromedriver are not installed (Debian: chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for option in [*CHROMIUM_OPTIONS, f"--user-data-dir={folder / 'profile'}", *more_options]:
        options.add_argument(option)
    # With the driver's path given, selenium looks for nothing and downloads nothing.
    driver = webdriver.Chrome(options, webdriver.ChromeService(CHROMEDRIVER))
    try:
        yield driver
    finally:
        driver.quit()


def started(name: str, *arguments: str, **options: Any) -> Process:
    """Run an example."""
    return Process([sys.executable, str(EXAMPLES / name), *arguments], **options)


def on_gunicorn(app: str) -> Process:
    """Run an application among the examples on gunicorn, as its docstring says."""
    return Process(gunicorn("geventws.gunicorn.Worker", app, None, "--chdir", str(EXAMPLES)))


def check_echo(process: Process) -> None:
    """The page is there, and the WebSocket echoes."""
    assert process.get("/") == (200, (EXAMPLES / "echo.html").read_bytes())
    with connect(f"ws://127.0.0.1:{process.address[1]}/echo") as ws:
        for message in ("Hello ☃", b"bytes"):
            ws.send(message)
            assert ws.recv(timeout=PATIENCE) == message
    assert process.get("/elsewhere")[0] == 404
