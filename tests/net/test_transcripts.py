"""Whole logs of sessions, compared line by line, at DEBUG and at INFO."""

from __future__ import annotations

import contextlib
import logging
import re
import socket
from collections.abc import Callable, Iterator
from ssl import SSLCertVerificationError
from typing import Any

import gevent
import pytest
from gevent import GreenletExit
from gevent.event import Event

from geventws import InvalidStatus, Opcode, connect, serve
from geventws.testing import KEY, RawClient, RawServer
from tests.net.support import HOST, PATIENCE, client_tls, server_tls, until, uri_of

# What differs from run to run, and from version to version.
VARIABLE = [
    (re.compile(rf"{HOST}:\d+"), "HOST:PORT"),
    (re.compile(r"(Date|User-Agent|Server|Sec-WebSocket-Key|Sec-WebSocket-Accept): .*"), r"\1: *"),
    # Four random bytes, which may happen to be a text.
    (re.compile(r"(PING|PONG) (?!'beat').*"), r"\1 *"),
]


class Log(logging.Handler):
    """Records of one logger, as lines."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        for pattern, replacement in VARIABLE:
            text = pattern.sub(replacement, text)
        about = "ws" if hasattr(record, "websocket") else "--"
        line = f"{about} {record.levelname:5} {text}"
        if record.exc_info:
            exc: BaseException | None = record.exc_info[1]
            names = []
            while exc is not None:
                names.append(type(exc).__name__)
                exc = exc.__cause__
            line += f"  [{' <- '.join(names)}]"
        self.lines.append(line)


class Logs:
    """The logs of both sides."""

    def __init__(self, level: int) -> None:
        self.level = level
        self.server, self.client = Log(), Log()

    def check(self, side: str, expected: str) -> None:
        """Compare one side's log; at INFO, the lines of level DEBUG must be missing."""
        lines = [line.strip() for line in expected.strip().splitlines()]
        if self.level == logging.INFO:
            lines = [line for line in lines if not line.startswith("ws DEBUG")]
        log = getattr(self, side).lines
        assert "\n".join(log) == "\n".join(lines)


@pytest.fixture(params=[logging.DEBUG, logging.INFO], ids=["DEBUG", "INFO"])
def logs(request: pytest.FixtureRequest) -> Iterator[Logs]:
    """The logs of this test."""
    logs = Logs(request.param)
    loggers = {name: logging.getLogger(f"geventws.{name}") for name in ("server", "client")}
    for name, logger in loggers.items():
        logger.setLevel(request.param)
        logger.addHandler(getattr(logs, name))
    yield logs
    for name, logger in loggers.items():
        logger.setLevel(logging.NOTSET)
        logger.removeHandler(getattr(logs, name))


@contextlib.contextmanager
def serving(handler: Callable[[Any], object], **options: Any) -> Iterator[Any]:
    """A server that shuts down after all is over."""
    with serve(handler, HOST, 0, compression=None, **options) as server:
        yield server
        until(lambda: not server._roster.greenlets)


def connecting(server: Any, path: str = "", **options: Any) -> Any:
    return connect(uri_of(server) + path, compression=None, **options)


def receive(ws: Any) -> None:
    """A handler that is inside `recv` until the end."""
    ws.recv()


def forget(ws: Any) -> None:
    """A handler that does not mind how the connection ends."""
    ws.wait_closed()


# The opening handshake with a raw client, from the server's side.
OPENING = """
    ws DEBUG = connection is CONNECTING
    ws DEBUG < GET / HTTP/1.1
    ws DEBUG < Host: localhost
    ws DEBUG < Upgrade: websocket
    ws DEBUG < Connection: Upgrade
    ws DEBUG < Sec-WebSocket-Key: *
    ws DEBUG < Sec-WebSocket-Version: 13
    ws DEBUG > HTTP/1.1 101 Switching Protocols
    ws DEBUG > Date: *
    ws DEBUG > Upgrade: websocket
    ws DEBUG > Connection: Upgrade
    ws DEBUG > Sec-WebSocket-Accept: *
    ws DEBUG > Server: *
    ws DEBUG = connection is OPEN
    ws INFO  connection open
"""

STARTED = "-- INFO  server listening on HOST:PORT"
STOPPED = """
    -- INFO  server closing
    -- INFO  server closed
"""


def session(*parts: str) -> str:
    """A server's log of one connection."""
    return "\n".join([STARTED, *(part.strip() for part in parts), STOPPED.strip()])


