"""Tests of geventws.net.sending."""

from __future__ import annotations

import array
import contextlib
import logging
import pathlib
import socket
from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from gevent.event import Event

from geventws import (
    ClientConnection,
    ConcurrencyError,
    ConnectionClosedError,
    ConnectionClosedOK,
    Frame,
    Opcode,
    ProtocolError,
    State,
    unix_serve,
)
from geventws.net import stream
from geventws.net.transport import Transport
from geventws.testing import RawClient, RawPeer
from tests.net.support import (
    PATIENCE,
    Hold,
    Interruption,
    Polls,
    in_thread,
    pair,
    raw_client,
    raw_server,
    server_tls,
    spy_writes,
    squeeze,
    torment,
    turns,
    until,
)

TEXT, BINARY, CONT = Opcode.TEXT, Opcode.BINARY, Opcode.CONT
CLOSE, PING, PONG = Opcode.CLOSE, Opcode.PING, Opcode.PONG

Ends = tuple[ClientConnection, RawPeer]


@pytest.fixture
def ends() -> Iterator[Ends]:
    with raw_server() as both:
        yield both


def failure(reason: bytes, code: int = 1011) -> Frame:
    return Frame(CLOSE, code.to_bytes(2, "big") + reason)


@pytest.mark.parametrize(
    "message, text, opcode, payload",
    [
        ("é", None, TEXT, "é".encode()),
        ("é", True, TEXT, "é".encode()),
        ("é", False, BINARY, "é".encode()),
        ("", None, TEXT, b""),
        (b"\xff", None, BINARY, b"\xff"),
        (b"\xff", False, BINARY, b"\xff"),
        (b"x", True, TEXT, b"x"),
        (bytearray(b"x"), None, BINARY, b"x"),
        (bytearray(b"x"), True, TEXT, b"x"),
        (memoryview(b"xyz")[1:], None, BINARY, b"yz"),
        (memoryview(b"xyz")[::2], True, TEXT, b"xz"),
        (memoryview(array.array("I", [1, 2])), None, BINARY, array.array("I", [1, 2]).tobytes()),
    ],
)
def test_send(ends: Ends, message: Any, text: bool | None, opcode: Opcode, payload: bytes) -> None:
    ws, peer = ends
    ws.send(message, text=text)
    assert peer.recv_frame() == Frame(opcode, payload)


# From here on, header and payload are two parts of one write.
LARGE = 16 * 1024 + 1


def quiet(level: int = logging.INFO) -> logging.Logger:
    """A logger of a level, whatever the run's is; at DEBUG frames take another way."""
    return logging.Logger("sending", level)


@pytest.mark.parametrize("size, large", [(LARGE - 1, False), (LARGE, True)])
@pytest.mark.parametrize("batch", [False, True])
def test_payload_of_a_large_message_is_not_copied(size: int, large: bool, batch: bool) -> None:
    class Spy(Transport):
        def send_large(self, header: bytes, payload: bytes) -> int:
            parts.append((header, payload))
            return super().send_large(header, payload)

    parts: list[tuple[bytes, bytes]] = []
    message = bytes(size)
    with raw_client(logger=quiet()) as (peer, ws):
        ws._transport = Spy(ws._transport.sock)
        with ws.batch() if batch else contextlib.nullcontext():
            ws.send(message)
            ws.send("behind it")
        assert peer.recv_frame() == Frame(BINARY, message)
        assert peer.recv_frame() == Frame(TEXT, b"behind it")
    if large and not batch:
        ((header, payload),) = parts
        assert header == b"\x82\x7e" + size.to_bytes(2, "big")
        assert payload is message
    else:
        assert parts == []


@pytest.mark.parametrize("how", ["masked", "compressed", "logged"])
def test_large_message_that_changes_or_is_logged_on_its_way(how: str) -> None:
    server: dict[str, Any] = {"logger": quiet(logging.DEBUG if how == "logged" else logging.INFO)}
    client: dict[str, Any] = {"compression": "deflate" if how == "compressed" else None}
    server |= client
    message = "large " * LARGE
    with pair(server=server, client=client) as (client_end, server_end):
        ends = [server_end, client_end]
        if how == "masked":
            ends.reverse()
        ends[0].send(message)
        assert ends[1].recv() == message


