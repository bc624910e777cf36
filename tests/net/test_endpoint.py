"""Tests of geventws.net.endpoint: order, backpressure, and errors where none may escape."""

from __future__ import annotations

import contextlib
import logging
import os
import pathlib
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

import gevent
import pytest
from gevent.event import AsyncResult, Event
from gevent.monkey import get_original

from geventws import (
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    Frame,
    Opcode,
    PayloadTooBig,
    ProtocolError,
    ServerConnection,
    State,
    TooManyFragments,
    unix_serve,
)
from geventws.net.endpoint import TURN_FRAMES
from geventws.net.receiving import FAIR_TIME
from geventws.testing import RawClient
from tests.net.support import (
    PATIENCE,
    Hold,
    Polls,
    booby_trap,
    client_tls,
    echo,
    in_child,
    raw_client,
    run_program,
    server_tls,
    serving,
    squeeze,
    turns,
    until,
)

TEXT, BINARY, CONT = Opcode.TEXT, Opcode.BINARY, Opcode.CONT
CLOSE, PING, PONG = Opcode.CLOSE, Opcode.PING, Opcode.PONG
NORMAL = (1000).to_bytes(2, "big")

Ends = tuple[RawClient, ServerConnection]


@pytest.fixture
def ends() -> Iterator[Ends]:
    with raw_client() as both:
        yield both


def failure(code: int, reason: str) -> Frame:
    return Frame(CLOSE, code.to_bytes(2, "big") + reason.encode())


def texts(peer: RawClient, count: int) -> bytes:
    return b"".join(peer.frame(TEXT, b"%d" % number) for number in range(count))


def numbered(count: int) -> list[Frame]:
    return [Frame(TEXT, b"%d" % number) for number in range(count)]


def tls_or_not(tls: bool) -> dict[str, Any]:
    return {"ssl": server_tls()} if tls else {}


def wait_unread(ws: ServerConnection) -> None:
    """Wait until something lies in the socket, without the hub, which would read it."""
    select_ = get_original("select", "select")
    assert select_([ws._transport.sock], [], [], PATIENCE)[0]


def own_logger(level: int) -> logging.Logger:
    """A logger of a level, whatever the run's is: at DEBUG, reads take another way."""
    logger = logging.Logger("endpoint", level)
    logger.addHandler(logging.NullHandler())
    return logger


LEVELS = pytest.mark.parametrize("level", [logging.INFO, logging.DEBUG], ids=["INFO", "DEBUG"])


# Order.

OFFENCES = [
    (lambda peer: peer.frame(CLOSE, NORMAL), Frame(CLOSE, NORMAL)),
    (lambda peer: peer.frame(CLOSE, b""), Frame(CLOSE, b"")),
    (
        lambda peer: peer.frame(CLOSE, b"\x03\xe8\xff"),
        failure(1007, "invalid start byte at position 0"),
    ),
    (lambda peer: peer.frame(TEXT, b"x", rsv=4), failure(1002, "reserved bits must be 0")),
    (lambda peer: peer.frame(TEXT, b"x", mask=False), failure(1002, "incorrect masking")),
    (lambda peer: peer.frame(TEXT, b"\xff"), failure(1007, "invalid start byte at position 0")),
    (
        lambda peer: peer.frame(TEXT, bytes(1001)),
        failure(1009, "frame with 1001 bytes exceeds limit of 1000 bytes"),
    ),
]


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("count", [1, 16, 17, 100])
@pytest.mark.parametrize("last, answer", OFFENCES)
def test_messages_are_answered_before_what_follows_them(
    last: Callable[[RawClient], bytes], answer: Frame, count: int, tls: bool
) -> None:
    """They come in one segment with a close frame, or with a frame that is wrong."""

    def handler(ws: ServerConnection) -> None:
        try:
            echo(ws)
        except ConnectionClosedError:
            pass

    options = tls_or_not(tls)
    with serving(handler, max_size=1000, **options) as server:
        with RawClient(server.address, ssl=client_tls() if tls else None) as peer:
            peer.send_bytes(texts(peer, count) + last(peer))
            assert [peer.recv_frame() for _ in range(count)] == numbered(count)
            assert peer.recv_frame() == answer
            assert peer.recv_frame() is None


