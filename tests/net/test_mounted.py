"""Tests of geventws.net.mounted: connections inside requests of gevent's WSGI server."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import ssl
import threading
import weakref
from collections.abc import Callable
from typing import Any

import gevent
import gevent.socket
import pytest
from gevent.event import Event
from gevent.greenlet import Greenlet
from gevent.monkey import get_original
from gevent.pool import Pool
from gevent.queue import Queue

from geventws import (
    ClientConnection,
    ConnectionClosed,
    ConnectionClosedError,
    Opcode,
    State,
)
from geventws.core.headers import Headers
from geventws.core.http11 import Request, Response
from geventws.core.states import Side
from geventws.mount import Mount
from geventws.net.hubs import get_hub_state
from geventws.net.mounted import MountedConnection, mounted_connections
from geventws.net.options import ConnectionOptions
from geventws.net.stream import READ, WRITE
from geventws.net.transport import Transport, own_socket
from geventws.testing import RawClient
from geventws.wsgi import accept, websocket_app
from tests.net.support import HOST, PATIENCE, in_child, in_thread, occupy, turns, until
from tests.wsgi.support import served

Handler = Callable[[MountedConnection], Any]

# Less than `close_timeout`, and than what clients wait: nothing here may need that.
pytestmark = pytest.mark.deadline(9)

with_and_without_tls = pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])


def unmanaged(handler: Handler, **options: Any) -> Any:
    """An application that does with its WebSocket what it likes."""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        handler(accept(environ, start_response, **options))
        return []

    return app


class Hold:
    """A handler that gives its connection to the test and returns when the test ends."""

    def __init__(self) -> None:
        self.accepted: Queue[MountedConnection] = Queue()
        self.done = Event()

    def __call__(self, ws: MountedConnection) -> None:
        self.accepted.put(ws)
        self.done.wait()

    def get(self) -> MountedConnection:
        return self.accepted.get(timeout=PATIENCE)


def test_what_is_known() -> None:
    hold = Hold()
    with served(websocket_app(hold)) as here:
        client = here.open("/a%20b?c", headers=[("X-Test", "1")])
        ws = hold.get()
        assert mounted_connections() == [ws]
        assert ws.remote_address == client.sock.getsockname()
        assert ws.local_address == (HOST, here.server.server_port)
        assert ws.environ["QUERY_STRING"] == "c"
        assert isinstance(ws.request, Request) and ws.request is ws.request
        assert (ws.path, ws.request_headers["x-test"]) == ("/a%20b?c", "1")
        assert ws.response is not None and ws.response.status_code == 101
        hold.done.set()
        assert client.recv_close().data == b"\x03\xe8"
        client.close()
        assert ws.wait_closed(PATIENCE)
        assert ws.remote_address and ws.path == "/a%20b?c"
        assert mounted_connections() == []


@with_and_without_tls
def test_frames_that_came_with_the_request(tls: bool) -> None:
    """The server has read them already: no event tells of them."""
    hold = Hold()
    early = RawClient.frame(None, Opcode.TEXT, b"early", mask=True)
    with served(websocket_app(hold), tls=tls) as here:
        client = here.open(early=early * 2)
        ws = hold.get()
        assert [ws.recv(timeout=PATIENCE) for _ in range(2)] == ["early"] * 2
        client.send_frame(Opcode.TEXT, b"late")
        assert ws.recv(timeout=PATIENCE) == "late"
        hold.done.set()
        client.close()


def test_request_that_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing was open: nobody waits for an end, and the socket stays the server's."""
    caplog.set_level(logging.DEBUG, "geventws.server")
    made = []

    def create_connection(*args: Any, **kwargs: Any) -> MountedConnection:
        made.append(MountedConnection(*args, **kwargs))
        return made[0]

    app = websocket_app(create_connection=create_connection)(pytest.fail)
    with served(app) as here:
        client = here.request(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert client.response is not None and client.response.status_code == 426
        assert client.recv_eof()
        client.close()
        here.wait_for_log(426)
        assert here.errors.getvalue() == ""
    (ws,) = made
    assert ws.state is State.CLOSED and ws.wait_closed(PATIENCE)
    assert ws not in get_hub_state().streams
    messages = [record.getMessage() for record in caplog.records]
    assert "> HTTP/1.1 426 Upgrade Required" in messages
    assert messages[-2:] == [
        "connection rejected (426 Upgrade Required)",
        "= connection is CLOSED",
    ]


@with_and_without_tls
def test_handler_is_killed(tls: bool) -> None:
    """The client gets 1001, and TCP ends at once, though it answers nothing."""
    hold, pool = Hold(), Pool()
    with served(websocket_app(hold), tls=tls, spawn=pool) as here:
        client = here.open()
        ws = hold.get()
        pool.kill(block=True, timeout=PATIENCE)
        assert ws.state is State.CLOSED
        assert client.recv_close().data == b"\x03\xe9"
        assert client.recv_frame() is None
        client.close()
        here.wait_for_log(101)


@with_and_without_tls
def test_with_block_is_killed(tls: bool) -> None:
    hold, pool = Hold(), Pool()

    def handler(ws: MountedConnection) -> None:
        with ws:
            hold(ws)

    with served(unmanaged(handler), tls=tls, spawn=pool) as here:
        client = here.open()
        ws = hold.get()
        pool.kill(block=True, timeout=PATIENCE)
        assert ws.state is State.CLOSED
        assert client.recv_close().data == b"\x03\xe9"
        assert client.recv_frame() is None
        client.close()


@with_and_without_tls
@pytest.mark.parametrize("spawn", [gevent.spawn, gevent.spawn_raw])
def test_application_returns_without_closing(tls: bool, spawn: Any) -> None:
    """Whoever uses the connection elsewhere gets to know, and no watcher stays."""
    accepted: Queue[MountedConnection] = Queue()
    with served(unmanaged(accepted.put), tls=tls, spawn=spawn) as here:
        client = here.open()
        ws = accepted.get(timeout=PATIENCE)
        with pytest.raises(ConnectionClosedError) as raised:
            ws.recv(timeout=PATIENCE)
        assert "returned before its WebSocket was closed" in str(raised.value.__cause__)
        assert ws.close_code == 1006
        assert not ws._read_watcher.active
        assert client.recv_frame() is None
        client.close()
        here.wait_for_log(101)


@pytest.mark.parametrize("spawn", [gevent.spawn, gevent.spawn_raw])
def test_bug_at_the_end_of_the_request(spawn: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is reported, and neither ends the hub nor whoever collects garbage."""

    class Buggy(MountedConnection):
        def _forget(self, cause: Exception | None = None) -> None:
            super()._forget(cause)
            raise ZeroDivisionError

    errors: list[Any] = []
    monkeypatch.setattr(gevent.get_hub(), "handle_error", lambda *args: errors.append(args[:2]))
    accepted: Queue[MountedConnection] = Queue()
    app = unmanaged(accepted.put, create_connection=Buggy)
    with served(app, spawn=spawn) as here:
        client = here.open()
        ws = accepted.get(timeout=PATIENCE)
        assert client.recv_frame() is None
        client.close()
        until(lambda: errors)
        here.wait_for_log(101)
    assert errors == [(ws, ZeroDivisionError)]
    assert ws.state is State.CLOSED


@with_and_without_tls
def test_descriptor_that_another_gets_is_left_alone(tls: bool) -> None:
    left: Queue[Any] = Queue()

    def handler(ws: MountedConnection) -> None:
        # Nobody tells when this request ends.
        ws._keeper.unlink(ws._keeper_ended)
        left.put((ws, ws._transport.sock.fileno()))

    with served(unmanaged(handler), tls=tls) as here:
        client = here.open()
        ws, number = left.get(timeout=PATIENCE)
        until(lambda: ws._transport.sock.fileno() == -1)
        one, other = occupy(number)
        other.send(b"not yours")
        client.send_frame(Opcode.TEXT, b"for the old one")
        with pytest.raises(ConnectionClosed):
            ws.recv(timeout=PATIENCE)
        with pytest.raises(ConnectionClosed):
            ws.send("stray")
        # Nobody has read what it sent: TCP may tell it by a reset.
        client.recv_eof()
        client.close()
        assert one.recv(100) == b"not yours"
        with pytest.raises(BlockingIOError):
            other.recv(100)
        one.close()
        other.close()


@pytest.mark.parametrize("app", [websocket_app, unmanaged])
def test_finished_connection_is_freed_by_reference_counting(
    app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # pytest keeps log records, which refer to their connection.
    monkeypatch.setattr(logging.getLogger("geventws"), "propagate", False)
    connections = []

    def handler(ws: MountedConnection) -> None:
        connections.append(weakref.ref(ws))
        ws.recv()
        assert ws.request is not None

    with served(app(handler)) as here:
        gc.collect()
        gc.disable()
        try:
            client = here.open()
            client.send_frame(Opcode.TEXT, b"x")
            if app is websocket_app:
                assert client.recv_close() is not None
                client.send_frame(Opcode.CLOSE, b"\x03\xe8")
            client.recv_eof()
            client.close()
            until(lambda: connections[0]() is None)
        finally:
            gc.enable()


def test_fork() -> None:
    """A child forgets the connection, and its server's socket is left to the parent."""
    hold = Hold()
    with served(websocket_app(hold)) as here:
        client = here.open()
        ws = hold.get()

        def check() -> None:
            assert ws.state is State.CLOSED
            assert ws._transport.fileno() != -1

        in_child(check)
        ws.send("still here")
        assert client.recv_frame().data == b"still here"
        hold.done.set()
        client.close()


# A thread of its own, as gunicorn's gthread and Werkzeug have them.


class Blocking:
    """What a WSGI server would lend to a request in a native thread."""

    def __init__(self) -> None:
        here, there = get_original("socket", "socketpair")()
        self.sock = here
        self.client = there

    def connect(self, scoped: bool = True) -> MountedConnection:
        """Make a connection that is not open yet."""
        environ = {"gunicorn.socket": self.sock, "wsgi.input": self}
        ws, _ = Mount().connect(environ, lambda *args: None, scoped=scoped)
        return ws

    def mount(self, scoped: bool = True) -> MountedConnection:
        """Open a WebSocket, with the handshake left out."""
        ws = self.connect(scoped)
        ws._open_mounted(Response(101, "Switching Protocols", Headers()), [], None, b"")
        return ws

    @property
    def reader(self) -> Any:
        return self

    unreader = None

    def close(self) -> None:
        self.sock.close()
        self.client.close()


def test_thread_has_a_hub_as_long_as_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    # pytest keeps log records, which refer to their connection.
    monkeypatch.setattr(logging.getLogger("geventws"), "propagate", False)
    blocking = Blocking()
    blocking.client.sendall(RawClient.frame(None, Opcode.TEXT, b"hello", mask=True))

    def serve() -> tuple[str | bytes, bool, weakref.ref[Any]]:
        with blocking.mount() as ws:
            message = ws.recv()
            hub = gevent.get_hub()
            # A peer that vanished: there is no closing handshake to wait for.
            blocking.client.close()
        assert blocking.sock.gettimeout() is None
        return message, hub.loop is None, weakref.ref(hub)

    message, destroyed, hub = in_thread(serve)
    assert (message, destroyed) == ("hello", True)
    gc.collect()
    # gevent itself would keep it: its greenlet never ended.
    assert hub() is None
    blocking.close()


def test_thread_ends_what_an_earlier_request_left_open() -> None:
    left, blocking = Blocking(), Blocking()

    def serve() -> tuple[State, bool]:
        forgotten = left.mount()
        left.sock.close()
        ws = blocking.mount()
        state = forgotten.state
        blocking.client.close()
        ws.close()
        return state, get_hub_state().created_hub

    assert in_thread(serve)[0] is State.CLOSED
    left.close()
    blocking.close()


def test_thread_leaves_alone_what_ends_by_itself() -> None:
    """A greenlet of the thread has a WebSocket, too, and goes on with it; so does a client."""
    other, blocking = Blocking(), Blocking()
    ours, theirs = gevent.socket.socketpair()

    def serve() -> tuple[State, State, State]:
        accepted: Queue[MountedConnection] = Queue()
        done = Event()

        def request() -> None:
            accepted.put(other.mount(scoped=False))
            done.wait()

        greenlet = gevent.spawn(request)
        ws = accepted.get(timeout=PATIENCE)
        transport = Transport(own_socket(ours))
        client = ConnectionOptions().make(
            ClientConnection, transport, Side.CLIENT, get_hub_state(), logging.getLogger("geventws")
        )
        with blocking.mount():
            states = ws.state, client.state
            blocking.client.close()
        done.set()
        greenlet.join()
        client.close()
        assert ws.wait_closed(PATIENCE)
        get_hub_state().release()
        return *states, ws.state

    assert in_thread(serve) == (State.OPEN, State.CONNECTING, State.CLOSED)
    theirs.close()
    other.close()
    blocking.close()


def test_thread_lets_go_of_what_was_never_open() -> None:
    blocking = Blocking()
    blocking.sock.settimeout(5)

    def serve() -> tuple[State, bool, bool]:
        ws = blocking.connect()
        hub = gevent.get_hub()
        ws._discard()
        return ws.state, ws.wait_closed(0), hub.loop is None

    assert in_thread(serve) == (State.CLOSED, True, True)
    # The server goes on with it.
    assert blocking.sock.gettimeout() == 5
    blocking.sock.sendall(b"HTTP/1.1 500 Internal Server Error")
    assert blocking.client.recv(100).startswith(b"HTTP")
    blocking.close()


@pytest.mark.parametrize("scoped", [True, False])
def test_end_of_a_request_in_a_thread_is_not_seen(scoped: bool) -> None:
    """Its main greenlet goes on with the next: somebody else must tell, or make sure."""
    blocking = Blocking()

    def serve() -> tuple[bool, Any]:
        ws = blocking.mount(scoped)
        known = ws._knows_its_end, ws._keeper
        ws._return()
        return known

    assert in_thread(serve) == (scoped, None)
    blocking.close()


def test_connection_that_broke_before_the_application_returned() -> None:
    """That it was left open is not why it was lost."""
    blocking = Blocking()

    def serve() -> MountedConnection:
        ws = blocking.mount()
        blocking.client.close()
        with contextlib.suppress(ConnectionClosed):
            ws.send("x")
        assert ws.state is State.OPEN
        ws._return()
        return ws

    ws = in_thread(serve)
    assert ws.state is State.CLOSED
    assert isinstance(ws._cause, BrokenPipeError)
    blocking.close()


def test_request_in_a_thread_ends_what_it_left_open() -> None:
    blocking = Blocking()

    def serve() -> tuple[MountedConnection, bool]:
        ws = blocking.mount()
        hub = gevent.get_hub()
        ws._return()
        # Whoever closed it may have let go of the hub before.
        ws._return()
        return ws, hub.loop is None

    ws, destroyed = in_thread(serve)
    assert (ws.state, destroyed) == (State.CLOSED, True)
    assert "returned before its WebSocket was closed" in str(ws._cause)
    blocking.close()


# TLS: what a read has to write, and a write to read.


class ScriptedTLS:
    """OpenSSL in the middle of a key update or a renegotiation."""

    def __init__(self, tls: Any) -> None:
        self.tls = tls
        # What the next read or write raises, before it goes on as usual.
        self.read_raises: Any = None
        self.write_raises: Any = None
        # Whether that read has taken from the socket what it then will not give.
        self.withholds = False
        self._withheld = b""

    def read(self, size: int, buffer: memoryview) -> int:
        exc, self.read_raises = self.read_raises, None
        if exc is not None:
            if self.withholds:
                self._withheld = bytes(buffer[: self.tls.read(size, buffer)])
            raise exc
        data, self._withheld = self._withheld, b""
        buffer[: len(data)] = data
        return len(data) or self.tls.read(size, buffer)

    def write(self, data: Any) -> Any:
        if self.write_raises is not None:
            raise self.write_raises
        return self.tls.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tls, name)


@pytest.mark.parametrize("withholds", [False, True])
def test_tls_read_goes_on_when_it_can_write(withholds: bool) -> None:
    """Also if the socket is empty: then only that there is room tells of what arrived."""
    hold = Hold()
    with served(websocket_app(hold), tls=True) as here:
        client = here.open()
        ws = hold.get()
        turns()
        openssl = ws._transport._tls = ScriptedTLS(ws._transport._tls)
        openssl.withholds, openssl.read_raises = withholds, ssl.SSLWantWriteError()
        client.send_frame(Opcode.TEXT, b"behind")
        assert ws.recv(timeout=PATIENCE) == "behind"
        assert not ws._writing and not ws._transport.unsent
        hold.done.set()
        client.close()


def test_tls_write_goes_on_when_it_has_read() -> None:
    """It waits for the peer, not for room: the loop does not spin."""
    hold = Hold()
    with served(websocket_app(hold), tls=True) as here:
        client = here.open()
        ws = hold.get()
        turns()
        openssl = ws._transport._tls = ScriptedTLS(ws._transport._tls)
        openssl.write_raises = ssl.SSLWantReadError()
        ws.send("blocked")
        ws.send("queued")
        turns()
        assert (ws._write_event, ws._writing) == (READ, True)
        openssl.write_raises = None
        client.send_frame(Opcode.TEXT, b"go on")
        assert client.recv_frame().data == b"blocked"
        assert client.recv_frame().data == b"queued"
        assert ws.recv(timeout=PATIENCE) == "go on"
        assert not ws._writing
        # And back again.
        openssl.write_raises = ssl.SSLWantWriteError()
        ws.send("no room")
        assert (ws._write_event, ws._writing) == (WRITE, True)
        openssl.write_raises = None
        assert client.recv_frame().data == b"no room"
        hold.done.set()
        client.close()


@with_and_without_tls
def test_large_messages_both_ways_at_once(tls: bool) -> None:
    data = os.urandom(3_000_000)

    def handler(ws: MountedConnection) -> None:
        sending = Greenlet.spawn(ws.send, data)
        assert ws.recv() == data
        sending.get()

    with served(websocket_app(handler, max_size=None, compression=None), tls=tls) as here:
        client = here.open()
        sending = gevent.spawn(client.send_frame, Opcode.BINARY, data)
        assert client.recv_frame().data == data
        sending.get(timeout=PATIENCE)
        assert client.recv_close().data == b"\x03\xe8"
        client.close()


@with_and_without_tls
def test_backpressure(tls: bool) -> None:
    """What is not read waits, at the latest in the client."""
    hold = Hold()
    with served(websocket_app(hold, max_queue=4), tls=tls) as here:
        client = here.open()
        ws = hold.get()
        count = 300
        frames = [client.frame(Opcode.TEXT, str(n).encode() * 50) for n in range(count)]
        sending = gevent.spawn(client.send_bytes, b"".join(frames))
        until(lambda: ws._stalled)
        for n in range(count):
            assert ws.recv(timeout=PATIENCE) == str(n) * 50
        sending.get(timeout=PATIENCE)
        hold.done.set()
        client.close()


def test_threads_are_native_here() -> None:
    """The tests above would not say anything otherwise."""
    assert in_thread(threading.get_native_id) != threading.get_native_id()