@pytest.mark.parametrize(
    "message, text, opcode, payloads",
    [
        (["a", "é"], None, TEXT, [b"a", "é".encode()]),
        (["a", "b"], False, BINARY, [b"a", b"b"]),
        ((b"a", bytearray(b"b"), memoryview(b"c")), None, BINARY, [b"a", b"b", b"c"]),
        (iter([b"a"]), True, TEXT, [b"a"]),
        ([""], None, TEXT, [b""]),
        ((str(n) for n in range(3)), None, TEXT, [b"0", b"1", b"2"]),
    ],
)
def test_send_fragments(
    ends: Ends, message: Any, text: bool | None, opcode: Opcode, payloads: list[bytes]
) -> None:
    ws, peer = ends
    ws.send(message, text=text)
    for number, payload in enumerate(payloads):
        assert peer.recv_frame() == Frame(CONT if number else opcode, payload, fin=False)
    assert peer.recv_frame() == Frame(CONT, b"")


def test_fragments_leave_as_they_come(ends: Ends) -> None:
    ws, peer = ends

    def fragments() -> Iterator[str]:
        yield "one"
        assert peer.recv_frame() == Frame(TEXT, b"one", fin=False)
        yield "two"
        assert peer.recv_frame() == Frame(CONT, b"two", fin=False)

    ws.send(fragments())
    assert peer.recv_frame() == Frame(CONT, b"")


@pytest.mark.parametrize("nothing", [[], (), iter(()), (x for x in [])])
def test_empty_iterable_sends_nothing(ends: Ends, nothing: Any) -> None:
    ws, peer = ends
    ws.send(nothing)
    ws.send("something")
    assert peer.recv_frame() == Frame(TEXT, b"something")


@pytest.mark.parametrize(
    "message, error",
    [
        ({"a": 1}, "data is a dict-like object"),
        (None, "data must be str, bytes, or iterable"),
        (1, "data must be str, bytes, or iterable"),
        ([1], "data iterable must contain str or bytes"),
        ([["a"]], "data iterable must contain str or bytes"),
        ([None], "data iterable must contain str or bytes"),
    ],
)
def test_wrong_types_leave_the_connection_open(ends: Ends, message: Any, error: str) -> None:
    ws, peer = ends
    with pytest.raises(TypeError, match=error):
        ws.send(message)
    ws.send("fine")
    assert peer.recv_frame() == Frame(TEXT, b"fine")


@pytest.mark.parametrize("message", [["a", b"b"], [b"a", "b"], ["a", 1]])
def test_mixed_types_fail_the_connection(ends: Ends, message: Any) -> None:
    ws, peer = ends
    with pytest.raises(TypeError, match="iterable must contain uniform types"):
        ws.send(message)
    assert peer.recv_close() == failure(b"error in fragmented message")


class Bug(Exception):
    pass


def test_error_in_the_iterable_fails_the_connection(ends: Ends) -> None:
    ws, peer = ends

    def fragments() -> Iterator[str]:
        yield "one"
        raise Bug

    with pytest.raises(Bug):
        ws.send(fragments())
    assert peer.recv_close() == failure(b"error in fragmented message")


def test_error_before_the_first_fragment_does_not(ends: Ends) -> None:
    ws, peer = ends

    def fragments() -> Iterator[str]:
        raise Bug
        yield

    with pytest.raises(Bug):
        ws.send(fragments())
    ws.send("fine")
    assert peer.recv_frame() == Frame(TEXT, b"fine")


@pytest.mark.parametrize("exc", [gevent.Timeout, gevent.GreenletExit, Interruption])
def test_interrupted_iterable_fails_the_connection(ends: Ends, exc: type[BaseException]) -> None:
    ws, peer = ends

    def fragments() -> Iterator[str]:
        yield "one"
        Event().wait()

    sender = gevent.spawn(ws.send, fragments())
    assert peer.recv_frame() == Frame(TEXT, b"one", fin=False)
    sender.kill(exc)
    assert peer.recv_frame() == failure(b"error in fragmented message")


@pytest.mark.parametrize("message", ["x", ["x"]])
def test_send_from_the_iterable_that_is_being_sent(ends: Ends, message: Any) -> None:
    ws, peer = ends

    def fragments() -> Iterator[str]:
        yield "one"
        ws.send(message)

    with pytest.raises(ConcurrencyError, match="cannot call send from the iterable"):
        ws.send(fragments())
    assert peer.recv_close() == failure(b"error in fragmented message")


