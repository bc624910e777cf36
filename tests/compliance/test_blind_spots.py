"""What Autobahn|Testsuite does not look at: see docs/topics/conformance.rst.

Both our ends are examined, over TCP. Opening handshakes, on which it is silent as well, are in
tests/net/test_server_connection.py and tests/net/test_client.py.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import random
import termios
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest

import geventws
from geventws import Close, Frame, Opcode
from geventws.core.deflate_negotiation import (
    ClientPerMessageDeflateFactory,
    ServerPerMessageDeflateFactory,
)
from geventws.core.states import Side
from geventws.testing import RawClient, RawPeer, RawServer
from tests.core.test_protocol import FAILING
from tests.net.support import PATIENCE, echo, raw_client, raw_server, serving, until

TEXT, BINARY, CONT = Opcode.TEXT, Opcode.BINARY, Opcode.CONT
CLOSE, PING, PONG = Opcode.CLOSE, Opcode.PING, Opcode.PONG
TAIL = b"\x00\x00\xff\xff"

both_sides = pytest.mark.parametrize("side", Side)


def echo_quietly(ws: Any) -> None:
    with contextlib.suppress(geventws.ConnectionClosed):
        echo(ws)


@contextlib.contextmanager
def echoing(side: Side, **options: Any) -> Iterator[tuple[RawPeer, Any]]:
    """A raw peer of ours, which echoes; and our end."""
    with raw_client(**options) if side is Side.SERVER else swapped(**options) as (peer, ws):
        echoer = gevent.spawn(echo_quietly, ws)
        yield peer, ws
        peer.close()
        echoer.get(timeout=PATIENCE)


@contextlib.contextmanager
def swapped(**options: Any) -> Iterator[tuple[RawPeer, Any]]:
    with raw_server(**options) as (ws, peer):
        yield peer, ws


def unread(ws: Any) -> int:
    """How many bytes have arrived that our end has not read."""
    size = array.array("i", [0])
    fcntl.ioctl(ws._transport.sock.fileno(), termios.FIONREAD, size)
    return size[0]


# Messages and their end, in one segment and at each split.

# What comes behind messages, and how it is answered.
ENDINGS: list[tuple[Callable[[RawPeer], bytes], Frame]] = [
    (lambda peer: peer.frame(CLOSE, b"\x0f\xa0bye"), Frame(CLOSE, b"\x0f\xa0bye")),
    (lambda peer: peer.frame(CLOSE), Frame(CLOSE, b"")),
    (
        lambda peer: peer.frame(CLOSE, b"\x03\xed"),
        Frame(CLOSE, Close(1002, "invalid status code").serialize()),
    ),
    (
        lambda peer: peer.frame(TEXT, b"x", mask=peer.side is Side.SERVER),
        Frame(CLOSE, Close(1002, "incorrect masking").serialize()),
    ),
    (
        lambda peer: peer.frame(TEXT, b"ab\xff"),
        Frame(CLOSE, Close(1007, "invalid start byte at position 2").serialize()),
    ),
    (
        lambda peer: peer.frame(BINARY, bytes(21)),
        Frame(CLOSE, Close(1009, "frame with 21 bytes exceeds limit of 20 bytes").serialize()),
    ),
]


@both_sides
@pytest.mark.parametrize(("ending", "answer"), ENDINGS)
def test_messages_and_their_end_at_each_split(
    side: Side, ending: Callable[[RawPeer], bytes], answer: Frame
) -> None:
    cut = size = 0
    while cut <= size:
        with echoing(side, max_size=20) as (peer, ws):
            messages = peer.frame(TEXT, "é".encode()) + peer.frame(BINARY, b"", fin=False)
            messages += peer.frame(PING, b"ping") + peer.frame(CONT, b"two")
            data = messages + ending(peer)
            size = len(data)
            peer.send_bytes(data[:cut])
            until(lambda ws=ws: not unread(ws))
            peer.send_bytes(data[cut:])
            frames = []
            while (frame := peer.recv_frame()) is not None:
                frames.append(frame)
                if frame.opcode is CLOSE and side is Side.CLIENT:
                    break
            # The pong overtakes what it finds waiting.
            assert sorted(frames[:-1]) == sorted(
                [Frame(TEXT, "é".encode()), Frame(PONG, b"ping"), Frame(BINARY, b"two")]
            ), cut
            assert frames[-1] == answer, cut
        cut += 1


# Close codes on the wire.


@pytest.mark.parametrize(("side", "frames", "code", "reason"), FAILING)
def test_close_code_of_each_failure(
    side: Side, frames: list[bytes], code: int, reason: str
) -> None:
    with echoing(side) as (peer, ws):
        peer.send_bytes(b"".join(frames))
        assert peer.recv_close() == Frame(CLOSE, Close(code, reason).serialize())
        if side is Side.SERVER:
            assert peer.recv_frame() is None
        peer.close()
        assert ws.wait_closed(PATIENCE)
        # None was received.
        assert ws.close_code == 1006


@both_sides
@pytest.mark.parametrize("fragmented", [False, True])
def test_bomb(side: Side, fragmented: bool) -> None:
    """A thousand times as many bytes come out as go in: they must not come out."""
    peers, options = deflating(side, "", "")
    with peers(**options) as (peer, _):
        bomb = compress(zlib.compressobj(wbits=-15), bytes(2**24))
        assert len(bomb) < 2**15
        if fragmented:
            peer.send_frame(BINARY, bomb[:100], rsv=4, fin=False)
            peer.send_frame(CONT, bomb[100:])
        else:
            peer.send_frame(BINARY, bomb, rsv=4)
        frame = peer.recv_close()
        assert frame is not None
        close = Close.parse(frame.data)
        assert close.code == 1009
        assert close.reason.startswith("frame ")
        assert close.reason.endswith("exceeds limit of 1048576 bytes")


# Contents of large messages.


@both_sides
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_content_of_large_messages(side: Side, opcode: Opcode) -> None:
    chance = random.Random(opcode)
    data = chance.randbytes(2**21)
    if opcode is TEXT:
        data = data.decode("utf-16-le", errors="ignore").encode(errors="ignore")
    with echoing(side, max_size=None) as (peer, _):
        sending = gevent.spawn(peer.send_frame, opcode, data)
        assert peer.recv_frame() == Frame(opcode, data)
        sending.get(timeout=PATIENCE)
        # In 4096 fragments, as many as are allowed.
        size = len(data) // 4096 + 1
        pieces = [data[start : start + size] for start in range(0, len(data), size)]
        for number, piece in enumerate(pieces, 1):
            peer.send_frame(opcode if number == 1 else CONT, piece, fin=number == len(pieces))
        assert peer.recv_frame() == Frame(opcode, data)


# Negotiated parameters of permessage-deflate are obeyed.

Peers = Callable[..., Any]

# What the client offers, and what the server answers with the settings beside it.
NEGOTIATIONS: list[tuple[str, str, dict[str, Any]]] = [
    ("", "", {}),
    ("client_max_window_bits", "client_max_window_bits=9", {"client_max_window_bits": 9}),
    ("", "server_max_window_bits=9", {"server_max_window_bits": 9}),
    ("server_max_window_bits=9", "server_max_window_bits=9", {}),
    ("server_max_window_bits=12", "server_max_window_bits=11", {"server_max_window_bits": 11}),
    ("server_no_context_takeover", "server_no_context_takeover", {}),
    ("client_no_context_takeover", "client_no_context_takeover", {}),
    ("", "client_no_context_takeover", {"client_no_context_takeover": True}),
    (
        "server_no_context_takeover; server_max_window_bits=9",
        "server_no_context_takeover; server_max_window_bits=9",
        {},
    ),
    (
        "client_max_window_bits",
        "server_no_context_takeover; client_no_context_takeover; "
        "server_max_window_bits=10; client_max_window_bits=10",
        {
            "server_no_context_takeover": True,
            "client_no_context_takeover": True,
            "server_max_window_bits": 10,
            "client_max_window_bits": 10,
        },
    ),
]


def factory_for(offer: str) -> ClientPerMessageDeflateFactory:
    """Our client's factory that makes an offer."""
    params = dict(item.partition("=")[::2] for item in offer.split("; ") if item)
    bits = {name: int(value) if value else True for name, value in params.items()}
    return ClientPerMessageDeflateFactory(**{"client_max_window_bits": None, **bits})