def raw_session(handler: Callable[[Any], object], misbehave: Callable[..., Any], **options: Any):
    """Run a server whose raw client does what a function says; return once all is over."""
    seen = []

    def remember(ws: Any) -> None:
        seen.append(ws)
        handler(ws)

    with serving(remember, **options) as server:
        with RawClient(server.address) as peer:
            misbehave(peer)
            for ws in seen:
                assert ws.wait_closed(PATIENCE)


def test_normal_session(logs: Logs) -> None:
    def handler(ws: Any) -> None:
        assert ws.recv() == "hello"
        ws.send(b"\x00\xff\xfe")
        assert ws.recv() == "fragment"
        ws.send([b"\xff", b"\xfe"])
        assert list(ws) == []

    with serving(handler) as server:
        with connecting(server, "chat?x=1") as ws:
            ws.send("hello")
            assert ws.recv() == b"\x00\xff\xfe"
            assert ws.ping("beat").wait(PATIENCE)
            ws.send(["frag", "ment"])
            assert ws.recv() == b"\xff\xfe"
    logs.check(
        "server",
        session("""
        ws DEBUG = connection is CONNECTING
        ws DEBUG < GET /chat?x=1 HTTP/1.1
        ws DEBUG < Host: HOST:PORT
        ws DEBUG < Upgrade: websocket
        ws DEBUG < Connection: Upgrade
        ws DEBUG < Sec-WebSocket-Key: *
        ws DEBUG < Sec-WebSocket-Version: 13
        ws DEBUG < User-Agent: *
        ws DEBUG > HTTP/1.1 101 Switching Protocols
        ws DEBUG > Date: *
        ws DEBUG > Upgrade: websocket
        ws DEBUG > Connection: Upgrade
        ws DEBUG > Sec-WebSocket-Accept: *
        ws DEBUG > Server: *
        ws DEBUG = connection is OPEN
        ws INFO  connection open
        ws DEBUG < TEXT 'hello' [5 bytes]
        ws DEBUG > BINARY 00 ff fe [3 bytes]
        ws DEBUG < PING 'beat' [text, 4 bytes]
        ws DEBUG > PONG 'beat' [text, 4 bytes]
        ws DEBUG < TEXT 'frag' [4 bytes, continued]
        ws DEBUG < CONT 'ment' [text, 4 bytes, continued]
        ws DEBUG < CONT '' [0 bytes]
        ws DEBUG > BINARY ff [1 byte, continued]
        ws DEBUG > CONT fe [binary, 1 byte, continued]
        ws DEBUG > CONT '' [0 bytes]
        ws DEBUG < CLOSE 1000 (OK) [2 bytes]
        ws DEBUG > CLOSE 1000 (OK) [2 bytes]
        ws DEBUG = connection is CLOSING
        ws DEBUG > EOF
        ws DEBUG x half-closing TCP connection
        ws DEBUG = connection is CLOSED
        ws INFO  connection closed
        """),
    )
    logs.check(
        "client",
        """
        ws DEBUG = connection is CONNECTING
        ws DEBUG > GET /chat?x=1 HTTP/1.1
        ws DEBUG > Host: HOST:PORT
        ws DEBUG > Upgrade: websocket
        ws DEBUG > Connection: Upgrade
        ws DEBUG > Sec-WebSocket-Key: *
        ws DEBUG > Sec-WebSocket-Version: 13
        ws DEBUG > User-Agent: *
        ws DEBUG < HTTP/1.1 101 Switching Protocols
        ws DEBUG < Date: *
        ws DEBUG < Upgrade: websocket
        ws DEBUG < Connection: Upgrade
        ws DEBUG < Sec-WebSocket-Accept: *
        ws DEBUG < Server: *
        ws DEBUG = connection is OPEN
        ws DEBUG > TEXT 'hello' [5 bytes]
        ws DEBUG < BINARY 00 ff fe [3 bytes]
        ws DEBUG > PING 'beat' [text, 4 bytes]
        ws DEBUG < PONG 'beat' [text, 4 bytes]
        ws DEBUG > TEXT 'frag' [4 bytes, continued]
        ws DEBUG > CONT 'ment' [text, 4 bytes, continued]
        ws DEBUG > CONT '' [0 bytes]
        ws DEBUG < BINARY ff [1 byte, continued]
        ws DEBUG < CONT fe [binary, 1 byte, continued]
        ws DEBUG < CONT '' [0 bytes]
        ws DEBUG > CLOSE 1000 (OK) [2 bytes]
        ws DEBUG = connection is CLOSING
        ws DEBUG < CLOSE 1000 (OK) [2 bytes]
        ws DEBUG > EOF
        ws DEBUG x half-closing TCP connection
        ws DEBUG = connection is CLOSED
        """,
    )


