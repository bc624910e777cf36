"""What both sides' opening handshakes share: the date, waiting, giving up."""

from __future__ import annotations

import contextlib
import email.utils
import socket
import time
from typing import Any

import gevent
import gevent.socket
import pytest

from geventws import ClientConnection, Headers, InvalidStatus, Request, Response, State, connect
from geventws.net.opening import http_date
from geventws.net.transport import own_socket
from geventws.testing import RawClient, RawServer
from tests.net.support import (
    HOST,
    PATIENCE,
    client_tls,
    echo,
    raw_client,
    server_tls,
    serving,
    until,
    uri_of,
)


def test_date(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = email.utils.parsedate_to_datetime(http_date()).timestamp()
    assert abs(parsed - time.time()) < 2
    monkeypatch.setattr(time, "time", lambda: 784111777.5)
    # RFC 9110, section 5.6.7.
    assert http_date() == "Sun, 06 Nov 1994 08:49:37 GMT"
    monkeypatch.setattr(time, "time", lambda: 784111778.0)
    assert http_date() == "Sun, 06 Nov 1994 08:49:38 GMT"


def test_journal_of_a_head(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "geventws.server")
    with raw_client() as (_, ws):
        ws._protocol.journal.lines.clear()
        headers = Headers([("A", "1"), ("A", "100%")])
        ws._note_request("<", Request("/a%20b", headers))
        ws._note_response(">", Response(404, "Not Found", headers, b"abc"))
        lines = [line.message % line.args for line in ws._protocol.journal.lines]
        ws._protocol.journal.lines.clear()
    assert lines == [
        "< GET /a%20b HTTP/1.1",
        "< A: 1",
        "< A: 100%",
        "> HTTP/1.1 404 Not Found",
        "> A: 1",
        "> A: 100%",
        "> [body] (3 bytes)",
    ]


# Waiting.


@pytest.mark.parametrize("tls", [False, True])
def test_many_at_a_time(tls: bool) -> None:
    with serving(echo, ssl=server_tls() if tls else None) as server:
        uri = uri_of(server, "wss" if tls else "ws")
        ssl = {"ssl": client_tls()} if tls else {}
        greenlets = [gevent.spawn(connect, uri, **ssl) for _ in range(50)]
        gevent.joinall(greenlets, timeout=PATIENCE, raise_error=True)
        for number, greenlet in enumerate(greenlets):
            greenlet.value.send(str(number))
        for number, greenlet in enumerate(greenlets):
            assert greenlet.value.recv(PATIENCE) == str(number)
            greenlet.value.close()


def test_stream_ends_in_the_opening_handshake(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "geventws.server")
    with serving(echo) as server:
        with RawClient(server.address, open=False) as peer:
            peer.send_bytes(peer.request()[:30])
            peer.sock.shutdown(socket.SHUT_WR)
            assert peer.recv_eof()
    (record,) = [record for record in caplog.records if record.exc_info]
    assert record.getMessage() == "! no valid HTTP request"


def fill(sock: Any) -> int:
    """Send what nobody reads until the kernel takes no more; return how much that was."""
    size = 0
    sock.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            size += sock.send(bytes(65536))
    return size


def test_tls_handshake_for_which_there_is_no_room_yet() -> None:
    """The peer reads late: what TLS has to say goes on by itself when it does."""
    made: list[ClientConnection] = []

    def create_connection(*args: Any, **kwargs: Any) -> ClientConnection:
        made.append(ClientConnection(*args, **kwargs))
        return made[0]

    ours, theirs = gevent.socket.socketpair()
    junk = fill(ours)
    with serving(echo, ssl=server_tls()) as server:
        options = {"ssl": client_tls(), "create_connection": create_connection}
        opening = gevent.spawn(connect, "wss://localhost/", sock=ours, **options)
        until(lambda: made and made[0]._transport.unsent)
        while junk:
            junk -= len(theirs.recv(junk))
        server._accepted(own_socket(theirs), (HOST, 0))
        with opening.get(timeout=PATIENCE) as ws:
            ws.send("x")
            assert ws.recv(PATIENCE) == "x"


@pytest.mark.parametrize("timeout", [0.001, 0.05])
def test_peer_that_says_nothing_in_time(timeout: float, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "geventws.server")
    with serving(echo, open_timeout=timeout) as server:
        with RawClient(server.address, open=False) as peer:
            assert peer.recv_eof()
            until(lambda: not server._roster.greenlets)
    lines = [record.getMessage() for record in caplog.records]
    assert "- timed out waiting for handshake request" in lines


def test_interrupted_before_it_waits() -> None:
    """The server closes between accepting a client and looking at what it says: nothing yet."""
    ours, theirs = gevent.socket.socketpair()
    with serving(echo) as server:
        server._accepted(own_socket(theirs), (HOST, 0))
        server.shutdown(timeout=PATIENCE)
        assert ours.recv(65536).startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
        assert ours.recv(1) == b""
    ours.close()


def test_interrupted_while_it_waits() -> None:
    with serving(echo) as server:
        with RawClient(server.address, open=False) as peer:
            until(lambda: any(ws and ws._opener for ws in server._roster.greenlets.values()))
            server.shutdown(timeout=PATIENCE)
            assert peer.recv_response().status_code == 503
            assert peer.recv_eof()


def test_closed_by_another_greenlet_while_it_waits() -> None:
    made: list[Any] = []

    def make(*args: Any, **options: Any) -> ClientConnection:
        made.append(ClientConnection(*args, **options))
        return made[0]

    with RawServer() as server:
        opening = gevent.spawn(connect, server.uri, create_connection=make, open_timeout=None)
        with server.accept(open=False) as peer:
            server.recv_request(peer)
            made[0].close()
            with pytest.raises(ConnectionAbortedError, match="^closed in the opening handshake$"):
                opening.get(timeout=PATIENCE)
            assert peer.recv_eof()


def test_opener_that_ends_by_an_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends in the hub, which goes on: a raw greenlet has nobody else to tell."""
    errors: list[Any] = []
    monkeypatch.setattr(gevent.get_hub(), "handle_error", lambda *args: errors.append(args[:3]))
    with RawServer() as server:
        greenlet = gevent.spawn_raw(connect, server.uri)
        with server.accept(open=False) as peer:
            server.recv_request(peer)
            peer.send_bytes(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            until(lambda: errors)
            assert peer.recv_eof()
    ((context, kind, exc),) = errors
    assert context is greenlet and greenlet.dead
    assert kind is InvalidStatus and exc.response.status_code == 404


# Giving up.


def test_big_answer_to_a_slow_client() -> None:
    # It does not fit into the socket's buffers: TCP must not be closed before all is read.
    body = "x" * 1_000_000

    def process_request(ws: Any, request: Request) -> Response:
        ws._transport.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        response: Response = ws.respond(200, body)
        return response

    with serving(echo, process_request=process_request) as server:
        with RawClient(server.address, open=False) as peer:
            peer.send_bytes(peer.request())
            size = 0
            while data := peer.sock.recv(65536):
                size += len(data)
            assert size > len(body)


def test_big_answer_to_our_client() -> None:
    def process_request(ws: Any, request: Request) -> Response:
        response: Response = ws.respond(200, "x" * 1_000_000)
        return response

    with serving(echo, process_request=process_request) as server:
        with pytest.raises(InvalidStatus) as raised:
            connect(uri_of(server))
    assert raised.value.response.body == b"x" * 1_000_000


def test_answer_is_not_lost_by_a_reset() -> None:
    # The rest of the request would make TCP reset, if the server closed at once.
    with serving(echo) as server, RawClient(server.address, open=False) as peer:
        peer.send_bytes(b"POST / HTTP/1.1\r\nHost: x\r\n\r\n" + b"x" * 500_000)
        assert peer.recv_response().status_code == 405
        assert peer.recv_eof()


def test_peer_that_never_reads_the_refusal() -> None:
    def process_request(ws: Any, request: Request) -> Response:
        ws._transport.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        response: Response = ws.respond(200, "x" * 10_000_000)
        return response

    with serving(echo, process_request=process_request, close_timeout=0.2) as server:
        with RawClient(server.address, open=False) as peer:
            peer.send_bytes(peer.request())
            until(lambda: server._roster.greenlets)
            until(lambda: not server._roster.greenlets)
            head = peer.sock.recv(15)
            assert head == b"HTTP/1.1 200 OK"


def test_a_refused_client_is_closed() -> None:
    made = []

    def create_connection(*args: Any, **kwargs: Any) -> Any:
        made.append(ClientConnection(*args, **kwargs))
        return made[0]

    with RawServer() as server:
        opening = gevent.spawn(connect, server.uri, create_connection=create_connection)
        with server.accept(open=False) as peer:
            server.recv_request(peer)
            peer.send_bytes(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            with pytest.raises(InvalidStatus):
                opening.get(timeout=PATIENCE)
            assert peer.recv_eof()
    assert made[0].state is State.CLOSED
    assert made[0].wait_closed(PATIENCE)
    assert made[0].response.status_code == 403


@pytest.mark.parametrize("name", ["process_request", "process_response"])
@pytest.mark.parametrize("answers", [True, False])
def test_hook_that_has_closed_the_connection(
    answers: bool, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """There is nobody to answer any more, nor anything to close."""
    caplog.set_level("INFO", "geventws.server")
    closed: list[Any] = []

    def hook(ws: Any, *args: Any) -> Response | None:
        ws.close()
        closed.append(ws)
        return ws.respond(403, "too late") if answers else None

    # After the first of them no other is called.
    with serving(pytest.fail, **{name: hook, "process_response": hook}) as server:
        with RawClient(server.address, open=False) as peer:
            peer.send_bytes(peer.request())
            assert peer.sock.recv(100) == b""
            until(lambda: not server._roster.greenlets)
    (ws,) = closed
    assert ws.state is State.CLOSED and ws.wait_closed(PATIENCE)
    assert ws._transport.fileno() == -1
    assert caplog.messages[1:2] == ["connection closed"]
