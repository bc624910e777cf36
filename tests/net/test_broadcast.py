"""Tests of broadcasts."""

from __future__ import annotations

import contextlib
import logging
import random
import time
from collections.abc import Iterator
from typing import Any

import pytest
from gevent.monkey import get_original

from geventws import ClientConnection, ServerConnection, broadcast, connect
from geventws.core.deflate import PerMessageDeflate
from geventws.core.deflate_negotiation import ClientPerMessageDeflateFactory
from geventws.core.frames import Frame, Opcode
from geventws.core.states import State
from geventws.testing import RawClient
from tests.net.support import (
    PATIENCE,
    Hold,
    echo,
    in_threads,
    raw_client,
    serving,
    serving_elsewhere,
    squeeze,
    start_thread,
    until,
    uri_of,
)

native_sleep = get_original("time", "sleep")

TEXT, BINARY = Opcode.TEXT, Opcode.BINARY


@contextlib.contextmanager
def audience(
    count: int, client: Any = (), **options: Any
) -> Iterator[tuple[list[ServerConnection], list[ClientConnection]]]:
    """The server's and the clients' ends of some connections."""
    hold = Hold()
    with serving(hold, **options) as server, contextlib.ExitStack() as stack:
        clients = []
        speakers = []
        for _ in range(count):
            clients.append(stack.enter_context(connect(uri_of(server), **dict(client))))
            speakers.append(hold.get())
        try:
            yield speakers, clients
        finally:
            hold.done.set()


def warnings(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    "message, text, received",
    [
        ("café", None, "café"),
        (b"\x00\xff", None, b"\x00\xff"),
        (bytearray(b"abc"), None, b"abc"),
        (memoryview(b"abc"), None, b"abc"),
        (b"abc", True, "abc"),
        ("abc", False, b"abc"),
    ],
)
@pytest.mark.parametrize("compression", [None, "deflate"])
def test_reaches_all(message: Any, text: bool | None, received: Any, compression: Any) -> None:
    with audience(3, compression=compression) as (speakers, clients):
        broadcast(speakers, message, text=text)
        assert [ws.recv(timeout=PATIENCE) for ws in clients] == [received] * 3


@pytest.mark.parametrize("message", [["a", "b"], iter("ab"), {"a": 1}, None, 42])
def test_takes_whole_messages_only(message: Any) -> None:
    with pytest.raises(TypeError, match="data must be str or bytes"):
        broadcast([], message)


def test_skips_connections_that_are_not_open(caplog: pytest.LogCaptureFixture) -> None:
    with audience(3) as (speakers, clients):
        speakers[1].close()
        clients[2].close()
        assert speakers[2].wait_closed(PATIENCE)
        broadcast(speakers, "news", raise_exceptions=True)
        assert clients[0].recv(timeout=PATIENCE) == "news"
        assert not warnings(caplog)


