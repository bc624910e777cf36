"""Tests of geventws.net.connection: closing, and what is known of a connection."""

from __future__ import annotations

import functools
import gc
import logging
import uuid
import weakref
from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from gevent.event import Event
from gevent.monkey import get_original

from geventws import (
    ClientConnection,
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    Frame,
    Headers,
    Opcode,
    ProtocolError,
    ServerConnection,
    State,
    connect,
)
from geventws.testing import RawClient, RawPeer, RawServer
from tests.net.support import (
    HOST,
    PATIENCE,
    Hold,
    Interruption,
    client_tls,
    echo,
    in_thread,
    in_threads,
    pair,
    raw_client,
    raw_server,
    server_tls,
    serving,
    squeeze,
    turns,
    until,
    uri_of,
)

TEXT, CONT, CLOSE = Opcode.TEXT, Opcode.CONT, Opcode.CLOSE
NORMAL = (1000).to_bytes(2, "big")

# The real one, which blocks the hub, under monkey patching too.
block = get_original("time", "sleep")

Ends = tuple[ClientConnection, RawPeer]


@pytest.fixture
def ends() -> Iterator[Ends]:
    with raw_server(close_timeout=5) as both:
        yield both


def close_frame(code: int, reason: str = "") -> Frame:
    return Frame(CLOSE, code.to_bytes(2, "big") + reason.encode())


# Sending from other threads.

# More than systems keep for a peer that does not read.
MUCH = b"x" * 1_500_000


