"""examples/dashboard.py: a real browser draws what the server measures."""

from __future__ import annotations

import json
import signal

import pytest
from selenium import webdriver

from geventws import connect
from tests.examples.support import EXAMPLES, Tab, started

POINTS = "document.querySelector('polyline').getAttribute('points')?.split(' ').length"


@pytest.mark.deadline(120)
def test_dashboard(browser: webdriver.Chrome) -> None:
    process = started("dashboard.py", "--port", "0")
    port = process.address[1]
    try:
        assert process.get("/") == (200, (EXAMPLES / "dashboard.html").read_bytes())
        assert process.get("/elsewhere")[0] == 404
        with connect(f"ws://127.0.0.1:{port}/live") as ws:
            values = json.loads(ws.recv(timeout=10))
            assert values.keys() == {"time", "cpu", "late", "load", "clients"}
            tab = Tab(browser, f"http://127.0.0.1:{port}/")
            tab.wait_for("document.getElementById('clients').textContent", "2")
            tab.wait_for(f"{POINTS} >= 2", True)
            assert tab.fits(360)
            assert tab.background("dark") != tab.background("light")
        process.process.send_signal(signal.SIGINT)
        tab.wait_for("document.getElementById('state').dataset.state", "closed")
        assert process.process.wait(timeout=10) == 0
        assert "Traceback" not in process.log
    finally:
        process.stop()