def close_politely(peer: RawClient) -> None:
    """Answer the server's close frame, then wait for the end of TCP."""
    frame = peer.recv_close()
    assert frame is not None
    peer.send_frame(Opcode.CLOSE, frame.data)
    assert peer.recv_eof()
    peer.close()


def test_handler_crash(logs: Logs) -> None:
    # The traceback comes before the closing handshake, which may take `close_timeout`.
    def handler(ws: Any) -> None:
        raise RuntimeError("oops")

    raw_session(handler, close_politely)
    logs.check(
        "server",
        session(
            OPENING,
            """
        ws ERROR connection handler failed  [RuntimeError]
        ws DEBUG > CLOSE 1011 (internal error) [2 bytes]
        ws DEBUG = connection is CLOSING
        ws DEBUG < CLOSE 1011 (internal error) [2 bytes]
        ws DEBUG > EOF
        ws DEBUG x half-closing TCP connection
        ws DEBUG = connection is CLOSED
        ws INFO  connection closed
        """,
        ),
    )


def test_handler_killed(logs: Logs) -> None:
    def handler(ws: Any) -> None:
        raise GreenletExit

    raw_session(handler, close_politely)
    logs.check(
        "server",
        session(
            OPENING,
            """
        ws DEBUG > CLOSE 1001 (going away) [2 bytes]
        ws DEBUG = connection is CLOSING
        ws DEBUG < CLOSE 1001 (going away) [2 bytes]
        ws DEBUG > EOF
        ws DEBUG x half-closing TCP connection
        ws DEBUG = connection is CLOSED
        ws INFO  connection closed
        """,
        ),
    )


def refused(logs: Logs, request: bytes, **options: Any) -> tuple[str, str]:
    """Send a request that is not accepted; return the log's text of request and response."""
    with serving(receive, **options) as server, RawClient(server.address, open=False) as peer:
        peer.send_bytes(request)
        response = peer.recv_response()
        assert peer.recv_eof()
    lines = request.decode().split("\r\n")[:-2]
    received = [f"ws DEBUG < {line}" for line in lines]
    lines = [f"HTTP/1.1 {response.status_code} {response.reason_phrase}"]
    lines += [f"{name}: {value}" for name, value in response.headers.raw_items()]
    lines += [f"[body] ({len(response.body)} bytes)"]
    sent = [f"ws DEBUG > {line}" for line in lines]
    texts = "\n".join(received), "\n".join(sent)
    for pattern, replacement in VARIABLE:
        texts = pattern.sub(replacement, texts[0]), pattern.sub(replacement, texts[1])
    return texts


@pytest.mark.parametrize(
    "request_bytes, options, why, status",
    [
        (
            b"POST / HTTP/1.1\r\nHost: x\r\n\r\n",
            {},
            "invalid method  [InvalidMethod]",
            "405 Method Not Allowed",
        ),
        (
            RawClient.request().replace(KEY.encode(), b"Zm9v"),
            {},
            "invalid handshake  [InvalidHeaderValue]",
            "400 Bad Request",
        ),
        (
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            {},
            "invalid upgrade  [InvalidUpgrade]",
            "426 Upgrade Required",
        ),
        (
            RawClient.request([("Origin", "https://evil")]),
            {"origins": ["https://good"]},
            "invalid origin  [InvalidOrigin]",
            "403 Forbidden",
        ),
    ],
    ids=["405", "400", "426", "403"],
)
def test_refused_handshake(
    logs: Logs, request_bytes: bytes, options: dict[str, Any], why: str, status: str
) -> None:
    received, sent = refused(logs, request_bytes, **options)
    logs.check(
        "server",
        session(
            "ws DEBUG = connection is CONNECTING",
            received,
            f"ws DEBUG ! {why}",
            sent,
            f"""
        ws INFO  connection rejected ({status})
        ws DEBUG > EOF
        ws DEBUG x half-closing TCP connection
        ws DEBUG = connection is CLOSED
        ws INFO  connection closed
        """,
        ),
    )