def deflating(
    side: Side, offer: str, answer: str, settings: dict[str, Any] | None = None
) -> tuple[Peers, dict[str, Any]]:
    """How to make a connection for which parameters are negotiated."""
    header = [("Sec-WebSocket-Extensions", "; ".join(filter(None, ["permessage-deflate", offer])))]
    if side is Side.SERVER:
        return offered, {
            "headers": header,
            "extensions": [ServerPerMessageDeflateFactory(**(settings or {}))],
            "answer": answer,
        }
    answered = "; ".join(filter(None, ["permessage-deflate", answer]))
    return answering, {"offer": offer, "headers": [("Sec-WebSocket-Extensions", answered)]}


@contextlib.contextmanager
def offered(headers: Any, extensions: Any, answer: str) -> Iterator[tuple[RawPeer, Any]]:
    """A raw client that offers, and our server, which echoes."""
    with serving(echo_quietly, extensions=extensions) as server:
        with RawClient(server.address, headers=headers) as peer:
            assert peer.response is not None
            found = peer.response.headers["Sec-WebSocket-Extensions"]
            assert found == "; ".join(filter(None, ["permessage-deflate", answer]))
            yield peer, None


@contextlib.contextmanager
def answering(offer: str, headers: Any) -> Iterator[tuple[RawPeer, Any]]:
    """A raw server that answers, and our client, which echoes."""
    with RawServer() as server:
        extensions = [factory_for(offer)]
        opening = gevent.spawn(
            geventws.connect, server.uri, compression=None, extensions=extensions
        )
        with server.accept(headers=headers) as peer:
            assert server.request is not None
            found = server.request.headers["Sec-WebSocket-Extensions"]
            assert found == "; ".join(filter(None, ["permessage-deflate", offer]))
            ws = opening.get(timeout=PATIENCE)
            echoer = gevent.spawn(echo_quietly, ws)
            yield peer, ws
        echoer.get(timeout=PATIENCE)


