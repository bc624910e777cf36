"""Chromium as a client of our server, over TCP and over TLS."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from selenium import webdriver

from geventws.core.deflate_negotiation import ServerPerMessageDeflateFactory
from tests.examples.support import browser_in
from tests.interop.foreign import TIMEOUT, natively
from tests.interop.suite import (
    CLOSINGS,
    COMBINATIONS,
    FRAGMENTED,
    MESSAGES,
    TEXT,
    Certificates,
    answer,
    check_echo,
    check_they_close,
    serving_one,
)

# It sends everything back, closes as a text asks it to, and keeps what it receives of a close.
CLIENT = """
const ws = new WebSocket(arguments[0]);
ws.binaryType = "arraybuffer";
ws.onmessage = ({ data }) => {
  const close = typeof data === "string" && data.match(/^close (\\d+) (.*)$/);
  if (close) ws.close(Number(close[1]), close[2]);
  else ws.send(data);
};
window.received = new Promise((resolve) => {
  ws.onclose = ({ code, reason, wasClean }) => resolve([code, reason, wasClean]);
});
"""

pytestmark = pytest.mark.deadline(60)


def page(ws: Any, request: Any) -> Any:
    """Answer a request by a page."""
    return ws.respond(200, "a page\n")


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """A browser with a page of ours, for all tests: it takes seconds to start."""
    folder = tmp_path_factory.mktemp("chromium")
    with browser_in(folder, "--ignore-certificate-errors") as chromium:
        with serving_one(process_request=page) as (server, _):
            natively(chromium.get, f"http://127.0.0.1:{server.address[1]}/")
        yield chromium


@pytest.fixture(params=["ws", "wss"])
def tls(request: pytest.FixtureRequest, certificates: Certificates) -> Any:
    """TLS for our server, and none."""
    return certificates[0] if request.param == "wss" else None


@contextlib.contextmanager
def connected(browser: Any, tls: Any, **options: Any) -> Iterator[Any]:
    """Open a WebSocket in the page; yield our end."""
    options |= {"max_size": None, "close_timeout": TIMEOUT}
    with serving_one(ssl=tls, **options) as (server, accepted):
        scheme = "wss" if tls else "ws"
        natively(browser.execute_script, CLIENT, f"{scheme}://127.0.0.1:{server.address[1]}/")
        yield accepted.get(timeout=TIMEOUT)


def received(browser: Any) -> Any:
    """Wait until the browser's end is closed; return code, reason, and whether that was clean."""
    return natively(browser.execute_script, "return window.received")


def test_messages(chromium: Any, tls: Any) -> None:
    with connected(chromium, tls) as ws:
        check_echo(ws, [*MESSAGES, *FRAGMENTED])
        assert ws.ping().wait(TIMEOUT)


def test_compression(chromium: Any, tls: Any) -> None:
    """What a server may ask for is agreed upon and obeyed; a few times over TLS."""
    chosen = [{"client_max_window_bits": 8}, *COMBINATIONS]
    for settings in chosen[-2:] if tls else chosen:
        factory = ServerPerMessageDeflateFactory(**settings)
        with connected(chromium, tls, compression=None, extensions=[factory]) as ws:
            name, *parameters = ws.response.headers["Sec-WebSocket-Extensions"].split("; ")
            assert name == "permessage-deflate"
            assert set(parameters) == answer(**settings)
            check_echo(ws, [TEXT, "", TEXT[-300:]])


def test_we_close(chromium: Any, tls: Any) -> None:
    for code, reason in CLOSINGS:
        with connected(chromium, tls) as ws:
            ws.close(code, reason)
            assert received(chromium) == [code, reason, True]
            assert (ws.close_code, ws.close_reason) == (code, reason)


def test_they_close(chromium: Any, tls: Any) -> None:
    # Others are not for pages.
    for code, reason in [closing for closing in CLOSINGS if closing[0] in (1000, 3000, 4999)]:
        with connected(chromium, tls) as ws:
            check_they_close(ws, code, reason)
            assert received(chromium) == [code, reason, True]
