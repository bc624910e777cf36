"""Clients: opening connections, and every way in which that fails."""

from __future__ import annotations

import base64
import functools
import gc
import inspect
import pathlib
import socket
import ssl
import sys
import time
from collections.abc import Callable
from typing import Any

import gevent
import gevent.socket
import pytest
from gevent.event import Event

from geventws import (
    ClientConnection,
    ConnectionClosedOK,
    Headers,
    InvalidHandshake,
    InvalidHeader,
    InvalidHeaderValue,
    InvalidMessage,
    InvalidStatus,
    InvalidUpgrade,
    InvalidURI,
    NegotiationError,
    Opcode,
    SecurityError,
    State,
    connect,
    unix_connect,
)
from geventws.core.exceptions import HeaderLineTooLong, StatusLineTooLong, TooManyHeaders
from geventws.core.grammar import accept_key
from geventws.core.http11 import USER_AGENT, Request
from geventws.testing import RawPeer, RawServer
from tests.net.support import (
    HOST,
    PATIENCE,
    authority,
    client_tls,
    echo,
    server_tls,
    serving,
    until,
    uri_of,
)

# What servers answer.

OK = "HTTP/1.1 101 Switching Protocols\r\n"


def answering(
    answer: bytes | Callable[[RawServer, Request], bytes], eof: bool = False, **options: Any
) -> None:
    """Connect to a server that gives this answer, and perhaps closes then."""
    with RawServer() as server:
        opening = gevent.spawn(connect, server.uri, **options)
        with server.accept(open=False) as peer:
            request = server.recv_request(peer)
            peer.send_bytes(answer if isinstance(answer, bytes) else answer(server, request))
            if eof:
                peer.sock.shutdown(1)
            try:
                opening.get(timeout=PATIENCE).close()
            finally:
                # Whatever was wrong, the client has closed the connection.
                peer.recv_eof()


def accepting(**changes: str | None) -> Callable[[RawServer, Request], bytes]:
    """An answer that accepts, with some headers changed, added, or (None) left out."""

    def answer(server: RawServer, request: Request) -> bytes:
        headers: dict[str, str | None] = {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Accept": accept_key(request.headers["Sec-WebSocket-Key"]),
        }
        headers.update({name.replace("_", "-"): value for name, value in changes.items()})
        lines = [f"{name}: {value}\r\n" for name, value in headers.items() if value is not None]
        return f"{OK}{''.join(lines)}\r\n".encode()

    return answer


def doubled(name: str) -> Callable[[RawServer, Request], bytes]:
    """An answer that accepts, but has a header twice."""

    def answer(server: RawServer, request: Request) -> bytes:
        value = accept_key(request.headers["Sec-WebSocket-Key"])
        return server.response(request, [(name, value)])

    return answer


PROTOCOL = "Sec_WebSocket_Protocol"
EXTENSIONS = "Sec_WebSocket_Extensions"


