"""Nothing that a peer says can forge a line of the log, or command the terminal that shows it."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator
from typing import Any

import gevent
import pytest

from geventws import ConnectionClosed, InvalidHandshake, Opcode, ProxyError, connect
from geventws.testing import KEY, RawClient, RawServer
from tests.errors import check_error
from tests.net.support import HOST, PATIENCE, serving

# Line ends, a terminal's commands, what turns the direction of writing: in 8 bits, which headers
# may have, and in 7.
EVIL_BYTES = b"x\x85FORGED \x9b31m\t\xe2\x80\xa8"
EVIL_CONTROLS = b"x\rFORGED \x1b[31m\x7f\x08"
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
        (b"GET /" + EVIL_CONTROLS + b" HTTP/1.1\r\nHost: x\r\n\r\n", {}),
        (valid(b"X-Evil: " + EVIL_CONTROLS), {}),
        (valid(b"X-Evil: " + EVIL_BYTES), {}),
        (valid(b"Origin: " + EVIL_BYTES), {"origins": ["https://good"]}),
        (valid(b"Connection: " + EVIL_BYTES), {}),
        (valid(b"Sec-WebSocket-Extensions: " + EVIL_BYTES), {}),
        (RawClient.request().replace(KEY.encode(), EVIL_BYTES), {}),
        (RawClient.request().replace(b"localhost", EVIL_BYTES), {}),
        (EVIL_BYTES + b"\r\n\r\n", {}),
    ],
    ids=[
        "path",
        "path in 7 bits",
        "header in 7 bits",
        "header",
        "origin",
        "list",
        "extension",
        "key",
        "host",
        "no HTTP",
    ],
)
def test_requests(log: Log, request_bytes: bytes, options: dict[str, Any]) -> None:
    ask(request_bytes, **options)
    log.check("connection closed")


# Heads of responses; b"%s" stands for what is evil.
HEADS = {
    "reason": b"HTTP/1.1 404 %s",
    "header": b"HTTP/1.1 404 No\r\nX-Evil: %s",
    "length": b"HTTP/1.1 404 No\r\nContent-Length: %s",
    "lengths": b"HTTP/1.1 404 No\r\nContent-Length: 1\r\nContent-Length: %s",
    "coding": b"HTTP/1.1 404 No\r\nTransfer-Encoding: %s",
    "chunk": b"HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\n%s",
    "no HTTP": b"%s",
}
evil = pytest.mark.parametrize("evil", [EVIL_BYTES, EVIL_CONTROLS], ids=["8 bits", "7 bits"])


@evil
@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_responses(log: Log, head: bytes, evil: bytes) -> None:
    with RawServer() as server:
        opening = gevent.spawn(connect, server.uri)
        with server.accept(open=False) as peer:
            server.recv_request(peer)
            peer.send_bytes(head % evil + b"\r\n\r\n")
        with pytest.raises(InvalidHandshake) as info:
            opening.get(timeout=PATIENCE)
    check_error(info.value)
    log.check("= connection is CLOSED")


@evil
@pytest.mark.parametrize("name", [b"Upgrade", b"Connection", b"Accept", b"Protocol", b"Extensions"])
def test_responses_that_accept(log: Log, name: bytes, evil: bytes) -> None:
    with RawServer() as server:
        opening = gevent.spawn(connect, server.uri, subprotocols=["b"])
        with server.accept(open=False) as peer:
            offered = [("Sec-WebSocket-Protocol", "a"), ("Sec-WebSocket-Extensions", "a")]
            response = server.response(server.recv_request(peer), offered)
            peer.send_bytes(re.sub(rb"(?<=%s: )[^\r]*" % name, lambda _: evil, response))
        with pytest.raises(InvalidHandshake) as info:
            opening.get(timeout=PATIENCE)
    check_error(info.value)
    log.check("= connection is CLOSED")


@evil
@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_responses_of_a_proxy(log: Log, head: bytes, evil: bytes) -> None:
    with RawServer() as proxy:
        uri = f"http://{HOST}:{proxy.address[1]}"
        opening = gevent.spawn(connect, "ws://example.com/", proxy=uri)
        with proxy.accept(open=False) as peer:
            peer.sock.recv(65536)
            peer.send_bytes(head % evil + b"\r\n\r\n")
        with pytest.raises(ProxyError) as info:
            opening.get(timeout=PATIENCE)
    check_error(info.value)
    log.check()


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
    check_error(info.value)
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
