"""Exceptions: their texts, their tree, and what they carry."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import websockets.exceptions
import websockets.frames

import geventws
from geventws.core import exceptions
from geventws.core.exceptions import ConnectionClosed, ConnectionClosedError, PayloadTooBig
from geventws.core.frames import Close
from geventws.core.headers import Headers
from geventws.core.http11 import Response

REJECTION = Response(404, "Not Found", Headers())

# Names of exceptions, arguments that mean the same to websockets, and the text.
TEXTS: list[tuple[str, tuple[Any, ...], str]] = [
    ("WebSocketException", ("anything",), "anything"),
    ("InvalidURI", ("http://x", "scheme"), "http://x isn't a valid URI: scheme"),
    ("InvalidProxy", ("ftp://x", "scheme"), "ftp://x isn't a valid proxy: scheme"),
    ("InvalidHandshake", ("anything",), "anything"),
    ("SecurityError", ("anything",), "anything"),
    ("RequestLineTooLong", ("anything",), "anything"),
    ("StatusLineTooLong", ("anything",), "anything"),
    ("HeaderLineTooLong", ("anything",), "anything"),
    ("TooManyHeaders", ("anything",), "anything"),
    ("ProxyError", ("anything",), "anything"),
    ("InvalidProxyMessage", ("anything",), "anything"),
    ("InvalidProxyStatus", (REJECTION,), "proxy rejected connection: HTTP 404"),
    ("InvalidMessage", ("anything",), "anything"),
    ("InvalidMethod", ("POST",), "unsupported HTTP method: POST"),
    ("InvalidProtocol", ("HTTP/1.0",), "unsupported HTTP version: HTTP/1.0"),
    ("InvalidStatus", (REJECTION,), "server rejected WebSocket connection: HTTP 404"),
    ("InvalidHeader", ("Name",), "missing Name header"),
    ("InvalidHeader", ("Name", None), "missing Name header"),
    ("InvalidHeader", ("Name", ""), "empty Name header"),
    ("InvalidHeader", ("Name", "value"), "invalid Name header: value"),
    (
        "InvalidHeaderFormat",
        ("Name", "expected token", "a=|", 3),
        "invalid Name header: expected token at 3 in a=|",
    ),
    ("InvalidHeaderValue", ("Name", "value"), "invalid Name header: value"),
    ("InvalidOrigin", (None,), "missing Origin header"),
    ("InvalidOrigin", ("",), "empty Origin header"),
    ("InvalidOrigin", ("http://x",), "invalid Origin header: http://x"),
    ("InvalidUpgrade", ("Upgrade", "h2c"), "invalid Upgrade header: h2c"),
    ("InvalidUpgrade", ("Connection", None), "missing Connection header"),
    ("NegotiationError", ("anything",), "anything"),
    ("DuplicateParameter", ("a",), "duplicate parameter: a"),
    ("InvalidParameterName", ("a",), "invalid parameter name: a"),
    ("InvalidParameterValue", ("a", None), "missing value for parameter a"),
    ("InvalidParameterValue", ("a", ""), "empty value for parameter a"),
    ("InvalidParameterValue", ("a", "1"), "invalid value for parameter a: 1"),
    ("ProtocolError", ("invalid opcode",), "invalid opcode"),
    ("PayloadTooBig", (600, 500), "frame with 600 bytes exceeds limit of 500 bytes"),
    ("PayloadTooBig", (None, 500), "frame exceeds limit of 500 bytes"),
    ("TooManyFragments", (8,), "fragmented message exceeds limit of 8 frames"),
    ("InvalidState", ("connection is closing",), "connection is closing"),
    ("ConcurrencyError", ("anything",), "anything"),
]


@pytest.mark.parametrize(("name", "args", "text"), TEXTS)
def test_texts_are_those_of_websockets(name: str, args: tuple[Any, ...], text: str) -> None:
    assert str(getattr(exceptions, name)(*args)) == text
    assert str(getattr(websockets.exceptions, name)(*args)) == text


def test_every_exception_has_its_text_tested() -> None:
    closed = {"ConnectionClosed", "ConnectionClosedError", "ConnectionClosedOK"}
    assert {name for name, _, _ in TEXTS} | closed == set(exceptions.__all__)


@pytest.mark.parametrize("name", exceptions.__all__)
def test_the_tree_is_that_of_websockets(name: str) -> None:
    ours, theirs = getattr(exceptions, name), getattr(websockets.exceptions, name)
    assert [cls.__name__ for cls in ours.__mro__] == [cls.__name__ for cls in theirs.__mro__]
    assert getattr(geventws, name) is ours


def test_the_tree_is_drawn_in_the_docstring() -> None:
    tree = exceptions.__doc__ or ""
    for name in exceptions.__all__:
        assert f" {name}" in tree or f"    {name}\n" in tree


@pytest.mark.parametrize(("name", "args", "text"), TEXTS)
def test_exceptions_travel_between_processes(name: str, args: tuple[Any, ...], text: str) -> None:
    exc = getattr(exceptions, name)(*args)
    for other in (pickle.loads(pickle.dumps(exc)), copy.copy(exc)):
        assert type(other) is type(exc)
        assert str(other) == text


def test_too_big_after_fragments_names_the_limit_of_the_message() -> None:
    exc = PayloadTooBig(600, 1000, 600)
    assert str(exc) == "frame with 600 bytes after reading 600 bytes exceeds limit of 1000 bytes"
    assert (exc.size, exc.max_size, exc.current_size) == (600, 1000, 600)
    # websockets counts its limit from where the frame begins.
    assert str(websockets.exceptions.PayloadTooBig(600, 400, 600)) == str(exc)
    exc = PayloadTooBig(None, 1000, 600)
    assert str(exc) == "frame after reading 600 bytes exceeds limit of 1000 bytes"


OK, CRASH = Close(1000, ""), Close(1011, "keepalive ping timeout")

CLOSED: list[tuple[Close | None, Close | None, bool | None, str]] = [
    (None, None, None, "no close frame received or sent"),
    (OK, None, None, "received 1000 (OK); no close frame sent"),
    (
        None,
        CRASH,
        None,
        "sent 1011 (internal error) keepalive ping timeout; no close frame received",
    ),
    (OK, OK, True, "received 1000 (OK); then sent 1000 (OK)"),
    (OK, Close(1001, ""), False, "sent 1001 (going away); then received 1000 (OK)"),
    (
        Close(4000, "done"),
        Close(3000, ""),
        True,
        "received 4000 (private use) done; then sent 3000 (registered)",
    ),
    (
        Close(1005, ""),
        Close(1005, ""),
        False,
        "sent 1005 (no status received [internal]); "
        "then received 1005 (no status received [internal])",
    ),
]


def theirs(close: Close | None) -> Any:
    """The same for websockets."""
    return close and websockets.frames.Close(*close)


@pytest.mark.parametrize(("rcvd", "sent", "rcvd_then_sent", "text"), CLOSED)
def test_connection_closed_says_who_sent_what_in_which_order(
    rcvd: Close | None, sent: Close | None, rcvd_then_sent: bool | None, text: str
) -> None:
    exc = ConnectionClosedError(rcvd, sent, rcvd_then_sent)
    assert str(exc) == text
    assert (exc.rcvd, exc.sent, exc.rcvd_then_sent) == (rcvd, sent, rcvd_then_sent)
    model = websockets.exceptions.ConnectionClosedError(theirs(rcvd), theirs(sent), rcvd_then_sent)
    assert str(model) == text
    assert str(pickle.loads(pickle.dumps(exc))) == text


def test_connection_closed_has_the_code_and_reason_received() -> None:
    exc = ConnectionClosed(Close(4000, "done"), CRASH, True)
    assert (exc.code, exc.reason) == (4000, "done")
    # 7.1.5 and 7.1.6: nothing received is code 1006 and no reason, whatever was sent.
    exc = ConnectionClosed(None, CRASH)
    assert (exc.code, exc.reason, exc.rcvd_then_sent) == (1006, "", None)