@pytest.mark.parametrize(
    "answer, options, exception, text",
    [
        (
            accepting(Connection=None),
            {},
            InvalidUpgrade,
            "missing Connection header",
        ),
        (
            accepting(Connection="close"),
            {},
            InvalidUpgrade,
            "invalid Connection header: close",
        ),
        (accepting(Upgrade=None), {}, InvalidUpgrade, "missing Upgrade header"),
        (accepting(Upgrade="h2c"), {}, InvalidUpgrade, "invalid Upgrade header: h2c"),
        (
            accepting(Sec_WebSocket_Accept=None),
            {},
            InvalidHeader,
            "missing Sec-WebSocket-Accept header",
        ),
        (
            accepting(Sec_WebSocket_Accept="AAAA"),
            {},
            InvalidHeaderValue,
            "invalid Sec-WebSocket-Accept header: AAAA",
        ),
        (
            doubled("Sec-WebSocket-Accept"),
            {},
            InvalidHeader,
            "invalid Sec-WebSocket-Accept header: multiple values",
        ),
        (
            accepting(**{EXTENSIONS: "x-foo"}),
            {"compression": None},
            NegotiationError,
            "no extensions supported",
        ),
        (
            accepting(**{EXTENSIONS: "x-foo"}),
            {},
            NegotiationError,
            "Unsupported extension: name = x-foo, params = []",
        ),
        (
            accepting(**{PROTOCOL: "chat"}),
            {},
            NegotiationError,
            "no subprotocols supported",
        ),
        (
            accepting(**{PROTOCOL: "chat"}),
            {"subprotocols": ["x"]},
            NegotiationError,
            "unsupported subprotocol: chat",
        ),
        (
            accepting(**{PROTOCOL: "chat, x"}),
            {"subprotocols": ["chat", "x"]},
            InvalidHeader,
            "invalid Sec-WebSocket-Protocol header: multiple values: chat, x",
        ),
    ],
)
def test_unacceptable_answer(
    answer: Any, options: dict[str, Any], exception: type[Exception], text: str
) -> None:
    with pytest.raises(exception) as raised:
        answering(answer, **options)
    assert type(raised.value) is exception
    assert isinstance(raised.value, InvalidHandshake)
    assert str(raised.value) == text


@pytest.mark.parametrize(
    "answer, eof, body",
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnope", False, b"nope"),
        (
            b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"2\r\nno\r\n2\r\npe\r\n0\r\n\r\n",
            False,
            b"nope",
        ),
        (b"HTTP/1.1 404 Not Found\r\n\r\nnope", True, b"nope"),
        (b"HTTP/1.1 404 \r\nContent-Length: 0\r\n\r\n", False, b""),
        (b"HTTP/1.1 204 No Content\r\n\r\n", False, b""),
    ],
    ids=["Content-Length", "chunked", "until EOF", "empty", "no content"],
)
def test_refusal(answer: bytes, eof: bool, body: bytes) -> None:
    with pytest.raises(InvalidStatus) as raised:
        answering(answer, eof)
    status = int(answer[9:12])
    assert raised.value.response.status_code == status
    assert raised.value.response.body == body
    assert str(raised.value) == f"server rejected WebSocket connection: HTTP {status}"


@pytest.mark.parametrize(
    "answer, eof, cause, text",
    [
        (b"220 smtp.invalid ESMTP\r\n", False, ValueError, "invalid HTTP status line: "),
        (
            b"HTTP/1.0 200 OK\r\n\r\n",
            False,
            ValueError,
            "unsupported protocol; expected HTTP/1.1: HTTP/1.0 200 OK",
        ),
        (
            b"HTTP/1.1 999 Odd\r\n\r\n",
            False,
            ValueError,
            "invalid status code; expected 100–599; got 999",
        ),
        (b"", True, EOFError, "connection closed while reading HTTP status line"),
        (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n",
            True,
            EOFError,
            "connection closed while reading HTTP headers",
        ),
        (
            b"HTTP/1.1 101 Switching Protocols\r\nA: " + b"a" * 9000,
            False,
            HeaderLineTooLong,
            "expected no more than 8192 bytes",
        ),
        (
            b"HTTP/1.1 101 Switching Protocols\r\n" + b"A: a\r\n" * 129,
            False,
            TooManyHeaders,
            "expected no more than 128 headers",
        ),
        (
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 2000000\r\n\r\n",
            False,
            SecurityError,
            "body too large: 2000000 bytes",
        ),
    ],
)
def test_invalid_answer(answer: bytes, eof: bool, cause: type[Exception], text: str) -> None:
    with pytest.raises(InvalidMessage) as raised:
        answering(answer, eof)
    assert str(raised.value) == "did not receive a valid HTTP response"
    assert isinstance(raised.value.__cause__, cause)
    assert text in str(raised.value.__cause__)


