"""Tests of geventws.net.background: connections that any native thread may use.

The server runs in this thread's hub; whoever uses the connection does so in native threads
without a hub, which block, or in greenlets, which do not.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from gevent._hub_local import get_hub_if_exists
from gevent.monkey import get_original

from geventws import (
    BackgroundConnection,
    ConcurrencyError,
    Connection,
    ConnectionClosedError,
    ConnectionClosedOK,
    InvalidStatus,
    Opcode,
    State,
    connect,
    reconnect,
    unix_connect,
    unix_serve,
)
from geventws.net.hubs import get_hub_state
from tests.net.support import (
    PATIENCE,
    Hold,
    client_tls,
    echo,
    in_thread,
    in_threads,
    raw_server,
    run_program,
    server_tls,
    serving,
    squeeze,
    turns,
    until,
    uri_of,
)

native_sleep = get_original("time", "sleep")


@pytest.fixture
def ws() -> Iterator[BackgroundConnection]:
    """A connection in the background, to an echo server."""
    with serving(echo) as server, background(uri_of(server)) as ws:
        yield ws


def background(uri: str, **options: Any) -> BackgroundConnection:
    ws: Any = connect(uri, background=True, **options)
    assert isinstance(ws, BackgroundConnection)
    return ws


def natively(function: Callable[[], Any]) -> Any:
    """Call a function in a native thread without a hub, where none may appear."""

    def run(_: int) -> Any:
        try:
            return function()
        finally:
            assert get_hub_if_exists() is None

    (result,) = in_threads(run, 1)
    return result


def cooperatively(function: Callable[[], Any]) -> Any:
    """Call a function in a greenlet; the other greenlets go on."""
    return function()


both = pytest.mark.parametrize("calling", [natively, cooperatively])


# The same methods.


def test_it_has_all_that_a_connection_has() -> None:
    def public(kind: type) -> set[str]:
        return {name for name in dir(kind) if not name.startswith("_")}

    # What the hub calls, and nobody else.
    internal = {"abandon", "on_deadline"}
    assert public(Connection) - public(BackgroundConnection) == internal


@both
def test_messages(calling: Any, ws: BackgroundConnection) -> None:
    def talk() -> list[Any]:
        ws.send("text")
        ws.send(b"bytes")
        ws.send("as bytes", text=False)
        ws.send(memoryview(b"as text"), text=True)
        return [ws.recv() for _ in range(4)]

    assert calling(talk) == ["text", b"bytes", b"as bytes", "as text"]


@both
def test_decode(calling: Any, ws: BackgroundConnection) -> None:
    def talk() -> list[Any]:
        for message in ("x", b"y", b"\xff"):
            ws.send(message)
        return [ws.recv(decode=False), ws.recv(decode=True)]

    assert calling(talk) == [b"x", "y"]
    with pytest.raises(UnicodeDecodeError):
        calling(lambda: ws.recv(decode=True))


@both
def test_timeout(calling: Any, ws: BackgroundConnection) -> None:
    for timeout in (0, 0.01):
        with pytest.raises(TimeoutError, match="timed out"):
            calling(lambda timeout=timeout: ws.recv(timeout))
    calling(lambda: ws.send("x"))
    assert calling(lambda: ws.recv(PATIENCE)) == "x"


@both
def test_fragments(calling: Any, ws: BackgroundConnection) -> None:
    def talk() -> Any:
        ws.send(str(number) for number in range(10))
        return ws.recv()

    assert calling(talk) == "0123456789"


@both
def test_streaming(calling: Any) -> None:
    with raw_server(background=True) as (ws, peer):
        peer.send_frame(Opcode.TEXT, "€".encode()[:1], fin=False)
        stream = ws.recv_streaming()
        assert calling(lambda: next(stream)) == ""
        peer.send_frame(Opcode.CONT, "€".encode()[1:] + b"uro", fin=True)
        assert calling(lambda: list(stream)) == ["€uro"]
        # One that is left early discards the rest.
        peer.send_frame(Opcode.TEXT, b"a", fin=False)
        stream = ws.recv_streaming()
        assert calling(lambda: next(stream)) == "a"
        calling(stream.close)  # type: ignore[attr-defined]
        peer.send_frame(Opcode.CONT, b"b", fin=True)
        peer.send_frame(Opcode.TEXT, b"next", fin=True)
        assert calling(ws.recv) == "next"


@both
def test_iteration_ends_with_the_connection(calling: Any) -> None:
    hold = Hold()
    with serving(hold) as server, background(uri_of(server)) as ws:
        peer = hold.get()
        for number in range(3):
            peer.send(str(number))
        closing = gevent.spawn(peer.close)
        assert calling(lambda: list(ws)) == ["0", "1", "2"]
        closing.get(timeout=PATIENCE)
        hold.done.set()


@both
def test_pings(calling: Any, ws: BackgroundConnection) -> None:
    def ping() -> tuple[Any, ...]:
        ping = ws.ping("data")
        return ping.wait(PATIENCE), ping.is_set(), ping.latency, ws.latency

    answered, is_set, latency, last = calling(ping)
    assert answered and is_set and latency == last > 0
    calling(ws.pong)


def test_sending_in_time(ws: BackgroundConnection) -> None:
    natively(lambda: ws.send_threadsafe("x", PATIENCE))
    assert ws.recv() == "x"
    with pytest.raises(TypeError, match="data must be str or bytes"):
        ws.send_threadsafe(["x"])  # type: ignore[arg-type]


@both
def test_batch(calling: Any) -> None:
    with raw_server(background=True) as (ws, peer):

        def talk() -> None:
            with ws.batch():
                ws.send("1")
                ws.send("2")

        calling(talk)
        for data in (b"1", b"2"):
            frame = peer.recv_frame()
            assert frame is not None
            assert frame.data == data


@both
def test_closing(calling: Any) -> None:
    hold = Hold()
    with serving(hold) as server:
        ws = background(uri_of(server))
        hold.get()
        assert (ws.state, ws.close_code, ws.close_reason) == (State.OPEN, None, None)
        calling(lambda: ws.close(4000, "enough"))
        hold.done.set()
        assert (ws.state, ws.close_code, ws.close_reason) == (State.CLOSED, 4000, "enough")
        assert calling(ws.wait_closed)
        calling(ws.close)


@both
@pytest.mark.parametrize(("exc", "code"), [(None, 1000), (ZeroDivisionError, 1011)])
def test_end_of_a_block(calling: Any, exc: Any, code: int) -> None:
    hold = Hold()
    with serving(hold) as server:
        uri = uri_of(server)

        def talk() -> None:
            with background(uri):
                if exc is not None:
                    raise exc

        talking = gevent.spawn(calling, talk)
        peer = hold.get()
        assert peer.wait_closed(PATIENCE)
        hold.done.set()
        try:
            talking.get()
        except ZeroDivisionError:
            assert exc is ZeroDivisionError
        assert peer.close_code == code


def test_properties(ws: BackgroundConnection) -> None:
    connection = ws._connection
    for name in ("id", "state", "subprotocol", "latency", "close_code", "close_reason", "path"):
        assert getattr(ws, name) == getattr(connection, name)
    for name in ("request", "response", "request_headers", "response_headers"):
        assert getattr(ws, name) is getattr(connection, name) is not None
    assert ws.remote_address == connection.remote_address
    assert ws.local_address[0] == "127.0.0.1"
    assert ws.logger.extra == {"websocket": connection}
    assert repr(ws) == f"<BackgroundConnection OPEN {ws.remote_address}>"


@both
def test_after_the_end(calling: Any) -> None:
    """The thread is gone; what arrived is still there, and the errors are the same."""
    hold = Hold()
    with serving(hold) as server:
        ws = background(uri_of(server))
        ping = ws.ping()
        peer = hold.get()
        for message in ("1", "2", "3"):
            peer.send(message)
        hold.done.set()
        until(lambda: ws._thread.mailbox.gone)
        assert calling(lambda: ws.recv(decode=False)) == b"1"
        assert calling(lambda: list(ws.recv_streaming())) == ["2"]
        assert calling(lambda: list(ws)) == ["3"]
        uses: list[Callable[[], Any]] = [
            ws.recv,
            lambda: ws.recv(1),
            lambda: next(iter(ws.recv_streaming())),
            lambda: ws.send("x"),
            lambda: ws.send(["x"]),
            ws.ping,
            ws.pong,
        ]
        for use in uses:
            with pytest.raises(ConnectionClosedOK, match="received 1000"):
                calling(use)
        assert calling(ping.wait)
        calling(ws.close)
        assert ws.close_code == 1000


def test_opening_that_fails() -> None:
    with serving(echo, process_request=lambda ws, request: ws.respond(403, "no")) as server:
        uri = uri_of(server)
        for calling in (natively, cooperatively):
            with pytest.raises(InvalidStatus):
                calling(lambda: background(uri))
    with pytest.raises(OSError):
        natively(lambda: background(uri))


def test_reconnecting() -> None:
    def hang_up(ws: Any) -> None:
        ws.send("x")

    with serving(hang_up) as server:
        uri = uri_of(server)

        def listen() -> list[Any]:
            found = []
            for ws in reconnect(uri, background=True):
                assert isinstance(ws, BackgroundConnection)
                found += list(ws)
                if len(found) == 3:
                    break
            return found

        assert cooperatively(listen) == ["x", "x", "x"]
        assert in_thread(listen) == ["x", "x", "x"]


def test_unix_sockets_and_tls(tmp_path: Any) -> None:
    with unix_serve(echo, tmp_path / "s"):
        with unix_connect(tmp_path / "s", background=True) as ws:
            ws.send("x")
            assert ws.recv() == "x"
    with serving(echo, ssl=server_tls()) as server:
        with background(uri_of(server, "wss"), ssl=client_tls()) as tls:
            natively(lambda: tls.send("x" * 100_000))
            assert natively(tls.recv) == "x" * 100_000


# What goes on in the background.

PINGS = {"ping_interval": 0.1, "ping_timeout": 0.4}


def test_a_thread_that_blocks_does_not_lose_its_connection() -> None:
    """Its keepalive holds, and messages arrive; with a plain connection, they do not."""
    hold = Hold()
    with serving(hold, **PINGS) as server:
        uri = uri_of(server)

        def block(**options: Any) -> Any:
            with connect(uri, **options, **PINGS) as ws:
                native_sleep(1.5)
                return ws.recv()

        blocking = gevent.spawn(in_threads, lambda _: block(background=True), 1)
        in_background = hold.get()
        plain = gevent.spawn(in_threads, lambda _: block(), 1)
        in_thread = hold.get()
        in_background.send("while you were away")
        assert blocking.get() == ["while you were away"]
        with pytest.raises(ConnectionClosedError):
            plain.get()
        hold.done.set()
        until(lambda: in_background.close_code == 1000)
        assert in_thread.close_code != 1000


def test_messages_queue_within_bounds() -> None:
    """Reading pauses when the queue is full, whatever the peer sends."""
    with raw_server(background=True, max_queue=4) as (ws, peer):
        connection = ws._connection  # type: ignore[attr-defined]
        for number in range(20):
            peer.send_frame(Opcode.TEXT, str(number).encode())
        until(lambda: connection._stalled)
        assert connection._inbox.size == 4
        messages = natively(lambda: [ws.recv() for _ in range(20)])
        assert messages == [str(number) for number in range(20)]
        assert not connection._stalled


# Several threads at once.


def test_several_threads_send(ws: BackgroundConnection) -> None:
    def send(thread: int) -> None:
        for number in range(50):
            ws.send(f"{thread} {number}")

    sending = gevent.spawn(in_threads, send, 4)
    received = [ws.recv() for _ in range(200)]
    sending.get()
    for thread in range(4):
        mine = [message for message in received if str(message).startswith(f"{thread} ")]
        assert mine == [f"{thread} {number}" for number in range(50)]


def test_one_thread_receives_while_others_send_fragments(ws: BackgroundConnection) -> None:
    def send(thread: int) -> None:
        for number in range(20):
            ws.send([f"{thread} ", f"{number}"])

    sending = gevent.spawn(in_threads, send, 3)
    receiving = gevent.spawn(in_threads, lambda _: [ws.recv() for _ in range(60)], 1)
    sending.get()
    (received,) = receiving.get()
    assert sorted(received) == sorted(f"{t} {n}" for t in range(3) for n in range(20))


def test_one_thread_receives_at_a_time(ws: BackgroundConnection) -> None:
    receiving = gevent.spawn(natively, ws.recv)
    until(lambda: ws._connection._receiver is not None)
    with pytest.raises(ConcurrencyError, match="already running recv"):
        natively(lambda: ws.recv(1))
    ws.send("x")
    assert receiving.get() == "x"


def test_one_thread_closes_while_another_receives() -> None:
    with serving(echo) as server, background(uri_of(server)) as ws:
        receiving = gevent.spawn(natively, lambda: list(ws))
        until(lambda: ws._connection._receiver is not None)
        natively(ws.close)
        assert receiving.get() == []


def test_other_greenlets_go_on(ws: BackgroundConnection) -> None:
    ticks: list[float] = []

    def tick() -> None:
        while True:
            ticks.append(time.monotonic())
            gevent.sleep(0.001)

    ticking = gevent.spawn(tick)
    with pytest.raises(TimeoutError):
        ws.recv(0.2)
    ticking.kill()
    assert len(ticks) > 20


# Interruptions.


def test_a_killed_receiver_loses_nothing() -> None:
    with raw_server(background=True) as (ws, peer):
        received: list[Any] = []

        def receive() -> None:
            while len(received) < 100:
                try:
                    received.append(ws.recv())
                except gevent.Timeout:
                    pass

        receiving = gevent.spawn(receive)
        turns()
        for number in range(100):
            receiving.kill(gevent.Timeout, block=False)
            peer.send_frame(Opcode.TEXT, str(number).encode())
            turns(number % 4)
        receiving.get(timeout=PATIENCE)
        assert received == [str(number) for number in range(100)]


def test_a_killed_sender_has_sent_nothing() -> None:
    with raw_server(background=True) as (ws, peer):
        squeeze(ws._connection, peer)  # type: ignore[attr-defined]
        ws.send(b"x" * 1_500_000)
        with pytest.raises(gevent.Timeout), gevent.Timeout(0.01):
            ws.send("not sent")
        sending = gevent.spawn(natively, lambda: ws.send("sent"))
        while (frame := peer.recv_frame()) is not None and frame.opcode is Opcode.BINARY:
            pass
        assert frame is not None
        assert frame.data == b"sent"
        sending.get(timeout=PATIENCE)


class Broken(Exception):
    pass


@both
def test_an_iterable_that_fails(calling: Any) -> None:
    def fragments() -> Iterator[str]:
        yield "begun"
        raise Broken

    with raw_server(background=True, close_timeout=0.1) as (ws, peer):
        with pytest.raises(Broken):
            calling(lambda: ws.send(fragments()))
        assert [frame.opcode for frame in iter(peer.recv_frame, None)] == [
            Opcode.TEXT,
            Opcode.CLOSE,
        ]
        with pytest.raises(ConnectionClosedError, match="error in fragmented message"):
            calling(lambda: ws.send("x"))


@both
def test_an_iterable_that_fails_at_once(calling: Any, ws: BackgroundConnection) -> None:
    def fragments() -> Iterator[str]:
        raise Broken
        yield "never"

    with pytest.raises(Broken):
        calling(lambda: ws.send(fragments()))
    ws.send("fine")
    assert ws.recv() == "fine"


@both
def test_an_iterable_that_sends(calling: Any, ws: BackgroundConnection) -> None:
    def fragments() -> Iterator[str]:
        ws.send("before")
        yield "a"
        with pytest.raises(ConcurrencyError, match="from the iterable"):
            ws.send("between")
        yield "b"

    calling(lambda: ws.send(fragments()))
    assert [ws.recv(), ws.recv()] == ["before", "ab"]


def test_iterables_run_in_the_calling_thread(ws: BackgroundConnection) -> None:
    threads: set[int] = set()
    get_ident = get_original("_thread", "get_ident")

    def fragments() -> Iterator[str]:
        for _ in range(3):
            threads.add(get_ident())
            yield "x"

    assert natively(lambda: (ws.send(fragments()), get_ident())[1]) in threads
    assert len(threads) == 1


@both
@pytest.mark.parametrize(
    ("message", "text"),
    [
        (42, "data must be str, bytes, or iterable"),
        ({"a": 1}, "data is a dict-like object; send its values, or its JSON text"),
        ([42], "data iterable must contain str or bytes"),
    ],
)
def test_bad_messages(calling: Any, message: Any, text: str, ws: BackgroundConnection) -> None:
    with pytest.raises(TypeError) as info:
        calling(lambda: ws.send(message))
    assert str(info.value) == text
    ws.send("fine")
    assert ws.recv() == "fine"


def test_the_connection_ends_in_the_middle_of_an_iterable() -> None:
    def fragments() -> Iterator[str]:
        yield "a"
        peer.close()
        until(lambda: ws.state is State.CLOSED)
        yield "b"

    with raw_server(background=True) as (ws, peer):
        with pytest.raises(ConnectionClosedError):
            ws.send(fragments())
        until(lambda: ws._thread.mailbox.gone)  # type: ignore[attr-defined]


# Programs that know nothing of gevent.

SCRIPT = """
import sys, threading, time
import geventws

