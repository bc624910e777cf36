"""Conversations: reads and writes that wait."""

from __future__ import annotations

from collections.abc import Iterator

import gevent
import pytest
from gevent.monkey import get_original

from geventws.net.conversation import Conversation
from geventws.net.hubs import get_hub_state
from geventws.net.tls import TLSTransport
from geventws.net.transport import Transport, own_socket
from tests.net.support import HOST, PATIENCE, client_tls, server_tls

LARGE = bytes(range(256)) * 40_000


@pytest.fixture(params=[0, 1, 2], ids=["plain", "TLS", "TLS in TLS"])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[Conversation, Conversation]]:
    one, other = (Transport(own_socket(sock)) for sock in get_original("socket", "socketpair")())
    state = get_hub_state()
    for _ in range(request.param):
        one = TLSTransport(one, client_tls(), False, HOST)
        other = TLSTransport(other, server_tls(), True)
        shaking = gevent.spawn(Conversation(other, state).handshake)
        Conversation(one, state).handshake()
        shaking.get(timeout=PATIENCE)
    yield Conversation(one, state), Conversation(other, state)
    one.close()
    other.close()


Pair = tuple[Conversation, Conversation]


def test_handshake_without_tls() -> None:
    ours, theirs = get_original("socket", "socketpair")()
    with ours, theirs:
        Conversation(Transport(ours), get_hub_state()).handshake()


def test_read(pair: Pair) -> None:
    one, other = pair
    reading = gevent.spawn(one.read)
    gevent.sleep(0)
    assert not reading.ready()
    other.write(b"hello")
    assert reading.get(timeout=PATIENCE) == b"hello"
    assert one.silent


def test_read_some(pair: Pair) -> None:
    one, other = pair
    other.write(b"hello")
    assert one.read(2) == b"he"
    assert not one.silent
    assert one.read_exactly(3) == b"llo"
    assert one.silent


def test_what_does_not_fit_waits(pair: Pair) -> None:
    one, other = pair
    for writer, reader in ((one, other), (other, one)):
        writing = gevent.spawn(writer.write, LARGE)
        gevent.sleep(0)
        assert not writing.ready()
        reading = gevent.spawn(reader.read_exactly, len(LARGE))
        # What TLS took and TCP did not goes with what comes next.
        writing.join()
        answering = gevent.spawn(writer.read)
        assert reading.get(timeout=PATIENCE) == LARGE
        reader.write(b"thanks")
        assert answering.get(timeout=PATIENCE) == b"thanks"


def test_end(pair: Pair) -> None:
    one, other = pair
    other.write(b"hel")
    other._transport.close()
    with pytest.raises(EOFError, match="stream ends after 3 bytes, expected 5 bytes"):
        one.read_exactly(5)
    assert one.read() == b""


@pytest.mark.parametrize("doing", ["reading", "writing"])
def test_interrupted(pair: Pair, doing: str) -> None:
    one, other = pair
    waiting = gevent.spawn(one.read) if doing == "reading" else gevent.spawn(one.write, LARGE)
    gevent.sleep(0.01)
    waiting.kill()
    assert waiting.dead
    # Nothing watches the descriptor any more.
    other.write(b"hello")
    assert one.read() == b"hello"


def test_lost() -> None:
    ours, theirs = get_original("socket", "socketpair")()
    with ours:
        ours.setblocking(False)
        conversation = Conversation(Transport(ours), get_hub_state())
        theirs.close()
        with pytest.raises(OSError):
            conversation.write(b"hello")