def test_status_line_too_long() -> None:
    with pytest.raises(StatusLineTooLong, match="expected no more than 8192 bytes"):
        answering(b"HTTP/1.1 101 " + b"a" * 9000)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_answer_in_pieces_with_frames_behind_it(size: int) -> None:
    with RawServer() as server:
        opening = gevent.spawn(connect, server.uri)
        with server.accept(open=False) as peer:
            request = server.recv_request(peer)
            data = server.response(request) + peer.frame(Opcode.TEXT, b"early")
            data += peer.frame(Opcode.CLOSE, b"\x03\xe8")
            for start in range(0, len(data), size):
                peer.send_bytes(data[start : start + size])
                gevent.sleep(0)
            peer.sock.shutdown(1)
            ws = opening.get(timeout=PATIENCE)
            assert list(ws) == ["early"]
            assert ws.close_code == 1000


def test_reset_instead_of_an_answer() -> None:
    with RawServer() as server:
        opening = gevent.spawn(connect, server.uri)
        server.accept(open=False).reset()
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            opening.get(timeout=PATIENCE)


# TCP and TLS.


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        port: int = sock.getsockname()[1]
    return port


def test_nobody_listens() -> None:
    with pytest.raises(ConnectionRefusedError):
        connect(f"ws://{HOST}:{free_port()}/")


def test_unknown_name() -> None:
    with pytest.raises(socket.gaierror):
        connect("ws://does-not-exist.invalid/")


def test_no_unix_socket(tmp_path: pathlib.Path) -> None:
    with pytest.raises(FileNotFoundError):
        unix_connect(tmp_path / "socket")


def test_all_errors() -> None:
    with pytest.raises((ExceptionGroup, OSError)):
        connect(f"ws://localhost:{free_port()}/", all_errors=True)


def test_untrusted_certificate() -> None:
    with serving(echo, ssl=server_tls()) as server:
        with pytest.raises(ssl.SSLCertVerificationError):
            connect(uri_of(server, "wss"))


def test_certificate_for_another_name() -> None:
    with serving(echo, ssl=server_tls()) as server:
        with pytest.raises(ssl.SSLCertVerificationError, match="example.com"):
            connect(uri_of(server, "wss"), ssl=client_tls(), server_hostname="example.com")
        uri = f"wss://example.com:{server.address[1]}/"
        with connect(
            uri, ssl=client_tls(), address=server.address, server_hostname="localhost"
        ) as ws:
            assert ws.request.headers["Host"] == uri[6:-1]


def test_no_tls_on_the_other_side() -> None:
    with serving(echo) as server:
        with pytest.raises(ssl.SSLError):
            connect(uri_of(server, "wss"), ssl=client_tls())


@pytest.mark.parametrize("module", [ssl, gevent.ssl], ids=["stdlib", "gevent"])
def test_tls(module: Any) -> None:
    context = module.SSLContext(module.PROTOCOL_TLS_CLIENT)
    authority()[0].configure_trust(context)
    with serving(echo, ssl=server_tls()) as server:
        with connect(uri_of(server, "wss"), ssl=context) as ws:
            ws.send("hello")
            assert ws.recv() == "hello"


# Deadlines, timeouts, kills. Each finds the client in another stage.


class Stages:
    """A server that goes only as far as a stage."""

    def __init__(self) -> None:
        self.reached = Event()

    def tcp(self, listener: Any) -> None:
        self.reached.set()

    def answer_drop_by_drop(self, listener: Any) -> None:
        sock, _ = listener.accept()
        with RawPeer(sock, side=None) as peer:  # type: ignore[arg-type]
            self.reached.set()
            try:
                for byte in b"HTTP/1.1 101 Switching Protocols\r\n" + b"A: a\r\n" * 100:
                    peer.send_bytes(bytes([byte]))
                    gevent.sleep(0.02)
            except OSError:
                pass

    def half_a_tls_record(self, listener: Any) -> None:
        sock, _ = listener.accept()
        with RawPeer(sock, side=None) as peer:  # type: ignore[arg-type]
            peer.send_bytes(b"\x16\x03\x03\x00\x7a\x02")
            self.reached.set()
            peer.recv_eof()


