"""examples/echo_pywsgi.py, and the page of all echoes in a real browser."""

from __future__ import annotations

import signal

import pytest
from selenium import webdriver

from tests.examples.support import Tab, check_echo, started


@pytest.mark.deadline(120)
def test_echo(browser: webdriver.Chrome) -> None:
    process = started("echo_pywsgi.py", "--port", "0")
    try:
        check_echo(process)
        tab = Tab(browser, f"http://127.0.0.1:{process.address[1]}/")
        tab.wait_for("document.getElementById('state').textContent", "connected")
        tab.type("text", "Hello <b>you</b> " + "☃" * 500)
        tab.wait_for("document.querySelector('li')?.firstChild.length", 517)
        assert tab.fits(360)
        assert tab.background("dark") != tab.background("light")
        process.process.send_signal(signal.SIGINT)
        tab.wait_for("document.getElementById('state').textContent", "closed (1001)")
        assert process.process.wait(timeout=10) == 0
        assert "Traceback" not in process.log
    finally:
        process.stop()