def test_ping_from_the_iterable_that_is_being_sent(ends: Ends) -> None:
    # 5.4: control frames may come between fragments.
    ws, peer = ends

    def fragments() -> Iterator[str]:
        yield "one"
        ws.ping(b"p")
        ws.pong(b"q")

    ws.send(fragments())
    frames = [peer.recv_frame() for _ in range(4)]
    assert frames == [
        Frame(TEXT, b"one", fin=False),
        Frame(PING, b"p"),
        Frame(PONG, b"q"),
        Frame(CONT, b""),
    ]


def test_ping_does_not_wait_for_the_end_of_a_fragmented_message(ends: Ends) -> None:
    ws, peer = ends
    more = Event()

    def fragments() -> Iterator[str]:
        yield "one"
        more.wait(PATIENCE)

    sender = gevent.spawn(ws.send, fragments())
    assert peer.recv_frame() == Frame(TEXT, b"one", fin=False)
    ws.ping(b"p")
    ws.pong(b"q")
    assert peer.recv_frame() == Frame(PING, b"p")
    assert peer.recv_frame() == Frame(PONG, b"q")
    more.set()
    assert peer.recv_frame() == Frame(CONT, b"")
    sender.get(timeout=PATIENCE)


def test_messages_wait_for_the_end_of_a_fragmented_message(ends: Ends) -> None:
    ws, peer = ends
    more = Event()

    def fragments() -> Iterator[str]:
        yield "one"
        more.wait(PATIENCE)
        yield "two"

    senders = [gevent.spawn(ws.send, fragments())]
    assert peer.recv_frame() == Frame(TEXT, b"one", fin=False)
    senders += [gevent.spawn(ws.send, message) for message in ("a", b"b", ["c"])]
    impatient = gevent.spawn(ws.send, "never")
    turns()
    assert not any(greenlet.dead for greenlet in senders)
    impatient.kill()
    more.set()
    frames = [peer.recv_frame() for _ in range(6)]
    assert frames == [
        Frame(CONT, b"two", fin=False),
        Frame(CONT, b""),
        Frame(TEXT, b"a"),
        Frame(BINARY, b"b"),
        Frame(TEXT, b"c", fin=False),
        Frame(CONT, b""),
    ]
    gevent.joinall(senders, timeout=PATIENCE, raise_error=True)


def test_many_greenlets_never_interleave(ends: Ends) -> None:
    ws, peer = ends
    squeeze(ws, peer)

    def send(name: int) -> None:
        for number in range(20):
            if (name + number) % 2:
                ws.send(b"%d" % name * 20_000)
            else:
                ws.send(b"%d" % name * 4000 for _ in range(5))

    senders = [gevent.spawn(send, name) for name in range(5)]
    received = dict.fromkeys(range(5), 0)
    message = b""
    while sum(received.values()) < 100:
        frame = peer.recv_frame()
        assert frame is not None
        assert (frame.opcode is CONT) == bool(message)
        message += frame.data
        if frame.fin:
            assert message == message[:1] * 20_000
            received[int(message[:1])] += 1
            message = b""
    assert set(received.values()) == {20}
    gevent.joinall(senders, timeout=PATIENCE, raise_error=True)


def test_mutable_message_may_change_after_send() -> None:
    with raw_server(write_limit=2**20) as (ws, peer):
        squeeze(ws, peer)
        message = bytearray(b"x" * 2**20)
        ws.send(message)
        assert ws._queued
        message[:] = b"y" * 2**20
        frame = peer.recv_frame()
        assert frame is not None
        assert frame.data == b"x" * 2**20


def test_send_in_another_thread_is_refused(ends: Ends) -> None:
    ws, peer = ends
    with pytest.raises(ConcurrencyError, match="^this connection belongs to thread .* was used in"):
        in_thread(lambda: ws.send("intruder"))
    in_thread(lambda: ws.send_threadsafe("guest"))
    assert peer.recv_frame() == Frame(TEXT, b"guest")


def test_who_waited_to_send_counts_as_one_who_sent_once(ends: Ends) -> None:
    # Else every message from another thread would take two messages' share of a turn.
    ws, peer = ends
    ws._state.spent = 0
    ws.send("x")
    cost = ws._state.spent
    assert cost > 0
    ws._wait_to_send()
    ws.send("x")
    assert ws._state.spent == 2 * cost
    assert [peer.recv_frame(), peer.recv_frame()] == [Frame(TEXT, b"x")] * 2


