"""Chromium as a client of our server, over TCP and over TLS."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from selenium import webdriver

import geventws
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
    serving_one,
)

# It sends everything back, closes as a text asks it to, and keeps what it receives of a close.
CLIENT = """
const ws = new WebSocket(arguments[0]);
ws.binaryType = "arraybuffer";
window.received = null;
ws.onmessage = ({ data }) => {
  const close = typeof data === "string" && data.match(/^close (\\d+) (.*)$/);
  if (close) ws.close(Number(close[1]), close[2]);
  else ws.send(data);
};
ws.onclose = ({ code, reason, wasClean }) => { window.received = [code, reason, wasClean]; };
"""


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """A browser for all tests: it takes seconds to start."""
    folder = tmp_path_factory.mktemp("chromium")
    with browser_in(folder, "--ignore-certificate-errors") as chromium:
        yield chromium


def page(ws: Any, request: Any) -> Any:
    """Answer requests that are none for a WebSocket by a page."""
    return None if "Upgrade" in request.headers else ws.respond(200, "a page\n")


@contextlib.contextmanager
def connected(browser: Any, tls: Any = None, **options: Any) -> Iterator[Any]:
    """Open a page of our server, and a WebSocket in it; yield our end."""
    options |= {"max_size": None, "close_timeout": TIMEOUT}
    with serving_one(ssl=tls, process_request=page, **options) as (server, accepted):
        address = f"://127.0.0.1:{server.address[1]}/"
        natively(browser.get, f"http{'s' if tls else ''}{address}")
        natively(browser.execute_script, CLIENT, f"ws{'s' if tls else ''}{address}")
        yield accepted.get(timeout=TIMEOUT)


def received(browser: Any) -> Any:
    """Wait until the browser's end is closed; return code, reason, and whether that was clean."""
    with gevent.Timeout(TIMEOUT):
        while (closed := natively(browser.execute_script, "return window.received")) is None:
            gevent.sleep(0.01)
    return closed


@pytest.mark.deadline(60)
@pytest.mark.parametrize("tls", [False, True])
def test_messages(chromium: Any, certificates: Certificates, tls: bool) -> None:
    with connected(chromium, certificates[0] if tls else None) as ws:
        check_echo(ws, [*MESSAGES, *FRAGMENTED])
        assert ws.ping().wait(TIMEOUT)


@pytest.mark.deadline(60)
def test_compression(chromium: Any) -> None:
    """Each combination of what a server may ask for."""
    for settings in COMBINATIONS[::7]:
        factory = ServerPerMessageDeflateFactory(**settings)
        with connected(chromium, compression=None, extensions=[factory]) as ws:
            name, *parameters = ws.response.headers["Sec-WebSocket-Extensions"].split("; ")
            assert name == "permessage-deflate"
            assert set(parameters) == answer(**settings)
            check_echo(ws, [TEXT, "", TEXT[-300:]])


@pytest.mark.deadline(60)
@pytest.mark.parametrize(("code", "reason"), CLOSINGS, ids=lambda value: str(value)[:8])
def test_we_close(chromium: Any, code: int, reason: str) -> None:
    with connected(chromium) as ws:
        ws.close(code, reason)
        assert received(chromium) == [code, reason, True]
        assert (ws.close_code, ws.close_reason) == (code, reason)


@pytest.mark.deadline(60)
@pytest.mark.parametrize(
    # Others are not for pages.
    ("code", "reason"),
    [(code, reason) for code, reason in CLOSINGS if code == 1000 or code >= 3000],
    ids=lambda value: str(value)[:8],
)
def test_they_close(chromium: Any, code: int, reason: str) -> None:
    with connected(chromium) as ws:
        ws.send("last words")
        ws.send(f"close {code} {reason}")
        assert ws.recv(timeout=TIMEOUT) == "last words"
        with pytest.raises(geventws.ConnectionClosed) as caught:
            ws.recv(timeout=TIMEOUT)
        assert caught.value.rcvd == (code, reason)
        assert received(chromium) == [code, reason, True]