@LEVELS
def test_what_follows_a_close_frame_is_ignored(level: int) -> None:
    with raw_client(logger=own_logger(level)) as (peer, ws):
        receiver = gevent.spawn(ws.recv)
        until(lambda: ws._receiver is receiver)
        peer.send_bytes(texts(peer, 1) + peer.frame(CLOSE, NORMAL) + texts(peer, 1))
        assert receiver.get(timeout=PATIENCE) == "0"
        assert peer.recv_frame() == Frame(CLOSE, NORMAL)
        assert peer.recv_frame() is None
        peer.close()
        with pytest.raises(ConnectionClosedOK):
            ws.recv()


def test_messages_and_the_end_of_the_stream_in_one_segment(ends: Ends) -> None:
    peer, ws = ends
    peer.send_bytes(texts(peer, 10))
    peer.close()
    assert [ws.recv() for _ in range(10)] == [str(number) for number in range(10)]
    with pytest.raises(ConnectionClosedError):
        ws.recv()


def test_message_before_a_reset(ends: Ends) -> None:
    # What the peer has not read makes its system end the connection by a reset, behind which
    # libuv watches no more.
    peer, ws = ends
    ws.send("unread")
    turns()
    for number in range(3):
        peer.send_frame(TEXT, b"%d" % number)
    peer.close()
    assert [ws.recv() for _ in range(3)] == ["0", "1", "2"]
    with pytest.raises(ConnectionClosedError):
        ws.recv(timeout=PATIENCE)


LIBUV = """
import os
os.environ["GEVENT_LOOP"] = "libuv"
import gevent, geventws
from gevent.event import AsyncResult, Event
from geventws.testing import RawClient

accepted, done = AsyncResult(), Event()

def handler(ws):
    accepted.set(ws)
    done.wait()

with geventws.serve(handler, "127.0.0.1", 0) as server, RawClient(server.address) as peer:
    ws = accepted.get()
    assert "libuv" in type(gevent.get_hub().loop).__module__
    ws.send("unread")
    for number in range(3):
        peer.send_frame(1, b"%d" % number)
    peer.close()
    messages = []
    with gevent.Timeout(10):
        try:
            for message in ws:
                messages.append(message)
        except geventws.ConnectionClosedError as exc:
            print(messages, exc)
    done.set()
"""


def test_message_before_a_reset_on_libuv() -> None:
    """There the loop tells of the reset first, and only once."""
    out = "['0', '1', '2'] no close frame received or sent\n"
    assert run_program(LIBUV) == (out, "", 0)


@pytest.mark.parametrize("waits", [False, True])
def test_close_is_answered_at_once_when_nobody_receives(ends: Ends, waits: bool) -> None:
    peer, ws = ends
    peer.send_bytes(texts(peer, 5))
    if waits:
        until(lambda: ws._inbox.size == 5)
        peer.send_frame(CLOSE, NORMAL)
    else:
        peer.send_bytes(peer.frame(CLOSE, NORMAL))
    assert peer.recv_frame() == Frame(CLOSE, NORMAL)
    assert peer.recv_frame() is None
    peer.close()
    assert ws.wait_closed(PATIENCE)
    # The messages are there, but nobody is there to be answered.
    assert ws.recv() == "0"
    with pytest.raises(ConnectionClosedOK, match=r"^received 1000 \(OK\); then sent 1000 \(OK\)$"):
        ws.send("too late")
    assert [ws.recv() for _ in range(4)] == ["1", "2", "3", "4"]


def test_close_is_answered_when_the_receiver_waits_for_something_else(ends: Ends) -> None:
    peer, ws = ends
    received: AsyncResult[Any] = AsyncResult()
    forever = Event()

    def receive_one() -> None:
        received.set(ws.recv())
        forever.wait()

    greenlet = gevent.spawn(receive_one)
    until(lambda: ws._receiver is greenlet)
    peer.send_bytes(texts(peer, 3) + peer.frame(CLOSE, NORMAL))
    assert received.get(timeout=PATIENCE) == "0"
    assert peer.recv_frame() == Frame(CLOSE, NORMAL)
    greenlet.kill()
    assert [ws.recv(), ws.recv()] == ["1", "2"]