def test_malformed_head(logs: Logs) -> None:
    # There is no request to show, only what is wrong with it.
    _, sent = refused(logs, b"GET / HTTP/1.1\r\nHost : x\r\n\r\n")
    logs.check(
        "server",
        session(
            "ws DEBUG = connection is CONNECTING",
            "ws DEBUG ! no valid HTTP request  [InvalidMessage <- ValueError]",
            sent,
            """
        ws INFO  connection rejected (400 Bad Request)
        ws DEBUG > EOF
        ws DEBUG x half-closing TCP connection
        ws DEBUG = connection is CLOSED
        ws INFO  connection closed
        """,
        ),
    )


def test_response_of_process_request(logs: Logs) -> None:
    received, sent = refused(
        logs, RawClient.request(), process_request=lambda ws, request: ws.respond(200, "OK\n")
    )
    logs.check(
        "server",
        session(
            "ws DEBUG = connection is CONNECTING",
            received,
            sent,
            """
        ws INFO  HTTP response sent (200 OK)
        ws DEBUG > EOF
        ws DEBUG x half-closing TCP connection
        ws DEBUG = connection is CLOSED
        ws INFO  connection closed
        """,
        ),
    )


def test_crash_in_process_request(logs: Logs) -> None:
    def process_request(ws: Any, request: Any) -> None:
        raise RuntimeError("oops")

    received, sent = refused(logs, RawClient.request(), process_request=process_request)
    logs.check(
        "server",
        session(
            "ws DEBUG = connection is CONNECTING",
            received,
            "ws ERROR process_request failed  [RuntimeError]",
            sent,
            """
        ws INFO  connection rejected (500 Internal Server Error)
        ws DEBUG > EOF
        ws DEBUG x half-closing TCP connection
        ws DEBUG = connection is CLOSED
        ws INFO  connection closed
        """,
        ),
    )


