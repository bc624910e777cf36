"""`websocket-client` as a client of our server. It is no server, and knows no compression."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
import websocket
from gevent.queue import Queue
from websocket import ABNF

import geventws
from tests.interop.foreign import MESSAGES, TCP, TIMEOUT, Link, in_background, natively
from tests.interop.suite import CLOSINGS, over_tcp_and_tls

# Less than `close_timeout`: no closing handshake may need that.
pytestmark = pytest.mark.deadline(9)


def dial(link: Link, port: int, **options: Any) -> websocket.WebSocket:
    """Connect to our server."""
    if link.path:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(TIMEOUT)
        sock.connect(link.path)
        # It takes a socket as it is.
        if link.client_ssl is not None:
            sock = link.client_ssl.wrap_socket(sock, server_hostname="127.0.0.1")
        options["socket"] = sock
    sslopt = {"context": link.client_ssl}
    return websocket.create_connection(link.uri(port), TIMEOUT, sslopt=sslopt, **options)


Connected = Callable[..., tuple[Any, websocket.WebSocket]]


@pytest.fixture
def connected() -> Iterator[Connected]:
    """A function that makes a connection and returns both its ends, ours first."""
    accepted: Queue[Any] = Queue()
    opened: list[Any] = []

    def handler(ws: Any) -> None:
        accepted.put(ws)
        ws.wait_closed()

    def connect(
        link: Link = TCP, ours: dict[str, Any] | None = None, **theirs: Any
    ) -> tuple[Any, websocket.WebSocket]:
        server = link.serve(handler, **(ours or {}))
        server.start()
        opened.append(server)
        peer = natively(dial, link, 80 if link.path else server.address[1], **theirs)
        opened.append(peer)
        return accepted.get(timeout=TIMEOUT), peer

    yield connect
    server, *peers = opened
    for peer in peers:
        peer.shutdown()
    server.shutdown()


def test_messages(connected: Connected, link: Link) -> None:
    """By each road, messages arrive as they were sent."""
    ws, peer = connected(link)
    # The last is the largest that `max_size` allows, where nothing is compressed.
    for message in [*MESSAGES, os.urandom(2**20)]:
        send = peer.send if isinstance(message, str) else peer.send_bytes
        sending = in_background(send, message)
        assert ws.recv() == message
        sending.get(timeout=TIMEOUT)
        sending = gevent.spawn(ws.send, message)
        assert natively(peer.recv) == message
        sending.get(timeout=TIMEOUT)


@over_tcp_and_tls
def test_their_fragments(connected: Connected, link: Link) -> None:
    """Text may be cut anywhere, between the bytes of a character, too."""
    ws, peer = connected(link)
    data = "Grüße, 世界 🌍".encode()
    opcodes = [ABNF.OPCODE_TEXT] + [ABNF.OPCODE_CONT] * (len(data) - 1)
    for number, opcode in enumerate(opcodes, 1):
        frame = ABNF.create_frame(data[number - 1 : number], opcode, fin=number == len(data))
        natively(peer.send_frame, frame)
        # 5.4: "Control frames MAY be injected in the middle of a fragmented message."
        natively(peer.ping, str(number))
    assert ws.recv() == data.decode()
    # 5.5.3: of pings that arrive together, only the last needs an answer.
    pongs = [0]
    while pongs[-1] < len(data):
        pongs.append(int(natively(peer.recv_data_frame, True)[1].data))
    assert pongs == sorted(set(pongs))


@over_tcp_and_tls
def test_our_fragments(connected: Connected, link: Link) -> None:
    ws, peer = connected(link, fire_cont_frame=True)
    ws.send([b"one", b"", b"two"])
    frames = [natively(peer.recv_data_frame)[1] for _ in range(4)]
    assert [frame.data for frame in frames] == [b"one", b"", b"two", b""]
    assert [frame.fin for frame in frames] == [0, 0, 0, 1]


def test_pings(connected: Connected) -> None:
    ws, peer = connected()
    receiving = in_background(peer.recv)
    assert ws.ping(b"ours").wait(TIMEOUT)
    ws.send("done")
    assert receiving.get(timeout=TIMEOUT) == "done"
    natively(peer.ping, b"theirs")
    opcode, frame = natively(peer.recv_data_frame, True)
    assert (opcode, frame.data) == (ABNF.OPCODE_PONG, b"theirs")


def hang_up(peer: websocket.WebSocket, closing: Any) -> None:
    """End TCP, which it leaves to its user, so that our side has closed, too."""
    peer.shutdown()
    closing.get(timeout=TIMEOUT)


@over_tcp_and_tls
@pytest.mark.parametrize(("code", "reason"), CLOSINGS, ids=lambda value: str(value)[:8])
def test_we_close(connected: Connected, link: Link, code: int, reason: str) -> None:
    ws, peer = connected(link)
    closing = gevent.spawn(ws.close, code, reason)
    opcode, frame = natively(peer.recv_data_frame, True)
    assert opcode == ABNF.OPCODE_CLOSE
    assert frame.data == struct.pack("!H", code) + reason.encode()
    hang_up(peer, closing)
    # It answers every close frame with this code.
    assert ws.close_code == 1000


@over_tcp_and_tls
@pytest.mark.parametrize(("code", "reason"), CLOSINGS, ids=lambda value: str(value)[:8])
def test_they_close(connected: Connected, link: Link, code: int, reason: str) -> None:
    ws, peer = connected(link)
    natively(peer.send, "last words")
    natively(peer.close, code, reason)
    assert ws.recv() == "last words"
    with pytest.raises(geventws.ConnectionClosed):
        ws.recv()
    assert (ws.close_code, ws.close_reason) == (code, reason)


def test_they_close_without_a_code(connected: Connected) -> None:
    ws, peer = connected()
    natively(peer.send, b"", ABNF.OPCODE_CLOSE)
    assert natively(peer.recv_data_frame, True)[1].data == b""
    peer.shutdown()
    assert ws.wait_closed(TIMEOUT)
    assert ws.close_code == 1005


def test_they_vanish(connected: Connected) -> None:
    ws, peer = connected()
    natively(peer.shutdown)
    with pytest.raises(geventws.ConnectionClosedError):
        ws.recv()
    assert ws.close_code == 1006


def test_subprotocol_and_headers(connected: Connected) -> None:
    def answer(ws: Any, request: Any, response: Any) -> None:
        response.headers["X-Answer"] = request.headers["X-Question"]

    ws, peer = connected(
        ours={"subprotocols": ["b", "c"], "process_response": answer},
        subprotocols=["a", "c"],
        header=["X-Question: why"],
        cookie="a=b",
        origin="https://example.org",
    )
    assert ws.subprotocol == peer.subprotocol == "c"
    assert peer.headers["x-answer"] == "why"
    assert ws.request.headers["Cookie"] == "a=b"
    assert ws.request.headers["Origin"] == "https://example.org"


@pytest.mark.parametrize("status", [401, 404])
def test_we_reject_them(connected: Connected, status: int) -> None:
    def refuse(ws: Any, request: Any) -> Any:
        return ws.respond(status, "no\n")

    with pytest.raises(websocket.WebSocketBadStatusException) as caught:
        connected(ours={"process_request": refuse})
    assert caught.value.status_code == status


def test_our_server_goes_away(connected: Connected) -> None:
    ws, peer = connected()
    stopping = gevent.spawn(ws.server.shutdown)
    opcode, frame = natively(peer.recv_data_frame, True)
    assert (opcode, frame.data) == (ABNF.OPCODE_CLOSE, struct.pack("!H", 1001))
    hang_up(peer, stopping)


def test_keepalive() -> None:
    """Both sides ping each other many times in a second, and the connection stays."""
    opened = threading.Event()
    pongs = []
    accepted: Queue[Any] = Queue()

    def handler(ws: Any) -> None:
        accepted.put(ws)
        ws.wait_closed()

    # It leaves the socket of a closed connection to the garbage collector.
    options = {"ping_interval": 0.05, "close_timeout": 0.1}
    with geventws.serve(handler, "127.0.0.1", 0, **options) as server:
        app = websocket.WebSocketApp(
            TCP.uri(server.address[1]),
            on_open=lambda app: opened.set(),
            on_pong=lambda app, data: pongs.append(data),
        )
        running = in_background(
            app.run_forever, ping_interval=0.2, ping_timeout=0.15, ping_payload="alive?"
        )
        ws = accepted.get(timeout=TIMEOUT)
        assert natively(opened.wait, TIMEOUT)
        with pytest.raises(TimeoutError):
            ws.recv(timeout=1.2)
        assert ws.latency > 0
        assert len(pongs) >= 2
        assert set(pongs) == {b"alive?"}
        ws.close()
        running.get(timeout=TIMEOUT)