with geventws.connect(sys.argv[1], background=sys.argv[2] == "background") as ws:
    ws.send("text")
    ws.send(b"bytes")
    assert [ws.recv(), ws.recv(timeout=10)] == ["text", b"bytes"]
    try:
        ws.recv(timeout=0.01)
    except TimeoutError:
        pass
    else:
        raise AssertionError
    assert ws.ping().wait(10)
    ws.send("close")
    assert list(ws) == ["close"]
assert ws.close_code == 1000
import gevent.monkey
assert not gevent.monkey.saved
print("fine", flush=True)
"""


@pytest.mark.parametrize("kind", ["plain", "background"])
def test_script(kind: str) -> None:
    def handler(ws: Any) -> None:
        for message in ws:
            ws.send(message)
            if message == "close":
                break

    with serving(handler) as server:
        assert run_program(SCRIPT, uri_of(server), kind) == ("fine\n", "", 0)


CTRL_C = """
import os, signal, sys, threading, time
if sys.argv[1] == "hub":
    import gevent; gevent.sleep(0)
import geventws

COUNT = 200

def count(ws):
    for number in range(COUNT):
        ws.send(str(number))
    ws.wait_closed()

ports = []
def serve():
    with geventws.serve(count, "127.0.0.1", 0) as server:
        ports.append(server.address[1])
        server.serve_forever()