def test_client_refused(logs: Logs) -> None:
    # The client tells it by an exception: nothing above DEBUG.
    with RawServer() as server:
        client = gevent.spawn(connect, server.uri, compression=None)
        with server.accept(open=False) as peer:
            server.recv_request(peer)
            peer.send_bytes(b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnope")
            with pytest.raises(InvalidStatus):
                client.get()
    logs.check(
        "client",
        """
        ws DEBUG = connection is CONNECTING
        ws DEBUG > GET / HTTP/1.1
        ws DEBUG > Host: HOST:PORT
        ws DEBUG > Upgrade: websocket
        ws DEBUG > Connection: Upgrade
        ws DEBUG > Sec-WebSocket-Key: *
        ws DEBUG > Sec-WebSocket-Version: 13
        ws DEBUG > User-Agent: *
        ws DEBUG < HTTP/1.1 404 Not Found
        ws DEBUG < Content-Length: 4
        ws DEBUG < [body] (4 bytes)
        ws DEBUG > EOF
        ws DEBUG x half-closing TCP connection
        ws DEBUG = connection is CLOSED
        """,
    )


LOST = "ws ERROR connection handler failed  [ConnectionClosedError"


def test_tcp_reset(logs: Logs) -> None:
    raw_session(receive, RawClient.reset)
    logs.check(
        "server",
        session(
            OPENING,
            f"""
        ws DEBUG ! error while receiving data  [ConnectionResetError]
        ws DEBUG < EOF
        ws DEBUG > EOF
        ws DEBUG x half-closing TCP connection
        ws DEBUG = connection is CLOSED
        ws INFO  connection closed
        {LOST} <- ConnectionResetError]
        """,
        ),
    )


def test_tcp_reset_that_a_send_notices(logs: Logs) -> None:
    peers: list[RawClient] = []
    ready = Event()

    def handler(ws: Any) -> None:
        ready.wait()
        sock = peers[0].sock
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        # Without the hub in between, as gevent's own `close` would have it.
        sock._sock.close()
        ws.send("hello")

    def misbehave(peer: RawClient) -> None:
        peers.append(peer)
        ready.set()

    raw_session(handler, misbehave)
    logs.check(
        "server",
        session(
            OPENING,
            f"""
        ws DEBUG > TEXT 'hello' [5 bytes]
        ws DEBUG ! error while sending data  [ConnectionResetError]
        ws DEBUG = connection is CLOSED
        ws INFO  connection closed
        {LOST} <- ConnectionResetError]
        """,
        ),
    )


def test_end_of_stream_without_close_frame(logs: Logs) -> None:
    raw_session(receive, RawClient.close)
    logs.check(
        "server",
        session(
            OPENING,
            f"""
        ws DEBUG < EOF
        ws DEBUG > EOF
        ws DEBUG x half-closing TCP connection
        ws DEBUG = connection is CLOSED
        ws INFO  connection closed
        {LOST} <- EOFError]
        """,
        ),
    )


def test_handler_that_catches_the_loss_logs_no_error(logs: Logs) -> None:
    raw_session(forget, RawClient.close)
    logs.check(
        "server",
        session(
            OPENING,
            """
        ws DEBUG < EOF
        ws DEBUG > EOF
        ws DEBUG x half-closing TCP connection
        ws DEBUG = connection is CLOSED
        ws INFO  connection closed
        """,
        ),
    )


def test_end_of_stream_inside_a_frame(logs: Logs) -> None:
    def misbehave(peer: RawClient) -> None:
        peer.send_bytes(peer.frame(Opcode.TEXT, b"hello")[:8])
        peer.close()

    raw_session(receive, misbehave)
    logs.check(
        "server",
        session(
            OPENING,
            f"""
        ws DEBUG > EOF
        ws DEBUG x half-closing TCP connection
        ws DEBUG = connection is CLOSED
        ws INFO  connection closed
        {LOST} <- EOFError]
        """,
        ),
    )


def test_protocol_error(logs: Logs) -> None:
    def misbehave(peer: RawClient) -> None:
        peer.send_frame(Opcode.TEXT, b"hello", mask=False)
        assert peer.recv_close() is not None
        peer.close()

    raw_session(receive, misbehave)
    logs.check(
        "server",
        session(
            OPENING,
            f"""
        ws DEBUG > CLOSE 1002 (protocol error) incorrect masking [19 bytes]
        ws DEBUG = connection is CLOSING
        ws DEBUG > EOF
        ws DEBUG x half-closing TCP connection
        ws DEBUG = connection is CLOSED
        ws INFO  connection closed
        {LOST} <- ProtocolError]
        """,
        ),
    )


def test_keepalive(logs: Logs) -> None:
    def misbehave(peer: RawClient) -> None:
        ping = peer.recv_frame()
        assert ping is not None and ping.opcode is Opcode.PING
        peer.send_frame(Opcode.PONG, ping.data)
        # No pong for the second one.
        assert peer.recv_close() is not None
        peer.close()

    raw_session(receive, misbehave, ping_interval=0.5, ping_timeout=0.5)
    logs.check(
        "server",
        session(
            OPENING,
            f"""
        ws DEBUG > PING *
        ws DEBUG % sent keepalive ping
        ws DEBUG < PONG *
        ws DEBUG % received keepalive pong
        ws DEBUG > PING *
        ws DEBUG % sent keepalive ping
        ws DEBUG - timed out waiting for keepalive pong
        ws DEBUG > CLOSE 1011 (internal error) keepalive ping timeout [24 bytes]
        ws DEBUG = connection is CLOSING
        ws DEBUG > EOF
        ws DEBUG x half-closing TCP connection
        ws DEBUG = connection is CLOSED
        ws INFO  connection closed
        {LOST}]
        """,
        ),
    )


def test_close_timeout(logs: Logs) -> None:
    def ignore_close(peer: RawClient) -> None:
        assert peer.recv_close() is not None
        peer.recv_eof()

    raw_session(lambda ws: None, ignore_close, close_timeout=0.1)
    logs.check(
        "server",
        session(
            OPENING,
            """
        ws DEBUG > CLOSE 1000 (OK) [2 bytes]
        ws DEBUG = connection is CLOSING
        ws DEBUG - timed out while closing connection
        ws DEBUG = connection is CLOSED
        ws INFO  connection closed
        """,
        ),
    )


@pytest.mark.parametrize(
    "data, tls, why",
    [
        (b"GET / HTTP/1.1\r\n", False, "- timed out waiting for handshake request"),
        (b"", True, "- timed out waiting for TLS handshake"),
        (b"\x00\x01\x02", False, "! no valid HTTP request  [InvalidMessage <- ValueError]"),
        (b"PRI * HTTP/2.0\r\n", False, "! no valid HTTP request  [InvalidMessage <- ValueError]"),
        (RawClient.request(), True, "! TLS handshake failed  [SSLError]"),
    ],
    ids=["stalled HTTP", "stalled TLS", "garbage", "HTTP/2", "HTTP on the TLS port"],
)
def test_no_request(logs: Logs, data: bytes, tls: bool, why: str) -> None:
    # No answer, no line above DEBUG except that the connection is over.
    open_timeout = 0.1 if "timed out" in why else 10
    ssl = server_tls() if tls else None
    with serving(receive, open_timeout=open_timeout, ssl=ssl) as server:
        with RawClient(server.address, open=False) as peer:
            peer.send_bytes(data)
            peer.recv_eof()
    logs.check(
        "server",
        session(f"""
        ws DEBUG = connection is CONNECTING
        ws DEBUG {why}
        ws DEBUG > EOF
        ws DEBUG x {"" if tls else "half-"}closing TCP connection
        ws DEBUG = connection is CLOSED
        ws INFO  connection closed
        """),
    )


@pytest.mark.parametrize(
    "data, why",
    [
        (b"", "! no valid HTTP request  [EOFError]"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n", "! no valid HTTP request  [EOFError]"),
    ],
    ids=["port scan", "half a head"],
)
def test_end_of_stream_instead_of_a_request(logs: Logs, data: bytes, why: str) -> None:
    with serving(receive) as server:
        with RawClient(server.address, open=False) as peer:
            peer.send_bytes(data)
            peer.sock.shutdown(1)
            assert peer.recv_eof()
    logs.check(
        "server",
        session(f"""
        ws DEBUG = connection is CONNECTING
        ws DEBUG {why}
        ws DEBUG > EOF
        ws DEBUG x half-closing TCP connection
        ws DEBUG = connection is CLOSED
        ws INFO  connection closed
        """),
    )


def test_tls_session(logs: Logs) -> None:
    with serving(forget, ssl=server_tls()) as server:
        with connect(uri_of(server, "wss"), ssl=client_tls(), compression=None) as ws:
            pass
    ending = """
        ws DEBUG > EOF
        ws DEBUG x closing TCP connection
        ws DEBUG = connection is CLOSED
    """
    if logs.level == logging.DEBUG:
        assert ws.close_code == 1000
        assert logs.client.lines[-3:] == [line.strip() for line in ending.strip().splitlines()]
        assert logs.server.lines[-6:-3] == logs.client.lines[-3:]
    else:
        assert logs.client.lines == []


def test_client_that_does_not_trust_the_server(logs: Logs) -> None:
    with serving(receive, ssl=server_tls()) as server:
        with pytest.raises(SSLCertVerificationError):
            connect(uri_of(server, "wss"), compression=None)
    logs.check(
        "client",
        """
        ws DEBUG = connection is CONNECTING
        ws DEBUG > EOF
        ws DEBUG x closing TCP connection
        ws DEBUG = connection is CLOSED
        """,
    )
    logs.check(
        "server",
        session("""
        ws DEBUG = connection is CONNECTING
        ws DEBUG ! TLS handshake failed  [SSLError]
        ws DEBUG > EOF
        ws DEBUG x closing TCP connection
        ws DEBUG = connection is CLOSED
        ws INFO  connection closed
        """),
    )


def test_shutdown(logs: Logs) -> None:
    with serving(forget) as server:
        with RawClient(server.address) as open_one, RawClient(server.address, open=False) as late:
            until(
                lambda: (
                    len(server._roster.greenlets) == 2
                    and None not in server._roster.greenlets.values()
                )
            )
            stopping = gevent.spawn(server.shutdown)
            assert late.recv_response().status_code == 503
            close_politely(open_one)
            stopping.join(PATIENCE)
            assert stopping.dead
        # Only the first says so.
        server.shutdown()
    logs.check(
        "server",
        f"""
        {STARTED}
        {OPENING.strip()}
        -- INFO  server closing
        ws DEBUG > CLOSE 1001 (going away) [2 bytes]
        ws DEBUG = connection is CLOSING
        ws DEBUG = connection is CONNECTING
        ws DEBUG > HTTP/1.1 503 Service Unavailable
        ws DEBUG > Date: *
        ws DEBUG > Connection: close
        ws DEBUG > Content-Length: 25
        ws DEBUG > Content-Type: text/plain; charset=utf-8
        ws DEBUG > Server: *
        ws DEBUG > [body] (25 bytes)
        ws INFO  connection rejected (503 Service Unavailable)
        ws DEBUG > EOF
        ws DEBUG x half-closing TCP connection
        ws DEBUG = connection is CLOSED
        ws INFO  connection closed
        ws DEBUG < CLOSE 1001 (going away) [2 bytes]
        ws DEBUG > EOF
        ws DEBUG x half-closing TCP connection
        ws DEBUG = connection is CLOSED
        ws INFO  connection closed
        -- INFO  1 connection closed with 1001, 1 handshake answered with 503
        -- INFO  server closed
        """,
    )