def compress(compressor: Any, data: bytes) -> bytes:
    compressed: bytes = compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)
    return compressed[:-4]


def bits_of(answer: str, name: str) -> int:
    return int(dict(item.partition("=")[::2] for item in answer.split("; ")).get(name) or 15)


@both_sides
@pytest.mark.parametrize(("offer", "answer", "settings"), NEGOTIATIONS)
def test_negotiated_parameters_are_obeyed(
    side: Side, offer: str, answer: str, settings: dict[str, Any]
) -> None:
    """With exactly the window that was agreed, zlib reads what we write and writes what we read."""
    us, them = ("server", "client") if side is Side.SERVER else ("client", "server")
    ours, theirs = (
        bits_of(answer, f"{us}_max_window_bits"),
        bits_of(answer, f"{them}_max_window_bits"),
    )
    our_history = f"{us}_no_context_takeover" not in answer
    their_history = f"{them}_no_context_takeover" not in answer
    compressor, decompressor = zlib.compressobj(wbits=-theirs), zlib.decompressobj(wbits=-ours)
    # Noise that comes again as far away as each window reaches, and a little farther.
    noise = random.Random(1).randbytes(2**15 + 100)
    message = b"".join(noise[: 2**bits - 300] + noise[: 2**bits + 100] for bits in range(9, 16))
    sizes = []
    peers, options = deflating(side, offer, answer, settings)
    with peers(**options) as (peer, _):
        for data in (message, message, b"short", b"", noise[:100], noise[:100]):
            if not their_history:
                compressor = zlib.compressobj(wbits=-theirs)
            if not our_history:
                decompressor = zlib.decompressobj(wbits=-ours)
            peer.send_frame(BINARY, compress(compressor, data), rsv=4)
            frame = peer.recv_frame()
            assert frame is not None
            assert frame[2:] == (True, True, False, False)
            assert decompressor.decompress(frame.data + TAIL) == data
            sizes.append(len(frame.data))
    # The last message is the one before: with a history it is little more than a reference.
    assert (sizes[-1] < 50) is our_history


@pytest.mark.parametrize(
    "answer",
    [
        "server_max_window_bits=13",
        "client_max_window_bits=10",
        "server_max_window_bits=8; server_max_window_bits=8",
        "server_max_window_bits=16",
        "server_max_window_bits",
        "server_no_context_takeover=1",
        "unknown",
    ],
)
def test_client_refuses_what_it_did_not_offer(answer: str) -> None:
    with RawServer() as server:
        opening = gevent.spawn(
            geventws.connect,
            server.uri,
            compression=None,
            extensions=[factory_for("server_max_window_bits=12")],
        )
        header = ("Sec-WebSocket-Extensions", f"permessage-deflate; {answer}")
        with server.accept(headers=[header]):
            with pytest.raises(geventws.NegotiationError):
                opening.get(timeout=PATIENCE)