def test_close_is_answered_when_the_receiver_is_killed_before_its_turn(ends: Ends) -> None:
    peer, ws = ends
    greenlet = gevent.spawn(ws.recv)
    until(lambda: ws._receiver is greenlet)
    peer.send_bytes(texts(peer, 1) + peer.frame(CLOSE, NORMAL))
    wait_unread(ws)
    greenlet.kill(block=False)
    ws._read()
    # First it is killed, then it would be woken.
    assert ws._waking
    assert peer.recv_frame() == Frame(CLOSE, NORMAL)
    assert isinstance(greenlet.value, gevent.GreenletExit)
    assert ws.recv() == "0"


def test_close_is_answered_when_the_receiver_is_killed_meanwhile(ends: Ends) -> None:
    for _ in range(20):
        with raw_client() as (peer, ws):
            greenlet = gevent.spawn(ws.recv)
            until(lambda: ws._receiver is greenlet)  # noqa: B023
            peer.send_bytes(texts(peer, 1) + peer.frame(CLOSE, NORMAL))
            gevent.sleep(0)
            greenlet.kill(block=False)
            assert peer.recv_frame() == Frame(CLOSE, NORMAL)


def test_pings_are_answered_while_the_handler_is_busy(ends: Ends) -> None:
    peer, _ = ends
    for number in range(3):
        peer.send_frame(PING, b"%d" % number)
        assert peer.recv_frame() == Frame(PONG, b"%d" % number)


def test_all_pings_of_one_segment_are_answered(ends: Ends) -> None:
    peer, _ = ends
    peer.send_bytes(b"".join(peer.frame(PING, b"%d" % number) for number in range(100)))
    frames = [peer.recv_frame() for _ in range(100)]
    assert frames == [Frame(PONG, b"%d" % number) for number in range(100)]


def test_pong_is_received_while_the_handler_is_busy(ends: Ends) -> None:
    peer, ws = ends
    ping = ws.ping(b"p")
    assert peer.recv_frame() == Frame(PING, b"p")
    peer.send_frame(PONG, b"other")
    peer.send_frame(PONG, b"p")
    assert ping.wait(PATIENCE) is True


class Whereabouts(logging.Handler):
    """Notes where it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.greenlets: set[Any] = set()

    def emit(self, record: logging.LogRecord) -> None:
        self.greenlets.add(gevent.getcurrent())


class Asking(Whereabouts):
    """Asks the peer, at each message, whether it is alive."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: list[bool] = []

    def emit(self, record: logging.LogRecord) -> None:
        super().emit(record)
        if record.getMessage().startswith("< TEXT"):
            ws: Any = record.websocket  # type: ignore[attr-defined]
            self.answers.append(ws.ping().wait(PATIENCE))


def test_no_log_is_written_in_the_hub() -> None:
    logger, handler = own_logger(logging.DEBUG), Whereabouts()
    logger.addHandler(handler)
    # Reads, what goes on when there is room, and the close frame behind the last message.
    with raw_client(logger=logger, max_queue=4) as (peer, ws):
        receiver = gevent.spawn(list, ws)
        peer.send_bytes(texts(peer, 20) + peer.frame(CLOSE, NORMAL))
        assert peer.recv_frame() == Frame(CLOSE, NORMAL)
        peer.close()
        assert len(receiver.get(timeout=PATIENCE)) == 20
    assert len(handler.greenlets) > 1
    assert gevent.get_hub() not in handler.greenlets


def test_log_handlers_may_wait_for_what_the_peer_answers() -> None:
    logger, handler = own_logger(logging.DEBUG), Asking()
    logger.addHandler(handler)
    with raw_client(logger=logger) as (peer, ws):
        peer.send_frame(TEXT, b"x")
        frame = peer.recv_frame()
        assert frame is not None and frame.opcode is PING
        assert handler.answers == []
        peer.send_frame(PONG, frame.data)
        until(lambda: handler.answers)
        assert handler.answers == [True]
        assert ws.recv() == "x"
    assert gevent.get_hub() not in handler.greenlets