threading.Thread(target=serve, daemon=True).start()
while not ports:
    time.sleep(0.001)

armed = False
def interrupt(*args):
    global armed
    if armed:
        armed = False
        raise KeyboardInterrupt
signal.signal(signal.SIGINT, interrupt)

received = []
interrupts = 0
with geventws.connect(f"ws://127.0.0.1:{ports[0]}/", background=True) as ws:
    def interrupting():
        # Not for ever: a busy machine gets nowhere between two of them.
        while len(received) < COUNT and interrupts < COUNT:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.0003)
    thread = threading.Thread(target=interrupting)
    thread.start()
    while len(received) < COUNT:
        try:
            armed = True
            received.append(ws.recv())
            armed = False
        except KeyboardInterrupt:
            interrupts += 1
    thread.join()
assert received == [str(number) for number in range(COUNT)], received
assert interrupts > 10, interrupts
print("fine", flush=True)
"""


# gevent loses an event of libuv if a signal's handler raises in its own callback for it.
HUBS = ["none"] if get_hub_state().tells_errors else ["hub", "none"]


@pytest.mark.parametrize("hub", HUBS)
def test_ctrl_c_loses_nothing(hub: str) -> None:
    output, errors, status = run_program(CTRL_C, hub)
    assert (output, status) == ("fine\n", 0), errors


def test_the_log_is_written_in_the_background(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG", logger="geventws.client"), serving(echo) as server:
        with background(uri_of(server)) as ws:
            ws.send("x")
            ws.recv()
    threads = {record.thread for record in caplog.records if record.name == "geventws.client"}
    assert threads and threading.get_ident() not in threads