STAGES = [
    ("tcp", "ws", "timed out while waiting for handshake response"),
    ("answer_drop_by_drop", "ws", "timed out while waiting for handshake response"),
    ("tcp", "wss", "timed out while waiting for TLS handshake"),
    ("half_a_tls_record", "wss", "timed out while waiting for TLS handshake"),
]
stages = pytest.mark.parametrize("stage, scheme, text", STAGES)


def stalled(stage: str, scheme: str) -> tuple[Any, str, Stages, Any]:
    """A server that stalls in a stage, and its URI."""
    listener = gevent.socket.socket()
    listener.bind((HOST, 0))
    listener.listen()
    server = Stages()
    greenlet = gevent.spawn(getattr(server, stage), listener)
    return listener, f"{scheme}://{HOST}:{listener.getsockname()[1]}/", server, greenlet


def greenlets() -> set[int]:
    gc.collect()
    return {
        id(thing)
        for thing in gc.get_objects()
        if isinstance(thing, gevent.Greenlet) and thing.started and not thing.dead
    }


def check_no_greenlet_is_left(before: set[int]) -> None:
    # One more may be that of the hub's deadlines, which stays.
    until(lambda: len(greenlets() - before) <= 1)


@stages
def test_open_timeout(stage: str, scheme: str, text: str) -> None:
    listener, uri, _, greenlet = stalled(stage, scheme)
    before = greenlets()
    started = time.monotonic()
    tls = client_tls() if scheme == "wss" else None
    with pytest.raises(TimeoutError) as raised:
        connect(uri, ssl=tls, open_timeout=0.2)
    assert str(raised.value) == text
    assert 0.19 < time.monotonic() - started < PATIENCE
    greenlet.join(PATIENCE)
    assert greenlet.dead
    listener.close()
    check_no_greenlet_is_left(before)


def test_open_timeout_of_tcp() -> None:
    # Whoever knocks at a full backlog gets no answer.
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        listener.listen(0)
        knocking = []
        try:
            for _ in range(4):
                sock = socket.socket()
                sock.setblocking(False)
                sock.connect_ex(listener.getsockname())
                knocking.append(sock)
            with pytest.raises(TimeoutError, match="timed out while connecting"):
                connect(f"ws://{HOST}:{listener.getsockname()[1]}/", open_timeout=0.2)
        finally:
            for sock in knocking:
                sock.close()


@stages
def test_timeout_of_the_caller(stage: str, scheme: str, text: str) -> None:
    listener, uri, _, greenlet = stalled(stage, scheme)
    before = greenlets()
    tls = client_tls() if scheme == "wss" else None
    with pytest.raises(gevent.Timeout) as raised:
        with gevent.Timeout(0.1) as timeout:
            connect(uri, ssl=tls)
    assert raised.value is timeout
    greenlet.join(PATIENCE)
    listener.close()
    check_no_greenlet_is_left(before)


@stages
def test_kill_while_opening(stage: str, scheme: str, text: str) -> None:
    listener, uri, server, greenlet = stalled(stage, scheme)
    before = greenlets()
    tls = client_tls() if scheme == "wss" else None
    opening = gevent.spawn(connect, uri, ssl=tls)
    assert server.reached.wait(PATIENCE)
    gevent.sleep(0.02)
    opening.kill()
    assert isinstance(opening.value, gevent.GreenletExit)
    greenlet.join(PATIENCE)
    listener.close()
    check_no_greenlet_is_left(before)


def test_no_deadline_after_opening() -> None:
    with serving(echo) as server:
        with connect(uri_of(server), open_timeout=0.1) as ws:
            gevent.sleep(0.2)
            ws.send("hello")
            assert ws.recv() == "hello"


def test_no_open_timeout() -> None:
    with serving(echo) as server:
        connect(uri_of(server), open_timeout=None).close()


# Using the connection.