def test_message_with_the_opening_handshake() -> None:
    with serving(echo) as server, RawClient(server.address, open=False) as peer:
        request = peer.request()
        peer.send_bytes(request + texts(peer, 20) + peer.frame(CLOSE, NORMAL))
        peer.recv_response()
        assert [peer.recv_frame() for _ in range(20)] == numbered(20)
        assert peer.recv_frame() == Frame(CLOSE, NORMAL)


def test_what_tls_has_to_say_leaves_when_there_is_room() -> None:
    """OpenSSL answers key updates by itself, from inside of a read."""
    with raw_client(ssl=server_tls(), ping_interval=None) as (peer, ws):
        squeeze(ws, peer)
        # Far more than the kernel takes, in a frame, so that the peer understands it.
        ws._transport.tls.write(b"\x82\x7f" + (2**21).to_bytes(8, "big") + bytes(2**21))
        ws._transport.flush()
        ws._read()
        assert ws._transport.unsent
        # From here on, nobody does anything with the connection.
        assert peer.recv_frame() == Frame(BINARY, bytes(2**21))
        assert ws._transport.unsent == 0


# Backpressure.


@LEVELS
@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize(
    "max_queue, high, low", [(16, 16, 4), ((4, 2), 4, 2), (1, 1, 0), (0, 1, 0)]
)
def test_queue_is_bounded_and_reading_goes_on(
    max_queue: Any, high: int, low: int, tls: bool, level: int
) -> None:
    total = 10 * high
    options = {"logger": own_logger(level), **tls_or_not(tls)}
    with raw_client(max_queue=max_queue, **options) as (peer, ws):
        # In one segment: no event tells later that there is more to decode.
        peer.send_bytes(texts(peer, total))
        for start in range(0, total, high - low):
            until(lambda: ws._inbox.size == min(high, total - start))  # noqa: B023
            assert ws._stalled == (start + high < total)
            for number in range(start, min(start + high - low, total)):
                assert ws.recv(timeout=0) == str(number)
                turns(1)


def test_full_queue_stops_the_watcher() -> None:
    with raw_client(max_queue=(4, 2)) as (peer, ws):
        peer.send_bytes(texts(peer, 4))
        until(lambda: ws._inbox.size == 4)
        peer.send_bytes(texts(peer, 4))
        until(lambda: ws._stalled)
        assert not ws._read_watcher.active
        assert ws.recv() == "0"
        turns()
        # Still above the low mark.
        assert not ws._read_watcher.active
        assert ws.recv() == "1"
        until(lambda: ws._inbox.size >= 4)
        assert [ws.recv() for _ in range(6)] == ["2", "3", "0", "1", "2", "3"]
        until(lambda: ws._read_watcher.active)


@LEVELS
def test_message_that_is_put_back_fills_the_queue_again(level: int) -> None:
    with raw_client(max_queue=1, logger=own_logger(level)) as (peer, ws):
        peer.send_frame(TEXT, b"one")
        until(lambda: ws._inbox.size)
        peer.send_frame(TEXT, b"two")
        until(lambda: ws._stalled)
        message = ws.recv()
        ws._put_back(message)
        turns()
        # There was room for a moment.
        assert ws._inbox.size == 1
        until(lambda: ws._stalled)
        assert [ws.recv(PATIENCE), ws.recv(PATIENCE)] == ["one", "two"]


@pytest.mark.parametrize("tls", [False, True])
def test_peer_cannot_send_more_than_the_queue_and_the_kernel_hold(tls: bool) -> None:
    with raw_client(max_queue=4, **tls_or_not(tls)) as (peer, ws):
        frame = peer.frame(BINARY, bytes(2**16))
        sent = 0

        def flood() -> None:
            nonlocal sent
            for _ in range(500):
                peer.send_bytes(frame)
                sent += 1

        flooding = gevent.spawn(flood)
        before = -1
        while sent != before:
            before = sent
            gevent.sleep(0.3)
        assert not flooding.dead
        assert ws._inbox.size <= 4
        for _ in range(500):
            assert ws.recv() == bytes(2**16)
        flooding.get(timeout=PATIENCE)


def test_unfinished_message_does_not_stop_reading() -> None:
    with raw_client(max_queue=4) as (peer, ws):
        peer.send_frame(TEXT, b"0", fin=False)
        for _ in range(98):
            peer.send_frame(CONT, b"0", fin=False)
        peer.send_frame(PING, b"p")
        assert peer.recv_frame() == Frame(PONG, b"p")
        peer.send_frame(CONT, b"0")
        assert ws.recv() == 100 * "0"