class Compressions:
    """Counts messages that are compressed, while it is in use."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        encode = PerMessageDeflate.encode

        def counting_encode(extension: Any, frame: Frame, *, compress: Any = None) -> Frame:
            self.count += frame.opcode < Opcode.CLOSE
            return encode(extension, frame, compress=compress)

        monkeypatch.setattr(PerMessageDeflate, "encode", counting_encode)


def test_compresses_once_for_all_that_can_share(monkeypatch: pytest.MonkeyPatch) -> None:
    # At DEBUG each connection would encode by itself, to note its frames.
    logger = logging.getLogger("broadcast")
    logger.setLevel(logging.INFO)
    small = ClientPerMessageDeflateFactory(server_max_window_bits=9)
    hold = Hold()
    with (
        serving(hold, compression="deflate", logger=logger) as server,
        contextlib.ExitStack() as stack,
    ):
        options: list[dict[str, Any]] = [{}, {}, {"extensions": [small]}, {"compression": None}, {}]
        clients = [stack.enter_context(connect(uri_of(server), **each)) for each in options]
        speakers = [hold.get() for _ in options]
        compressions = Compressions(monkeypatch)
        for number in range(3):
            broadcast(speakers, f"news {number}")
        # Two sizes of windows.
        assert compressions.count == 6
        for ws in clients:
            assert [ws.recv(timeout=PATIENCE) for _ in range(3)] == ["news 0", "news 1", "news 2"]
        hold.done.set()


@pytest.mark.parametrize("no_takeover", [False, True])
def test_mixes_with_other_messages(no_takeover: bool) -> None:
    """What is compressed for one peer alone may refer to what it got before, and to no more."""
    chance = random.Random(7)
    words = "the quick brown fox jumps over the lazy dog again and again".split()
    factory = ClientPerMessageDeflateFactory(server_no_context_takeover=no_takeover)
    with audience(4, {"extensions": [factory]}, compression="deflate") as (speakers, clients):
        expected: list[list[str]] = [[], [], [], []]
        for _ in range(100):
            message = " ".join(chance.choices(words, k=chance.randrange(60)))
            if chance.random() < 0.4:
                broadcast(speakers, message)
                for messages in expected:
                    messages.append(message)
            else:
                index = chance.randrange(4)
                speakers[index].send(message)
                expected[index].append(message)
        for ws, messages in zip(clients, expected, strict=True):
            assert [ws.recv(timeout=PATIENCE) for _ in messages] == messages


def test_clients_mask_with_keys_of_their_own() -> None:
    with audience(2) as (speakers, clients):
        encoders = [ws._protocol.encoder for ws in clients]
        assert [encoder.begin_shared() for encoder in encoders] == [None, None]
        broadcast(clients, "upwards")
        assert [ws.recv(timeout=PATIENCE) for ws in speakers] == ["upwards"] * 2


@contextlib.contextmanager
def one_slow_of_two(
    **options: Any,
) -> Iterator[tuple[list[ServerConnection], RawClient, ClientConnection]]:
    """Two connections; the peer of the first does not read, and its queue is full."""
    hold = Hold()
    with serving(hold, **options) as server, RawClient(server.address) as slow:
        speakers = [hold.get()]
        with connect(uri_of(server)) as ws:
            speakers.append(hold.get())
            squeeze(speakers[0], slow)
            speakers[0].send(bytes(2**21))
            assert speakers[0]._queued > speakers[0]._high
            try:
                yield speakers, slow, ws
            finally:
                hold.done.set()


def test_skips_a_slow_peer(caplog: pytest.LogCaptureFixture) -> None:
    with one_slow_of_two() as (speakers, slow, ws):
        broadcast(speakers, "news")
        assert ws.recv(timeout=PATIENCE) == "news"
        until(lambda: warnings(caplog))
        (record,) = warnings(caplog)
        assert record.getMessage().startswith("skipped broadcast: the peer is too slow: ")
        assert record.websocket is speakers[0]  # type: ignore[attr-defined]
        # It is none the worse for it.
        assert slow.recv_frame() == Frame(BINARY, bytes(2**21))
        broadcast(speakers, "more news")
        assert slow.recv_frame() == Frame(TEXT, b"more news")


def test_drops_a_slow_peer() -> None:
    with one_slow_of_two() as (speakers, slow, ws):
        broadcast(speakers, "news", drop_slow=True)
        assert ws.recv(timeout=PATIENCE) == "news"
        assert speakers[0].state is State.CLOSING
        close = slow.recv_close()
        assert close is not None
        assert close.data == b"\x03\xf5too slow"


def test_raises_what_failed() -> None:
    with one_slow_of_two() as (speakers, _, ws):
        with pytest.raises(ExceptionGroup, match="skipped broadcast") as caught:
            broadcast(speakers, "news", raise_exceptions=True)
        assert ws.recv(timeout=PATIENCE) == "news"
        (failure,) = caught.value.exceptions
        assert "the peer is too slow" in str(failure)


def test_skips_a_connection_with_a_fragmented_message_under_way() -> None:
    with audience(2) as (speakers, clients):

        def fragments() -> Iterator[str]:
            yield "frag"
            with pytest.raises(ExceptionGroup) as caught:
                broadcast(speakers, "news", raise_exceptions=True)
            assert str(caught.value.exceptions[0]) == "sending a fragmented message"
            yield "ment"

        speakers[0].send(fragments())
        assert clients[0].recv(timeout=PATIENCE) == "fragment"
        assert clients[1].recv(timeout=PATIENCE) == "news"


def test_skips_a_peer_that_is_gone() -> None:
    with raw_client() as (peer, speaker):
        peer.reset()
        # The reset arrives while nothing reads: the hub has no turn in this loop.
        with pytest.raises(ExceptionGroup) as caught:
            for _ in range(100_000):
                broadcast([speaker], "news", raise_exceptions=True)
        assert str(caught.value.exceptions[0]).startswith("failed to write message: ")
        with pytest.raises(ExceptionGroup, match="skipped broadcast"):
            broadcast([speaker], "news", raise_exceptions=True)
        assert speaker.wait_closed(PATIENCE)


# Threads.


def listen(ws: ServerConnection) -> None:
    ws.wait_closed()


@contextlib.contextmanager
def listeners(count: int, **options: Any) -> Iterator[tuple[list[Any], list[Any]]]:
    """Connections whose server's ends belong to different threads, and their clients."""
    with contextlib.ExitStack() as stack:
        speakers, clients = [], []
        for _ in range(count):
            server = stack.enter_context(serving_elsewhere(listen, **options))
            clients.append(stack.enter_context(connect(uri_of(server))))
            until(lambda server=server: server.connections)
            speakers.extend(server.connections)
        yield speakers, clients