def test_without_with() -> None:
    with serving(echo) as server:
        ws = connect(uri_of(server))
        assert ws.state is State.OPEN
        ws.send("hello")
        assert ws.recv() == "hello"
        ws.close()
        assert ws.close_code == 1000
        with pytest.raises(ConnectionClosedOK):
            ws.send("late")


@pytest.mark.parametrize(
    "exc, code",
    [
        (None, 1000),
        (GeneratorExit, 1000),
        (RuntimeError, 1011),
        (gevent.GreenletExit, 1001),
        (gevent.Timeout, 1011),
    ],
)
def test_end_of_with_block(exc: type[BaseException] | None, code: int) -> None:
    codes = []

    def handler(ws: Any) -> None:
        ws.wait_closed()
        codes.append(ws.close_code)

    with serving(handler) as server:
        try:
            with connect(uri_of(server)):
                if exc is not None:
                    raise exc
        except BaseException as caught:
            assert type(caught) is exc
        until(lambda: codes)
    assert codes == [code]


def test_what_a_client_knows() -> None:
    with serving(echo, subprotocols=["chat"]) as server:
        with connect(uri_of(server) + "a?b", subprotocols=["chat"]) as ws:
            assert ws.path == ws.request.path == "/a?b"
            assert ws.request_headers["Sec-WebSocket-Version"] == "13"
            assert ws.response.status_code == 101
            assert ws.response_headers["Upgrade"] == "websocket"
            assert ws.subprotocol == "chat"
            assert ws.remote_address == server.address
            local = ws.local_address
            assert local[0] == HOST
        assert (ws.remote_address, ws.local_address) == (server.address, local)
        assert repr(ws) == f"<ClientConnection CLOSED {server.address}>"


def test_addresses_not_asked_for_before_the_end() -> None:
    with serving(echo) as server:
        ws = connect(uri_of(server))
        ws.close()
        assert ws.remote_address == server.address


# The request.


def requesting(path: str = "", user_info: str = "", **options: Any) -> Request:
    """Connect, and return the request as the server got it."""
    requests = []

    def handler(ws: Any) -> None:
        requests.append(ws.request)

    with serving(handler) as server:
        uri = uri_of(server).replace("//", f"//{user_info}") + path
        with connect(uri, **options) as ws:
            assert ws.wait_closed(PATIENCE)
            assert ws.request.headers == requests[0].headers
    request: Request = requests[0]
    return request


def test_request() -> None:
    request = requesting(
        "é?x=ü",
        "user:pass%20word@",
        origin="https://example.com",
        subprotocols=["chat"],
        additional_headers={"X-Own": "1"},
    )
    assert (request.method, request.protocol) == ("GET", "HTTP/1.1")
    assert request.path == "/%C3%A9?x=%C3%BC"
    assert [name for name, _ in request.headers.raw_items()] == [
        "Host",
        "Authorization",
        "Origin",
        "Upgrade",
        "Connection",
        "Sec-WebSocket-Key",
        "Sec-WebSocket-Version",
        "Sec-WebSocket-Extensions",
        "Sec-WebSocket-Protocol",
        "X-Own",
        "User-Agent",
    ]
    headers = request.headers
    credentials = base64.b64encode(b"user:pass word").decode()
    assert headers["Authorization"] == f"Basic {credentials}"
    assert headers["Origin"] == "https://example.com"
    assert headers["Sec-WebSocket-Extensions"] == "permessage-deflate; client_max_window_bits"
    assert headers["Sec-WebSocket-Protocol"] == "chat"
    assert headers["User-Agent"] == USER_AGENT
    major, minor = sys.version_info[:2]
    assert USER_AGENT.startswith(f"Python/{major}.{minor} gevent/")
    assert len(base64.b64decode(headers["Sec-WebSocket-Key"])) == 16