def test_close_goes_on_behind_a_full_queue() -> None:
    with raw_client(max_queue=4) as (peer, ws):
        peer.send_bytes(texts(peer, 100))
        until(lambda: ws._stalled)
        closing = gevent.spawn(ws.close)
        assert peer.recv_frame() == Frame(CLOSE, NORMAL)
        peer.send_bytes(texts(peer, 100) + peer.frame(CLOSE, NORMAL))
        assert peer.recv_frame() is None
        peer.close()
        closing.get(timeout=PATIENCE)
        assert ws.close_code == 1000
        # What fitted in can be read; there is no gap in it.
        messages = []
        with pytest.raises(ConnectionClosedOK):
            while True:
                messages.append(ws.recv())
        assert messages == [str(number) for number in range(len(messages))]
        assert len(messages) >= 4


def test_messages_dropped_while_closing_leave_no_gap() -> None:
    with raw_client(max_queue=4) as (peer, ws):
        closing = gevent.spawn(ws.close)
        assert peer.recv_frame() == Frame(CLOSE, NORMAL)
        # More than there is room for, then half a message...
        peer.send_bytes(texts(peer, 10) + peer.frame(TEXT, b"10", fin=False))
        until(lambda: ws._inbox.size == 4)
        assert [ws.recv() for _ in range(4)] == ["0", "1", "2", "3"]
        # ...and its other half, when there is room again.
        peer.send_bytes(peer.frame(CONT, b"half") + texts(peer, 2))
        peer.send_frame(CLOSE, NORMAL)
        peer.close()
        closing.get(timeout=PATIENCE)
        with pytest.raises(ConnectionClosed):
            ws.recv()


# Limits.


@pytest.mark.parametrize(
    "options, frames, answer, cause",
    [
        (
            {"max_size": 10},
            [(TEXT, b"x" * 6, False), (CONT, b"x" * 6, True)],
            failure(1009, "frame with 6 bytes after reading 6 bytes exceeds limit of 10 bytes"),
            PayloadTooBig,
        ),
        (
            {"max_size": (100, 10)},
            [(TEXT, b"x" * 11, True)],
            failure(1009, "frame with 11 bytes exceeds limit of 10 bytes"),
            PayloadTooBig,
        ),
        (
            {"max_fragments": 2},
            [(TEXT, b"x", False), (CONT, b"x", False), (CONT, b"x", False)],
            failure(1009, "too many fragments"),
            TooManyFragments,
        ),
        (
            {},
            [(CONT, b"x", True)],
            failure(1002, "unexpected continuation frame"),
            ProtocolError,
        ),
    ],
)
def test_offence(options: Any, frames: Any, answer: Frame, cause: type[Exception]) -> None:
    with raw_client(**options) as (peer, ws):
        for opcode, data, fin in frames:
            peer.send_frame(opcode, data, fin=fin)
        assert peer.recv_frame() == answer
        assert peer.recv_frame() is None
        peer.close()
        with pytest.raises(ConnectionClosedError) as info:
            ws.recv()
        assert type(info.value.__cause__) is cause
        assert info.value.rcvd is None
        assert ws.close_code == 1006


# Errors where none may escape.


def test_interrupted_hub_forgets_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal's handler raises while the hub tells of what a receiver died of."""
    hub = gevent.get_hub()
    handle_error = hub.handle_error
    interruptions = [KeyboardInterrupt()]
    received = []

    def interrupted(*args: Any) -> None:
        if interruptions:
            raise interruptions.pop()
        handle_error(*args)

    def receive(ws: ServerConnection) -> None:
        received.append(ws.recv())
        if len(received) == 1:
            raise ZeroDivisionError

    with raw_client() as (peer, ws), raw_client() as (other_peer, other):
        for end in (ws, other):
            gevent.spawn_raw(receive, end)
        until(lambda: ws._receiver and other._receiver)
        peer.send_frame(TEXT, b"x")
        other_peer.send_frame(TEXT, b"y")
        monkeypatch.setattr(hub, "handle_error", interrupted)
        for end in (ws, other):
            wait_unread(end)
            end._read()
        # Both are woken in one turn; the first dies.
        with pytest.raises(KeyboardInterrupt):
            Event().wait(PATIENCE)
        until(lambda: len(received) == 2)
        assert received == ["x", "y"]
        for end, raw in ((ws, peer), (other, other_peer)):
            raw.send_frame(TEXT, b"still there")
            assert end.recv(PATIENCE) == "still there"