def test_reaches_connections_of_several_threads() -> None:
    with audience(2) as (own, own_clients), listeners(3) as (foreign, clients):
        assert len({ws._state for ws in [*own, *foreign]}) == 4
        broadcast([*own, *foreign], "news")
        assert [ws.recv(PATIENCE) for ws in [*own_clients, *clients]] == ["news"] * 5


def test_may_be_called_in_any_thread() -> None:
    with audience(2) as (own, own_clients), listeners(2) as (foreign, clients):
        speakers = [*own, *foreign]
        in_threads(lambda number: broadcast(speakers, str(number)), 4)
        for ws in [*own_clients, *clients]:
            assert sorted(ws.recv(PATIENCE) for _ in range(4)) == ["0", "1", "2", "3"]


def test_reaches_connections_in_the_background() -> None:
    with serving(echo) as server:
        with connect(uri_of(server), background=True) as one, connect(uri_of(server)) as other:
            broadcast([one, other], "news")
            assert one.recv() == other.recv() == "news"


def test_skips_connections_of_threads_that_are_gone() -> None:
    with listeners(2) as (speakers, clients):
        pass
    broadcast(speakers, "news", raise_exceptions=True)


def test_never_waits_for_a_slow_peer_of_another_thread(caplog: pytest.LogCaptureFixture) -> None:
    with serving_elsewhere(listen) as server, RawClient(server.address) as peer:
        until(lambda: server.connections)
        (slow,) = server.connections
        squeeze(slow, peer)
        broadcast([slow], "x" * 1_500_000)
        until(lambda: slow._queued)
        with listeners(1) as (quick, (client,)):
            broadcast([slow, *quick], "news")
            assert client.recv(PATIENCE) == "news"
            until(lambda: warnings(caplog))
            (record,) = warnings(caplog)
            assert record.getMessage().startswith("skipped broadcast: the peer is too slow")
            assert record.websocket is slow  # type: ignore[attr-defined]


@pytest.mark.parametrize("raise_exceptions", [False, True])
def test_skips_threads_that_do_not_keep_up(
    caplog: pytest.LogCaptureFixture, raise_exceptions: bool
) -> None:
    """What waits for a thread that computes is bounded."""
    with audience(1) as ((speaker,), (client,)):
        news = "x" * 400_000

        done: list[Any] = []

        def run() -> None:
            try:
                for _ in range(10):
                    broadcast([speaker], news, raise_exceptions=raise_exceptions)
                done.append(None)
            except BaseException as exc:
                done.append(exc)

        # This thread's hub runs again only after the other has ended.
        start_thread(run, ())
        deadline = time.monotonic() + PATIENCE
        while not done and time.monotonic() < deadline:
            native_sleep(0.001)
        if raise_exceptions:
            assert isinstance(done[0], ExceptionGroup)
            assert "their thread does not keep up: 1200000 bytes wait" in str(done[0].exceptions)
        else:
            assert done == [None]
            assert len(warnings(caplog)) == 7
            assert warnings(caplog)[0].websocket is speaker  # type: ignore[attr-defined]
        assert [len(client.recv(PATIENCE)) for _ in range(3)] == [400_000] * 3
        assert speaker._state.mailbox.waiting == 0