@pytest.mark.parametrize(
    "additional",
    [
        {"X-Own": "1", "X-Other": "2"},
        [("X-Own", "1"), ("X-Other", "2")],
        Headers({"X-Own": "1", "X-Other": "2"}),
    ],
    ids=["mapping", "pairs", "Headers"],
)
def test_additional_headers(additional: Any) -> None:
    headers = requesting(additional_headers=additional).headers
    assert (headers["X-Own"], headers["X-Other"]) == ("1", "2")


def test_additional_headers_replace() -> None:
    headers = requesting(
        user_info="user:password@",
        origin="https://example.com",
        additional_headers={
            "Host": "example.org",
            "Origin": "https://example.org",
            "Authorization": "Bearer token",
            "User-Agent": "own/1.0",
        },
    ).headers
    assert headers.get_all("Host") == ["example.org"]
    assert headers.get_all("Origin") == ["https://example.org"]
    assert headers.get_all("Authorization") == ["Bearer token"]
    assert headers.get_all("User-Agent") == ["own/1.0"]


@pytest.mark.parametrize("user_agent", [None, "own/1.0"])
def test_user_agent_header(user_agent: str | None) -> None:
    headers = requesting(user_agent_header=user_agent).headers
    assert headers.get("User-Agent") == user_agent


def test_no_compression() -> None:
    assert "Sec-WebSocket-Extensions" not in requesting(compression=None).headers


# Where to.


def test_address() -> None:
    with serving(echo) as server:
        with connect("ws://example.com/", address=server.address) as ws:
            assert ws.request.headers["Host"] == "example.com"
            assert ws.remote_address == server.address


def test_source_address() -> None:
    with serving(lambda ws: ws.send(ws.remote_address[0])) as server:
        with connect(uri_of(server), source_address=("127.0.0.2", 0)) as ws:
            assert ws.recv() == "127.0.0.2"
            assert ws.local_address[0] == "127.0.0.2"


@pytest.mark.parametrize("module", [socket, gevent.socket], ids=["stdlib", "gevent"])
@pytest.mark.parametrize("tls", [False, True])
def test_existing_socket(module: Any, tls: bool) -> None:
    ssl_options = {"ssl": server_tls()} if tls else {}
    with serving(echo, **ssl_options) as server:
        sock = module.create_connection(server.address)
        uri = "wss://localhost/" if tls else "ws://localhost/"
        with connect(uri, sock=sock, ssl=client_tls() if tls else None) as ws:
            assert ws.request.headers["Host"] == "localhost"
            ws.send("hello")
            assert ws.recv() == "hello"
        # It was handed over.
        assert sock.fileno() == -1


def test_existing_unix_socket_of_a_pair() -> None:
    ours, theirs = gevent.socket.socketpair()
    opening = gevent.spawn(unix_connect, sock=ours)
    with RawServer() as server, RawPeer(theirs, side=None) as peer:  # type: ignore[arg-type]
        peer.send_bytes(server.response(server.recv_request(peer)))
        ws = opening.get(timeout=PATIENCE)
        assert ws.state is State.OPEN
    assert ws.wait_closed(PATIENCE)


def test_existing_socket_that_is_not_connected() -> None:
    with gevent.socket.socket() as sock:
        with pytest.raises(OSError):
            connect("ws://localhost/", sock=sock)


def test_existing_socket_after_a_failure_is_closed() -> None:
    with serving(echo, origins=["https://good"]) as server:
        sock = gevent.socket.create_connection(server.address)
        with pytest.raises(InvalidStatus):
            connect("ws://localhost/", sock=sock)
        assert sock.fileno() == -1


def test_existing_socket_with_tls_already() -> None:
    with serving(echo, ssl=server_tls()) as server:
        plain = gevent.socket.create_connection(server.address)
        with client_tls().wrap_socket(plain, server_hostname="localhost") as sock:
            with pytest.raises(TypeError, match="before TLS"):
                connect("wss://localhost/", sock=sock, ssl=client_tls())


# Arguments.