@pytest.mark.parametrize("debug", [False, True])
def test_send_threadsafe(debug: bool, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG" if debug else "INFO", logger="geventws"), pair() as (one, other):

        def send(thread: int) -> None:
            for number in range(200):
                one.send_threadsafe(f"{thread} {number}", PATIENCE)

        sending = gevent.spawn(in_threads, send, 3)
        received = [other.recv(PATIENCE) for _ in range(600)]
        sending.get()
        for thread in range(3):
            mine = [message for message in received if str(message).startswith(f"{thread} ")]
            assert mine == [f"{thread} {number}" for number in range(200)]


def test_send_threadsafe_in_the_own_thread() -> None:
    with pair() as (one, other):
        one.send_threadsafe("x")
        one.send_threadsafe(b"y", text=True, compress=False)
        assert [other.recv(), other.recv()] == ["x", "y"]


def test_send_threadsafe_waits_for_room_but_not_for_ever() -> None:
    with raw_server() as (ws, peer):
        squeeze(ws, peer)
        ws.send(MUCH)

        def send(message: str, timeout: float | None) -> None:
            ws.send_threadsafe(message, timeout)

        with pytest.raises(TimeoutError, match=r"timed out in 0.1s"):
            in_thread(lambda: send("never", 0.1))
        # After the error, it may be sent again.
        sending = gevent.spawn(in_threads, lambda _: send("now", None), 1)
        while (frame := peer.recv_frame()) is not None and frame.opcode is not TEXT:
            pass
        assert frame is not None
        assert frame.data == b"now"
        sending.get()
        ws.send("the last")
        frame = peer.recv_frame()
        assert frame is not None
        assert frame.data == b"the last"


def test_send_threadsafe_waits_for_the_turn_of_a_fragmented_message() -> None:
    with raw_server() as (ws, peer):
        more = Event()

        def fragments() -> Iterator[str]:
            yield "a"
            more.wait(PATIENCE)
            yield "b"

        fragmented = gevent.spawn(ws.send, fragments())
        until(lambda: ws._fragmenting is not None)
        sending = gevent.spawn(in_threads, lambda _: ws.send_threadsafe("x"), 1)
        turns()
        more.set()
        sending.get()
        fragmented.get()
        frames = [peer.recv_frame() for _ in range(4)]
        assert [frame.data for frame in frames if frame is not None] == [b"a", b"b", b"", b"x"]


def test_send_threadsafe_never_sends_what_timed_out() -> None:
    """Each call that returned was sent, once, and each that raised was not."""
    with pair() as (one, other):
        returned: list[str] = []

        def send(thread: int) -> None:
            for number in range(100):
                message = f"{thread} {number}"
                try:
                    one.send_threadsafe(message, 0.0002)
                except TimeoutError:
                    pass
                else:
                    returned.append(message)

        in_threads(send, 2)
        one.send("the last")
        received = list(iter(lambda: str(other.recv(PATIENCE)), "the last"))
        assert sorted(received) == sorted(returned)


def test_send_threadsafe_after_the_end() -> None:
    with pair() as (one, _):
        pass
    with pytest.raises(ConnectionClosedOK):
        in_thread(lambda: one.send_threadsafe("x"))
    with pytest.raises(TypeError, match="data must be str or bytes"):
        one.send_threadsafe(["x"])  # type: ignore[arg-type]


def test_send_threadsafe_to_a_thread_that_closes() -> None:
    """Its hub goes away with the connection, while others wait for room."""
    with RawServer() as server:
        found: list[Any] = []

        def own(_: int) -> None:
            with connect(server.uri, compression=None, close_timeout=0.01) as ws:
                until(lambda: found)
                squeeze(ws, found[0])
                ws.send(MUCH)
                found.append(ws)
                until(lambda: ws._senders)

        owning = gevent.spawn(in_threads, own, 1)
        found.append(server.accept())
        until(lambda: len(found) == 2)
        with pytest.raises(ConnectionClosedError):
            in_thread(lambda: found[1].send_threadsafe("x"))
        owning.get()
        with pytest.raises(ConnectionClosedError):
            in_thread(lambda: found[1].send_threadsafe("x"))
        found[0].close()


# close().


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize(
    "code, reason", [(1000, ""), (1001, "bye"), (3000, "é"), (4999, "x" * 123)]
)
def test_close(code: int, reason: str, tls: bool) -> None:
    with pair(tls=tls) as (client, server):
        client.close(code, reason)
        assert server.wait_closed(PATIENCE)
        assert client.state is server.state is State.CLOSED
        assert (server.close_code, server.close_reason) == (code, reason)
        assert (client.close_code, client.close_reason) == (code, reason)


def test_close_waits_for_the_peer(ends: Ends) -> None:
    ws, peer = ends
    closing = gevent.spawn(ws.close)
    assert peer.recv_frame() == close_frame(1000)
    turns()
    assert not closing.dead
    assert ws.state is State.CLOSING
    peer.send_frame(CLOSE, NORMAL)
    turns()
    # The server ends TCP (RFC 6455, section 7.1.1).
    assert not closing.dead
    peer.close()
    closing.get(timeout=PATIENCE)
    assert ws.state is State.CLOSED


def test_close_is_idempotent(ends: Ends) -> None:
    ws, peer = ends
    closing = [gevent.spawn(ws.close), gevent.spawn(ws.close, 1001, "x")]
    assert peer.recv_frame() == close_frame(1000)
    peer.send_frame(CLOSE, NORMAL)
    peer.close()
    gevent.joinall(closing, timeout=PATIENCE, raise_error=True)
    ws.close()
    ws.close(1001)
    assert ws.close_code == 1000


@pytest.mark.parametrize(
    "code, reason, error",
    [
        (999, "", "invalid status code"),
        (1005, "", "invalid status code"),
        (1006, "", "invalid status code"),
        (1015, "", "invalid status code"),
        (2999, "", "invalid status code"),
        (5000, "", "invalid status code"),
        (1000, "é" * 62, "control frame too long"),
    ],
)
def test_bad_code_or_reason_leaves_the_connection_open(
    ends: Ends, code: int, reason: str, error: str
) -> None:
    ws, peer = ends
    with pytest.raises(ProtocolError, match=error):
        ws.close(code, reason)
    ws.send("still open")
    assert peer.recv_frame() == Frame(TEXT, b"still open")


def test_peer_that_never_answers() -> None:
    with raw_server(close_timeout=0.05) as (ws, peer):
        ws.close()
        assert (ws.close_code, ws.close_reason) == (1006, "")
        with pytest.raises(ConnectionClosedError) as info:
            ws.recv()
        assert str(info.value) == "sent 1000 (OK); no close frame received"
        assert isinstance(info.value.__cause__, TimeoutError)
        assert str(info.value.__cause__) == "timed out while closing connection"
        peer.recv_close()


def test_answer_that_lies_unread_counts() -> None:
    # The hub is blocked for longer than the closing handshake may take.
    for blocked in (0.1, 1.2):
        with raw_server(close_timeout=0.05) as (ws, peer):
            closing = gevent.spawn(ws.close)
            peer.recv_close()
            peer.send_frame(CLOSE, NORMAL)
            peer.close()
            block(blocked)
            closing.get(timeout=PATIENCE)
            assert ws.close_code == 1000
            with pytest.raises(ConnectionClosedOK) as info:
                ws.recv()
            assert info.value.__cause__ is None


def test_close_timeout_bounds_all_of_it() -> None:
    # The peer answers, but does not end TCP.
    with raw_server(close_timeout=0.05) as (ws, peer):
        closing = gevent.spawn(ws.close)
        peer.recv_close()
        peer.send_frame(CLOSE, NORMAL)
        closing.get(timeout=PATIENCE)
        assert ws.close_code == 1000
        with pytest.raises(ConnectionClosedOK):
            ws.recv()


def test_interrupted_close_goes_on(ends: Ends) -> None:
    ws, peer = ends
    for exc in (gevent.Timeout, gevent.GreenletExit, Interruption):
        closing = gevent.spawn(ws.close)
        turns(1)
        closing.kill(exc)
    assert peer.recv_frame() == close_frame(1000)
    peer.send_frame(CLOSE, NORMAL)
    peer.close()
    assert ws.wait_closed(PATIENCE)
    assert ws.close_code == 1000


def test_messages_that_arrive_while_closing_can_be_read(ends: Ends) -> None:
    ws, peer = ends
    closing = gevent.spawn(ws.close)
    peer.recv_close()
    peer.send_frame(TEXT, b"late")
    peer.send_frame(CLOSE, NORMAL)
    peer.close()
    closing.get(timeout=PATIENCE)
    assert ws.recv() == "late"
    with pytest.raises(ConnectionClosedOK, match=r"^sent 1000 \(OK\); then received 1000 \(OK\)$"):
        ws.recv()


def test_both_ends_close_at_once() -> None:
    with pair() as (client, server):
        closing = [gevent.spawn(client.close, 1000), gevent.spawn(server.close, 1001)]
        gevent.joinall(closing, timeout=PATIENCE, raise_error=True)
        assert client.close_code in (1000, 1001)
        assert server.close_code in (1000, 1001)


def test_close_during_another_greenlets_fragmented_message(ends: Ends) -> None:
    ws, peer = ends
    more = Event()

    def fragments() -> Iterator[str]:
        yield "one"
        more.wait(PATIENCE)
        yield "two"

    sender = gevent.spawn(ws.send, fragments())
    assert peer.recv_frame() == Frame(TEXT, b"one", fin=False)
    closing = gevent.spawn(ws.close)
    assert peer.recv_frame() == close_frame(1011, "close during fragmented message")
    more.set()
    peer.close()
    closing.get(timeout=PATIENCE)
    with pytest.raises(ConnectionClosedError):
        sender.get(timeout=PATIENCE)


def test_close_after_the_connection_is_lost(ends: Ends) -> None:
    ws, peer = ends
    peer.reset()
    assert ws.wait_closed(PATIENCE)
    ws.close()
    assert (ws.close_code, ws.close_reason) == (1006, "")


def test_receiver_learns_of_close() -> None:
    with pair() as (client, server):
        receiver = gevent.spawn(client.recv)
        until(lambda: client._receiver is receiver)
        client.close()
        with pytest.raises(ConnectionClosedOK):
            receiver.get(timeout=PATIENCE)


# wait_closed().


def test_wait_closed(ends: Ends) -> None:
    ws, peer = ends
    assert ws.wait_closed(0) is False
    assert ws.wait_closed(0.001) is False
    waiting = [gevent.spawn(ws.wait_closed) for _ in range(3)]
    peer.close()
    gevent.joinall(waiting, timeout=PATIENCE, raise_error=True)
    assert [greenlet.value for greenlet in waiting] == [True] * 3
    assert ws.wait_closed() is True


# with.


class Bug(Exception):
    pass


@pytest.mark.parametrize(
    "exc, code, waits",
    [
        (None, 1000, True),
        (Bug, 1011, True),
        (GeneratorExit, 1000, True),
        (gevent.GreenletExit, 1001, False),
        (gevent.Timeout, 1011, False),
        (Interruption, 1011, False),
        (KeyboardInterrupt, 1011, False),
    ],
)
def test_end_of_a_with_block(
    ends: Ends, exc: type[BaseException] | None, code: int, waits: bool
) -> None:
    ws, peer = ends
    left: list[BaseException | None] = []

    def block() -> None:
        try:
            with ws as entered:
                assert entered is ws
                if exc is not None:
                    raise exc
        except BaseException as caught:
            left.append(caught)
        else:
            left.append(None)

    greenlet = gevent.spawn(block)
    assert peer.recv_frame() == close_frame(code)
    turns()
    assert greenlet.dead is not waits
    peer.send_frame(CLOSE, code.to_bytes(2, "big"))
    peer.close()
    greenlet.join(PATIENCE)
    assert ws.wait_closed(PATIENCE)
    assert [type(error) for error in left] == [exc or type(None)]


def test_with_block_of_a_connection_that_closed_in_it(ends: Ends) -> None:
    ws, peer = ends
    with pytest.raises(ConnectionClosed):
        with ws:
            peer.send_frame(CLOSE, (4000).to_bytes(2, "big"))
            peer.close()
            ws.recv()
    assert ws.close_code == 4000


# What is known.


def test_attributes_before_and_after_the_end() -> None:
    options = {"subprotocols": ["chat"]}
    with pair(client=options, server=options) as (client, server):
        for ws, other in ((client, server), (server, client)):
            assert isinstance(ws.id, uuid.UUID)
            assert ws.id is ws.id
            assert ws.state is State.OPEN
            assert ws.subprotocol == "chat"
            assert (ws.close_code, ws.close_reason) == (None, None)
            assert ws.remote_address[0] == HOST
            assert ws.local_address == other.remote_address
            assert ws.request is not None and ws.response is not None
            assert ws.path == ws.request.path == "/"
            assert isinstance(ws.request_headers, Headers)
            assert ws.request_headers["Sec-WebSocket-Protocol"] == "chat"
            assert ws.response.status_code == 101
            assert ws.response_headers is ws.response.headers
            assert ws.response_headers["Sec-WebSocket-Protocol"] == "chat"
            assert repr(ws) == f"<{type(ws).__name__} OPEN {ws.remote_address}>"
        assert client.id != server.id
        before = [
            (ws.id, ws.remote_address, ws.local_address, ws.request) for ws in (client, server)
        ]
        client.close(3000, "why")
        assert server.wait_closed(PATIENCE)
        for ws, known in zip((client, server), before, strict=True):
            assert (ws.id, ws.remote_address, ws.local_address, ws.request) == known
            assert (ws.close_code, ws.close_reason) == (3000, "why")
            assert ws.state is State.CLOSED
            assert ws.subprotocol == "chat"
            assert "CLOSED" in repr(ws)


def test_remote_address_after_the_end_without_having_been_asked() -> None:
    with raw_client() as (peer, ws):
        address = peer.sock.getsockname()
        peer.close()
        assert ws.wait_closed(PATIENCE)
        assert ws.remote_address == address


@pytest.mark.parametrize(
    "payload, code, reason",
    [(b"", 1005, ""), (NORMAL, 1000, ""), (b"\x0b\xb8x", 3000, "x"), (None, 1006, "")],
)
def test_close_code(ends: Ends, payload: bytes | None, code: int, reason: str) -> None:
    ws, peer = ends
    if payload is not None:
        peer.send_frame(CLOSE, payload)
        assert peer.recv_frame() == Frame(CLOSE, payload)
    peer.close()
    assert ws.wait_closed(PATIENCE)
    assert (ws.close_code, ws.close_reason) == (code, reason)


def test_logger_names_the_connection(ends: Ends, caplog: pytest.LogCaptureFixture) -> None:
    ws, _ = ends
    with caplog.at_level(logging.INFO, "geventws.client"):
        ws.logger.info("hello %s", "there")
    (record,) = (record for record in caplog.records if record.message == "hello there")
    assert record.websocket is ws  # type: ignore[attr-defined]
    assert record.name == "geventws.client"


# Attributes of users, and subclasses.


class Client(ClientConnection):
    def __init__(self, *args: Any, name: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.name = name

    def recv(self, *args: Any, **kwargs: Any) -> Any:
        return self.name, super().recv(*args, **kwargs)


class Server(ServerConnection):
    def send(self, message: Any, *args: Any, **kwargs: Any) -> None:
        super().send(message.upper(), *args, **kwargs)


def test_users_set_attributes() -> None:
    with pair() as (client, server):
        for ws in (client, server):
            ws.user = "ada"  # type: ignore[attr-defined]
            assert vars(ws) == {"user": "ada"}
            with pytest.raises(AttributeError):
                ws.other  # type: ignore[attr-defined]  # noqa: B018


def test_connections_are_keys() -> None:
    with pair() as (client, server):
        assert len({client, server, client}) == 2


def test_subclasses() -> None:
    with serving(echo, create_connection=Server) as server:
        make = functools.partial(Client, name="ada")
        with connect(uri_of(server), create_connection=make) as ws:
            assert isinstance(ws, Client)
            ws.send("hello")
            assert ws.recv() == ("ada", "HELLO")


# Memory.


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("how", ["close", "peer", "reset", "failure"])
def test_finished_connections_are_freed_by_reference_counting(
    how: str, tls: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # pytest keeps log records, which refer to their connection.
    monkeypatch.setattr(logging.getLogger("geventws"), "propagate", False)

    def use(server: Any, hold: Hold) -> list[weakref.ref[Any]]:
        secure: dict[str, Any] = {"ssl": client_tls()} if tls else {}
        client = connect(uri_of(server, "wss" if tls else "ws"), **secure)
        ws = hold.get()
        client.send(["frag", "ments"])
        assert ws.recv() == "fragments"
        ws.send("x" * 100_000)
        assert client.recv() == "x" * 100_000
        assert client.ping().wait(PATIENCE)
        if how == "peer":
            ws.close()
        elif how == "reset":
            client._lost()
        elif how == "failure":
            ws._write_head(b"\xff\xff")
        else:
            client.close()
        assert client.wait_closed(PATIENCE) and ws.wait_closed(PATIENCE)
        for end in (client, ws):
            try:
                end.recv()
            except ConnectionClosed:
                pass
        hold.done.set()
        return [weakref.ref(end) for end in (client, ws)]

    hold = Hold()
    options: dict[str, Any] = {"ssl": server_tls()} if tls else {}
    gc.collect()
    gc.disable()
    try:
        with serving(hold, **options) as server:
            refs = use(server, hold)
            until(lambda: [ref() for ref in refs] == [None, None])
    finally:
        gc.enable()


@pytest.mark.parametrize(
    "how", ["recv times out", "recv is killed", "connect times out", "refused"]
)
def test_interrupted_clients_are_freed_by_reference_counting(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("geventws"), "propagate", False)
    refs: list[weakref.ref[Any]] = []

    def make(*args: Any, **kwargs: Any) -> ClientConnection:
        ws = ClientConnection(*args, **kwargs)
        refs.append(weakref.ref(ws))
        return ws

    def use(server: RawServer) -> None:
        # Long enough to come to the handshake on a busy machine.
        timeout = 0.5 if how == "connect times out" else PATIENCE
        with connect(server.uri, create_connection=make, open_timeout=timeout) as ws:
            ws.recv(timeout=0.001 if how == "recv times out" else None)

    gc.collect()
    gc.disable()
    try:
        with RawServer() as server:
            user = gevent.spawn(use, server)
            opens = how not in ("connect times out", "refused")
            with server.accept(open=opens) as peer:
                if how == "recv is killed":
                    until(lambda: refs and refs[0]()._receiver)
                    user.kill()
                elif how == "recv times out":
                    assert peer.recv_close() is not None
                elif how == "refused":
                    server.recv_request(peer)
                    peer.send_bytes(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            user.join()
            # Whoever died keeps its exception, with the frames that it passed through.
            del user
            until(lambda: refs and refs[0]() is None)
    finally:
        gc.enable()


def test_silent_clients_are_freed_by_reference_counting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("geventws"), "propagate", False)
    refs: list[weakref.ref[Any]] = []

    def make(*args: Any, **kwargs: Any) -> ServerConnection:
        ws = ServerConnection(*args, **kwargs)
        refs.append(weakref.ref(ws))
        return ws

    gc.collect()
    gc.disable()
    try:
        with serving(Hold(), open_timeout=0.01, create_connection=make) as server:
            with RawClient(server.address, open=False) as peer:
                assert peer.recv_eof()
            until(lambda: refs and refs[0]() is None)
    finally:
        gc.enable()
