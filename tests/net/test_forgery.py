"""Nothing that a peer says can forge a line of the log, or command the terminal that shows it."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from typing import Any

import gevent
import pytest

from geventws import ConnectionClosed, InvalidHandshake, Opcode, connect
from geventws.testing import KEY, RawClient, RawServer
from tests.net.support import PATIENCE, serving

# Line ends, a terminal's commands in 7 and 8 bits, what turns the direction of writing.
EVIL_BYTES = b"x\x85FORGED \x9b31m\t\xe2\x80\xa8"
EVIL_TEXT = "x\nFORGED \x1b[31m \x9b31m \x85 \u2028 \u202e\r"


class Log:
    """What a log file would get, tracebacks included."""

    def __init__(self) -> None:
        self.stream = io.StringIO()

    def check(self, *shown: str) -> None:
        """Check that it has all that was said, and on lines of its own making."""
        text = self.stream.getvalue()
        for part in shown:
            assert part in text, f"{part!r} is not in the log:\n{text}"
        # Split at "\n" alone: what `splitlines` splits at besides must not be there.
        for line in text.split("\n"):
            assert line.isprintable(), repr(line)
            assert not line.startswith("FORGED")


@pytest.fixture
def log() -> Iterator[Log]:
    """The log of both sides, at DEBUG."""
    log = Log()
    logger = logging.getLogger("geventws")
    handler = logging.StreamHandler(log.stream)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield log
    logger.setLevel(level)
    logger.removeHandler(handler)


def ask(request: bytes, **options: Any) -> None:
    """Send a server a request."""
    with serving(lambda ws: ws.recv(), **options) as server:
        with RawClient(server.address, open=False) as peer:
            peer.send_bytes(request)
            peer.sock.recv(10_000)


def valid(*lines: bytes) -> bytes:
    """A valid request with these header lines in front of the usual ones."""
    first, rest = RawClient.request().split(b"\r\n", 1)
    return b"\r\n".join([first, *lines, rest])


@pytest.mark.parametrize(
    ("request_bytes", "options"),
    [
        (b"GET /" + EVIL_BYTES + b" HTTP/1.1\r\nHost: x\r\n\r\n", {}),
        (valid(b"X-Evil: " + EVIL_BYTES), {}),
        (valid(b"Origin: " + EVIL_BYTES), {"origins": ["https://good"]}),
        (valid(b"Connection: " + EVIL_BYTES), {}),
        (valid(b"Sec-WebSocket-Extensions: " + EVIL_BYTES), {}),
        (RawClient.request().replace(KEY.encode(), EVIL_BYTES), {}),
        (RawClient.request().replace(b"localhost", EVIL_BYTES), {}),
        (EVIL_BYTES + b"\r\n\r\n", {}),
    ],
    ids=["path", "header", "origin", "list", "extension", "key", "host", "no HTTP"],
)
def test_requests(log: Log, request_bytes: bytes, options: dict[str, Any]) -> None:
    ask(request_bytes, **options)
    log.check("connection closed")


@pytest.mark.parametrize(
    "line",
    [b"HTTP/1.1 404 " + EVIL_BYTES, b"HTTP/1.1 404 No\r\nX-Evil: " + EVIL_BYTES, EVIL_BYTES],
    ids=["reason", "header", "no HTTP"],
)
def test_responses(log: Log, line: bytes) -> None:
    with RawServer() as server:
        opening = gevent.spawn(connect, server.uri)
        with server.accept(open=False) as peer:
            server.recv_request(peer)
            peer.send_bytes(line + b"\r\n\r\n")
        with pytest.raises(InvalidHandshake) as info:
            opening.get(timeout=PATIENCE)
    # What is told to the application may end in a log, too.
    assert str(info.value).isprintable() and str(info.value.__cause__).isprintable()
    log.check("= connection is CLOSED")


@pytest.mark.parametrize("location", [b"http://x/", b"ws://x/", b"//[", b""])
def test_redirects(log: Log, location: bytes) -> None:
    with RawServer() as server:
        opening = gevent.spawn(connect, server.uri)
        with server.accept(open=False) as peer:
            server.recv_request(peer)
            head = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: %s\r\n\r\n"
            peer.send_bytes(head % (location + EVIL_BYTES))
        with pytest.raises(Exception) as info:
            opening.get(timeout=PATIENCE)
    assert str(info.value).isprintable()
    log.check("= connection is CLOSED")


@pytest.mark.parametrize("opcode", [Opcode.TEXT, Opcode.BINARY, Opcode.PING, Opcode.PONG])
def test_payloads(log: Log, opcode: Opcode) -> None:
    with serving(lambda ws: ws.recv()) as server, RawClient(server.address) as peer:
        peer.send_frame(opcode, EVIL_TEXT.encode())
        peer.send_frame(opcode, b"plain\nFORGED")
        peer.send_frame(Opcode.CLOSE)
        peer.recv_eof()
    log.check(f"< {opcode.name}")


def test_close_reasons(log: Log) -> None:
    seen: list[ConnectionClosed] = []

    def handler(ws: Any) -> None:
        try:
            ws.recv()
        except ConnectionClosed as exc:
            seen.append(exc)
            raise

    with serving(handler) as server, RawClient(server.address) as peer:
        peer.send_frame(Opcode.CLOSE, b"\x0f\xa0" + EVIL_TEXT.encode())
        peer.recv_eof()
    (exc,) = seen
    # The application gets it as it was sent.
    assert exc.reason == EVIL_TEXT
    assert str(exc).isprintable()
    log.check("< CLOSE 4000 (private use) x\\nFORGED", "connection handler failed", f"{exc}")