@pytest.mark.parametrize(
    "uri, exception, text",
    [
        ("http://localhost/", InvalidURI, "http://localhost/"),
        ("ws://localhost/#fragment", InvalidURI, "fragment"),
        ("ws:///path", InvalidURI, "host"),
        ("ws://user@localhost/", InvalidURI, "password"),
        ("localhost", InvalidURI, "localhost"),
    ],
)
def test_bad_uri(uri: str, exception: type[Exception], text: str) -> None:
    with pytest.raises(exception, match=text):
        connect(uri)


@pytest.mark.parametrize(
    "options, exception, text",
    [
        ({"ssl": client_tls()}, ValueError, "ssl argument is incompatible with a ws:// URI"),
        ({"compression": "gzip"}, ValueError, "unsupported compression: gzip"),
        ({"subprotocols": "chat"}, TypeError, "subprotocols must be a list, not a str"),
        ({"max_queue": (1, 2)}, ValueError, "greater than or equal to low"),
        ({"additional_headers": {"X": "a\r\nb"}}, ValueError, "X"),
        ({"origin": "a\nb"}, ValueError, "Origin"),
        ({"unknown": 1}, TypeError, "unknown"),
    ],
)
def test_bad_arguments(options: dict[str, Any], exception: type[Exception], text: str) -> None:
    with serving(echo) as server:
        with pytest.raises(exception, match=text):
            connect(uri_of(server), **options)


@pytest.mark.parametrize("name", ["address", "source_address"])
def test_arguments_that_contradict_a_socket(name: str) -> None:
    with gevent.socket.socket() as sock:
        with pytest.raises(ValueError, match=f"{name} incompatible with sock"):
            connect("ws://localhost/", sock=sock, **{name: (HOST, 1)})
        assert sock.fileno() != -1


def test_unix_socket_without_path_or_with_two(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match="needs a path"):
        unix_connect()
    with gevent.socket.socket(socket.AF_UNIX) as sock:
        with pytest.raises(ValueError, match="needs a path"):
            unix_connect(tmp_path / "socket", sock=sock)


def test_defaults_are_those_of_websockets() -> None:
    theirs = pytest.importorskip("websockets.sync.client").connect
    expected = inspect.signature(theirs).parameters
    parameters = inspect.signature(connect).parameters
    # A later step; and what only that library needs.
    later = {"proxy", "proxy_ssl", "proxy_server_hostname", "legacy"}
    for name in expected.keys() - later - {"user_agent_header"}:
        assert parameters[name].default == expected[name].default, name
        assert parameters[name].kind == expected[name].kind, name


# create_connection.


class Account(ClientConnection):
    """A connection with something of its own."""

    def __init__(self, *args: Any, bonus: int = 0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.balance = bonus


@pytest.mark.parametrize("bonus", [0, 5])
def test_create_connection(bonus: int) -> None:
    create = functools.partial(Account, bonus=bonus) if bonus else Account
    with serving(echo) as server:
        with connect(uri_of(server), create_connection=create) as ws:
            assert isinstance(ws, Account)
            assert ws.balance == bonus


def test_create_connection_that_raises() -> None:
    def create_connection(*args: Any, **kwargs: Any) -> ClientConnection:
        raise RuntimeError("oops")

    with serving(echo) as server:
        with pytest.raises(RuntimeError, match="oops"):
            connect(uri_of(server), create_connection=create_connection)


def test_small_frames_are_sent_at_once() -> None:
    with serving(echo) as server, connect(uri_of(server)) as ws:
        assert ws._transport.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


def test_an_open_connection_is_kept_alive() -> None:
    closed = Event()

    def handler(ws: Any) -> None:
        ws.wait_closed()
        closed.set()

    with serving(handler) as server:
        connect(uri_of(server))
        gc.collect()
        assert not closed.wait(0.05)
        # Shutdown ends it.


def test_socket_is_not_blocking_and_has_no_timeout() -> None:
    with serving(echo) as server, connect(uri_of(server)) as ws:
        assert ws._transport.sock.gettimeout() == 0