def test_receiver_that_dies_does_not_deafen_the_connection(
    ends: Ends, capsys: pytest.CaptureFixture[str]
) -> None:
    # The exception of a raw greenlet comes out of the switch that woke it (prototype R1).
    peer, ws = ends

    def die() -> None:
        raise ZeroDivisionError(ws.recv())

    for number in range(3):
        gevent.spawn_raw(die)
        until(lambda: ws._receiver is not None)
        peer.send_frame(TEXT, b"%d" % number)
        until(lambda: ws._receiver is None)
    peer.send_frame(TEXT, b"still there")
    assert ws.recv() == "still there"
    turns()
    assert capsys.readouterr().err.count("ZeroDivisionError: ") == 3


def test_sender_that_dies_does_not_deafen_the_connection(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with raw_client(write_limit=1000) as (peer, ws):

        def die() -> None:
            ws.send("x")
            raise ZeroDivisionError

        filler = gevent.spawn(lambda: [ws.send(bytes(2**16)) for _ in range(200)])
        until(lambda: ws._senders)
        gevent.spawn_raw(die)
        frames = [peer.recv_frame() for _ in range(201)]
        assert frames.count(Frame(TEXT, b"x")) == 1
        filler.get(timeout=PATIENCE)
        until(lambda: "ZeroDivisionError" in capsys.readouterr().err)
        peer.send_frame(TEXT, b"still there")
        assert ws.recv() == "still there"


@contextlib.contextmanager
def deaf_peer(path: pathlib.Path) -> Iterator[Ends]:
    """A peer to which writing has failed, and which still sends; only Unix sockets have such."""
    hold = Hold()
    with unix_serve(hold, str(path), close_timeout=0.1), RawClient(path) as peer:
        try:
            ws = hold.get()
            peer.sock.shutdown(socket.SHUT_RD)
            with pytest.raises(ConnectionClosedError):
                ws.send("in vain")
            yield peer, ws
        finally:
            hold.done.set()


@pytest.mark.parametrize("what", ["offence", "bug"])
def test_what_failed_first_is_why(what: str, tmp_path: pathlib.Path) -> None:
    with deaf_peer(tmp_path / "s") as (peer, ws):
        if what == "bug":
            booby_trap(ws, ZeroDivisionError("bug"))
        peer.send_frame(TEXT, b"\xff")
        until(lambda: ws.state is not State.OPEN)
        with pytest.raises(ConnectionClosedError) as info:
            ws.recv(PATIENCE)
        assert isinstance(info.value.__cause__, BrokenPipeError)


def test_bug_of_ours_fails_the_connection_and_is_logged(
    ends: Ends, caplog: pytest.LogCaptureFixture
) -> None:
    peer, ws = ends
    bug = ZeroDivisionError("bug")
    booby_trap(ws, bug)
    peer.send_frame(TEXT, b"x")
    assert peer.recv_frame() == failure(1011, "")
    assert peer.recv_frame() is None
    peer.close()
    with pytest.raises(ConnectionClosedError) as info:
        ws.recv()
    assert info.value.__cause__ is bug
    (record,) = (record for record in caplog.records if record.levelname == "ERROR")
    assert record.message == "unexpected internal error"
    assert record.exc_info is not None
    assert record.exc_info[1] is bug


@LEVELS
def test_bug_behind_a_full_queue_fails_the_connection(level: int) -> None:
    # There the bytes wait in the decoder, and no event tells of them.
    with raw_client(max_queue=4, logger=own_logger(level)) as (peer, ws):
        peer.send_bytes(texts(peer, 10))
        until(lambda: ws._stalled)
        booby_trap(ws, ZeroDivisionError())
        for number in range(4):
            assert ws.recv() == str(number)
        assert peer.recv_frame() == failure(1011, "")


def test_ctrl_c_in_our_code_fails_the_connection_and_passes_on(ends: Ends) -> None:
    peer, ws = ends
    booby_trap(ws, KeyboardInterrupt())
    peer.send_frame(TEXT, b"x")
    with pytest.raises(KeyboardInterrupt):
        Event().wait(PATIENCE)
    assert peer.recv_frame() == failure(1011, "")
    peer.close()
    with pytest.raises(ConnectionClosedError):
        ws.recv()


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_in_recv_leaves_the_connection_as_it_is(ends: Ends) -> None:
    peer, ws = ends
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        gevent.spawn(signal.raise_signal, signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            ws.recv(timeout=PATIENCE)
    finally:
        signal.signal(signal.SIGINT, before)
    peer.send_frame(TEXT, b"x")
    assert ws.recv() == "x"
    ws.send("y")
    assert peer.recv_frame() == Frame(TEXT, b"y")


# After the end.


def test_connection_lost_before_its_next_turn(capsys: pytest.CaptureFixture[str]) -> None:
    with raw_client(max_queue=(4, 3), logger=own_logger(logging.DEBUG)) as (peer, ws):
        peer.send_bytes(texts(peer, 10))
        until(lambda: ws._stalled)
        # There is room, and the next turn would use it.
        assert ws.recv() == "0"
        assert not ws._stalled
        ws._lost()
        turns()
        assert [ws.recv() for _ in range(3)] == ["1", "2", "3"]
        with pytest.raises(ConnectionClosedError) as info:
            ws.recv()
        assert info.value.__cause__ is None
    assert capsys.readouterr().err == ""


def test_connection_lost_before_its_reader_runs() -> None:
    with raw_client(logger=own_logger(logging.DEBUG)) as (peer, ws):
        peer.send_frame(TEXT, b"x")
        wait_unread(ws)
        ws._spawn_reader()
        ws._lost()
        with pytest.raises(ConnectionClosedError) as info:
            ws.recv()
        # Nothing was tried with the socket, whose number may be another's.
        assert info.value.__cause__ is None


def test_close_frame_behind_the_message_at_which_the_connection_was_lost(ends: Ends) -> None:
    peer, ws = ends

    def receive() -> Any:
        message = ws.recv()
        ws._lost()
        return message

    receiver = gevent.spawn(receive)
    until(lambda: ws._receiver is receiver)
    peer.send_bytes(texts(peer, 1) + peer.frame(CLOSE, NORMAL))
    assert receiver.get(timeout=PATIENCE) == "0"
    assert ws.wait_closed(PATIENCE)
    assert ws.close_code == 1006
    with pytest.raises(ConnectionClosedError, match="^no close frame received or sent$"):
        ws.recv()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_fork_leaves_the_receiver_to_the_parent(ends: Ends) -> None:
    peer, ws = ends
    receiver = gevent.spawn(ws.recv)
    until(lambda: ws._receiver is receiver)

    def check() -> None:
        """The child has nothing to do with who receives in its parent."""
        assert ws._receiver is None
        with pytest.raises(ConnectionClosedError):
            ws.recv()

    in_child(check)
    peer.send_frame(TEXT, b"the parent's")
    assert receiver.get(timeout=PATIENCE) == "the parent's"


# Fairness.


@pytest.mark.parametrize("tls", [False, True])
def test_the_loop_polls_within_a_flood_of_pings(tls: bool) -> None:
    with raw_client(**tls_or_not(tls)) as (peer, ws), Polls() as polls:
        peer.send_bytes(peer.frame(PING, b"") * (20 * TURN_FRAMES) + peer.frame(TEXT, b"end"))
        assert ws.recv(timeout=PATIENCE) == "end"
        assert polls.count >= 20


def test_the_loop_polls_within_a_flood_of_messages(ends: Ends) -> None:
    peer, ws = ends
    with Polls() as polls:
        peer.send_bytes(texts(peer, 200))
        for number in range(200):
            assert ws.recv(timeout=PATIENCE) == str(number)
            # A handler that takes more than a fair time for each.
            end = monotonic() + FAIR_TIME
            while monotonic() < end:
                pass
        assert polls.count >= 200 // 16