def test_what_tls_has_to_say_counts_against_the_limit() -> None:
    """OpenSSL answers key updates by itself, which nobody has watched for room yet."""
    with raw_client(write_limit=0, ssl=server_tls(), ping_interval=None) as (peer, ws):
        squeeze(ws, peer)
        # Far more than the kernel takes, in a frame, so that the peer understands it.
        ws._transport.tls.write(b"\x82\x7f" + (2**21).to_bytes(8, "big") + bytes(2**21))
        ws._transport.flush()
        assert ws._transport.unsent
        assert not ws._writing
        sender = gevent.spawn(ws.send, "behind it")
        until(lambda: ws._senders)
        assert ws._writing
        assert peer.recv_frame() == Frame(BINARY, bytes(2**21))
        assert peer.recv_frame() == Frame(TEXT, b"behind it")
        sender.get(timeout=PATIENCE)


class Collect(logging.Handler):
    """Keep messages."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def test_log_is_written_elsewhere_or_before_the_next_message() -> None:
    collect = Collect()
    logger = quiet(logging.DEBUG)
    logger.addHandler(collect)
    one, two = "> TEXT 'one' [3 bytes]", "> TEXT 'two' [3 bytes]"
    with raw_server(logger=logger) as (ws, peer):
        ws.send("one")
        assert one not in collect.messages
        ws.send("two")
        assert collect.messages[-1] == one
        until(lambda: collect.messages[-1] == two)
        assert [peer.recv_frame(), peer.recv_frame()] == [Frame(TEXT, b"one"), Frame(TEXT, b"two")]


@pytest.mark.parametrize("exc", [gevent.Timeout, gevent.GreenletExit, Interruption])
@pytest.mark.parametrize("size, total", [(4000, 400), (30_000, 150)])
def test_hundreds_of_interruptions_neither_lose_nor_repeat(
    exc: type[BaseException], size: int, total: int
) -> None:
    """An exception that is not ConnectionClosed means "not sent": all arrives, once."""

    def payload(number: int) -> bytearray:
        return bytearray(number.to_bytes(4, "big") + bytes([number % 251]) * size)

    def send(ws: ClientConnection) -> int:
        number = interruptions = 0
        while number < total:
            message = payload(number)
            try:
                ws.send(message)
                number += 1
            except exc:
                interruptions += 1
            message[:] = bytes(len(message))
        return interruptions

    def receive(peer: RawPeer) -> None:
        for number in range(total):
            gevent.sleep(0.001)
            assert peer.recv_frame() == Frame(BINARY, bytes(payload(number)))

    with raw_server(write_limit=(100, 50)) as (ws, peer):
        squeeze(ws, peer)
        sender = gevent.spawn(send, ws)
        turns(1)
        receiver = gevent.spawn(receive, peer)
        torment(sender, exc)
        receiver.get(timeout=PATIENCE)
        assert sender.get() > 50
        assert ws.state is State.OPEN


@pytest.mark.parametrize("exc", [gevent.Timeout, gevent.GreenletExit])
def test_interruption_while_nobody_reads_means_not_sent(exc: type[BaseException]) -> None:
    with raw_server(write_limit=(1000, 100)) as (ws, peer):
        squeeze(ws, peer)
        sent = []

        def send(message: bytes) -> None:
            ws.send(message)
            sent.append(message)

        def fill() -> None:
            while True:
                send(b"%08d" % len(sent) * 8192)

        filler = gevent.spawn(fill)
        until(lambda: ws._senders)
        for number in range(300):
            sender = gevent.spawn(send, b"not before the others" * 1000)
            if number % 2:
                gevent.sleep(0)
            sender.kill(exc)
        filler.kill()
        assert ws._queued <= 1000 + 2 * 65550
        for message in sent:
            assert peer.recv_frame() == Frame(BINARY, message)
        ws.send("after")
        assert peer.recv_frame() == Frame(TEXT, b"after")


@pytest.mark.parametrize("compress, compressed", [(None, True), (True, True), (False, False)])
def test_compress(compress: bool | None, compressed: bool) -> None:
    options = {"compression": "deflate"}
    message = "to be or not to be " * 100
    with pair(client=options, server=options) as (client, server):
        written = spy_writes(client)
        client.send(message, compress=compress)
        assert server.recv() == message
        assert bool(written[0][0] & 0x40) is compressed
        assert (len(written[0]) < len(message)) is compressed
        client.send([message, message], compress=compress)
        assert server.recv() == message * 2
        assert bool(written[1][0] & 0x40) is compressed


def test_compress_threshold() -> None:
    options = {"compression": "deflate"}
    with pair(client={**options, "compress_threshold": 10}, server=options) as (client, server):
        written = spy_writes(client)
        client.send("x" * 9)
        client.send("x" * 10)
        client.send("x", compress=True)
        assert [server.recv() for _ in range(3)] == ["x" * 9, "x" * 10, "x"]
        assert [bool(data[0] & 0x40) for data in written] == [False, True, True]


# Joining.


def test_answers_are_joined_while_messages_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    # No pause of a busy machine is longer than a burst.
    monkeypatch.setattr(stream, "JOIN_TIME", 60)
    with raw_client() as (peer, ws):
        peer.send_bytes(peer.frame(TEXT, b"one") + peer.frame(TEXT, b"two"))
        until(lambda: ws._inbox.size == 2)
        written = spy_writes(ws)
        for answer in ("a", "b", "c"):
            ws.send(answer)
        assert written == [b"\x81\x01a"]
        assert [ws.recv(), ws.recv()] == ["one", "two"]
        # No message waits for its answer.
        ws.send("d")
        assert written[1:] == [b"\x81\x01b\x81\x01c\x81\x01d"]


def test_batch_leaves_at_the_end_of_the_outermost_block() -> None:
    with raw_client() as (_, ws):
        written = spy_writes(ws)
        with ws.batch():
            ws.send("a")
            with ws.batch():
                ws.send("b")
            ws.send(b"c")
            turns()
            assert written == []
        assert written == [b"\x81\x01a\x81\x01b\x82\x01c"]
        with ws.batch():
            pass
        ws.send("d")
        assert written[1:] == [b"\x81\x01d"]


def test_batch_leaves_at_an_exception() -> None:
    with raw_client() as (peer, ws):
        with pytest.raises(Bug), ws.batch():
            ws.send("a")
            raise Bug
        assert peer.recv_frame() == Frame(TEXT, b"a")


def test_batch_in_another_thread_is_refused(ends: Ends) -> None:
    ws, _ = ends

    def intrude() -> None:
        with ws.batch():
            pass

    with pytest.raises(ConcurrencyError, match="^this connection belongs to thread .* was used in"):
        in_thread(intrude)
    assert ws._batches == 0


# After the end.


@pytest.mark.parametrize("message", ["x", bytes(LARGE), ["x"]])
def test_send_to_a_peer_that_takes_nothing_any_more(message: Any, tmp_path: pathlib.Path) -> None:
    """Only Unix sockets have such; what it sends may still be read."""
    hold = Hold()
    options = {"logger": quiet(), "compression": None}
    with (
        unix_serve(hold, str(tmp_path / "s"), **options),
        contextlib.ExitStack() as stack,
        RawClient(tmp_path / "s") as peer,
    ):
        stack.callback(hold.done.set)
        ws = hold.get()
        peer.sock.shutdown(socket.SHUT_RD)
        # The first finds out, the second knows, and does not wait for the end.
        for _ in range(2):
            with pytest.raises(ConnectionClosedError, match="^no close frame") as info:
                ws.send(message)
            assert isinstance(info.value.__cause__, BrokenPipeError)
            assert ws.state is State.OPEN
        peer.send_frame(TEXT, b"hello")
        assert ws.recv(PATIENCE) == "hello"


def test_send_after_a_normal_close(ends: Ends) -> None:
    ws, peer = ends
    peer.send_frame(CLOSE, (1000).to_bytes(2, "big"))
    peer.recv_close()
    peer.close()
    for message in ("x", b"x", ["x"]):
        with pytest.raises(ConnectionClosedOK, match=r"^received 1000 \(OK\); then sent 1000"):
            ws.send(message)
    with pytest.raises(ConnectionClosedOK):
        ws.ping()
    with pytest.raises(ConnectionClosedOK):
        ws.pong()


def test_send_after_the_connection_is_lost(ends: Ends) -> None:
    ws, peer = ends
    peer.reset()
    assert ws.wait_closed(PATIENCE)
    with pytest.raises(ConnectionClosedError, match="^no close frame received or sent$") as info:
        ws.send("x")
    assert isinstance(info.value.__cause__, OSError)


def test_waiting_sender_learns_that_the_connection_is_lost() -> None:
    with raw_server(write_limit=(1000, 100)) as (ws, peer):
        squeeze(ws, peer)

        def fill() -> None:
            while True:
                ws.send(bytes(10_000))

        senders = [gevent.spawn(fill) for _ in range(3)]
        until(lambda: ws._senders)
        turns()
        peer.reset()
        for sender in senders:
            with pytest.raises(ConnectionClosedError):
                sender.get(timeout=PATIENCE)


def test_waiting_sender_learns_that_the_connection_closes() -> None:
    with raw_server(write_limit=(1000, 100), close_timeout=0.1) as (ws, peer):
        squeeze(ws, peer)

        def fill() -> None:
            while True:
                ws.send(bytes(10_000))

        sender = gevent.spawn(fill)
        until(lambda: ws._senders)
        ws.close()
        with pytest.raises(ConnectionClosedError, match=r"^sent 1000 \(OK\); no close frame"):
            sender.get(timeout=PATIENCE)


# A close frame that waits for the end of a fragmented message.


def test_goodbye_comes_behind_a_fragmented_message(ends: Ends) -> None:
    ws, peer = ends

    def fragments() -> Iterator[str]:
        yield "one"
        ws._say_goodbye(1001, "bye")
        yield "two"

    ws.send(fragments())
    assert [peer.recv_frame() for _ in range(4)] == [
        Frame(TEXT, b"one", fin=False),
        Frame(CONT, b"two", fin=False),
        Frame(CONT, b""),
        failure(b"bye", 1001),
    ]
    assert ws.state is State.CLOSING


def test_goodbye_is_left_out_where_the_message_fails(ends: Ends) -> None:
    ws, peer = ends

    def fragments() -> Iterator[str]:
        yield "one"
        ws._say_goodbye(1001, "bye")
        raise Bug

    with pytest.raises(Bug):
        ws.send(fragments())
    assert peer.recv_frame() == Frame(TEXT, b"one", fin=False)
    assert peer.recv_frame() == failure(b"error in fragmented message")
    peer.send_frame(CLOSE, (1011).to_bytes(2, "big"))
    peer.sock.shutdown(socket.SHUT_WR)
    assert peer.recv_frame() is None


# Control frames.


@pytest.mark.parametrize(
    "data, payload",
    [
        (b"x", b"x"),
        ("é", "é".encode()),
        (bytearray(b"x"), b"x"),
        (memoryview(b"x"), b"x"),
        ("", b""),
    ],
)
def test_ping_and_pong_data(ends: Ends, data: Any, payload: bytes) -> None:
    ws, peer = ends
    ws.ping(data)
    assert peer.recv_frame() == Frame(PING, payload)
    ws.pong(data)
    assert peer.recv_frame() == Frame(PONG, payload)


def test_pong_without_data(ends: Ends) -> None:
    ws, peer = ends
    ws.pong()
    assert peer.recv_frame() == Frame(PONG, b"")


@pytest.mark.parametrize("name", ["ping", "pong"])
def test_too_long_control_frame(ends: Ends, name: str) -> None:
    ws, peer = ends
    for _ in range(2):
        with pytest.raises(ProtocolError, match="control frame too long"):
            getattr(ws, name)(bytes(126))
    getattr(ws, name)(bytes(125))
    frame = peer.recv_frame()
    assert frame is not None
    assert frame.data == bytes(125)


# Fairness.


def test_endless_sender_starves_nobody() -> None:
    with raw_client() as (peer, ws), raw_client() as (other_peer, other):

        def flood() -> None:
            while True:
                ws.send(b"x")

        def swallow() -> None:
            while peer.sock.recv(2**20):
                pass

        greenlets = [gevent.spawn(flood), gevent.spawn(swallow)]
        for number in range(20):
            other_peer.send_frame(TEXT, b"%d" % number)
            assert other.recv(timeout=PATIENCE) == str(number)
        gevent.killall(greenlets)


def test_the_loop_polls_between_the_turns_of_an_endless_sender() -> None:
    # 20 turns of 128 small messages. (The constants are C in the compiled build.)
    count = 20 * 128
    with raw_client() as (peer, ws), Polls() as polls:
        swallowing = gevent.spawn(peer.recv_eof)
        for _ in range(count):
            ws.send(b"x")
        # The first turn is not over; in the second, it first becomes known who sends so much.
        assert polls.count >= 18
        swallowing.kill()


def test_endless_sender_can_be_interrupted() -> None:
    with raw_client() as (peer, ws):
        swallowing = gevent.spawn(peer.recv_eof)
        with contextlib.suppress(gevent.Timeout), gevent.Timeout(0.05):
            while True:
                ws.send(b"x" * 100)
        swallowing.kill()
