"""Raw peers, on both sides of real sockets."""

from __future__ import annotations

import socket as stdlib_socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import gevent.event
import gevent.ssl
import pytest
import trustme
from gevent import socket

from geventws import connect, serve, unix_serve
from geventws.core.exceptions import ConnectionClosedError, InvalidMessage, InvalidStatus
from geventws.core.frames import Frame, Opcode
from geventws.core.http11 import Response
from geventws.core.protocol import Protocol
from geventws.core.states import Side
from geventws.testing import RawClient, RawPeer, RawServer

TEXT, BINARY, CONT = Opcode.TEXT, Opcode.BINARY, Opcode.CONT
CLOSE, PING, PONG = Opcode.CLOSE, Opcode.PING, Opcode.PONG

# Seconds to wait for what must happen; far more than it takes on a busy machine.
PATIENCE = 10


# Raw peers, connected to each other.


@pytest.fixture
def peers() -> Iterator[tuple[RawPeer, RawPeer]]:
    """A client and a server that are past the opening handshake."""
    one, other = socket.socketpair()
    with RawPeer(one, Side.CLIENT) as client, RawPeer(other, Side.SERVER) as server:
        yield client, server


def test_peers_say_what_they_are_told(peers: tuple[RawPeer, RawPeer]) -> None:
    client, server = peers
    for sender, receiver in (peers, (server, client)):
        sender.send_frame(TEXT, b"Hel", fin=False)
        sender.send_frame(CONT, b"lo", rsv=5)
        sender.send_frame(PING)
        assert receiver.recv_frame() == Frame(TEXT, b"Hel", False)
        assert receiver.recv_frame() == Frame(CONT, b"lo", True, True, False, True)
        assert receiver.recv_frame() == Frame(PING, b"")


@pytest.mark.parametrize(
    ("options", "data"),
    [
        ({}, b"\x81\x02Hi"),
        ({"fin": False}, b"\x01\x02Hi"),
        ({"rsv": 7}, b"\xf1\x02Hi"),
        ({"mask": False}, b"\x81\x02Hi"),
    ],
)
def test_frames_of_a_server(
    peers: tuple[RawPeer, RawPeer], options: dict[str, Any], data: bytes
) -> None:
    assert peers[1].frame(TEXT, b"Hi", **options) == data


def test_frames_are_masked_as_the_side_or_the_test_wants(peers: tuple[RawPeer, RawPeer]) -> None:
    client, server = peers
    assert client.frame(15)[:2] == b"\x8f\x80"
    assert client.frame(TEXT, mask=False) == b"\x81\x00"
    assert server.frame(TEXT) == b"\x81\x00"
    assert server.frame(TEXT, mask=True)[:2] == b"\x81\x80"


def test_receives_a_frame_in_pieces(peers: tuple[RawPeer, RawPeer]) -> None:
    client, server = peers
    reading = gevent.spawn(client.recv_frame)
    for byte in server.frame(TEXT, b"Hello"):
        server.send_bytes(bytes([byte]))
        gevent.sleep(0)
    assert reading.get(timeout=PATIENCE) == Frame(TEXT, b"Hello")


def test_receives_up_to_the_close_frame(peers: tuple[RawPeer, RawPeer]) -> None:
    client, server = peers
    server.send_frame(TEXT, b"Hello")
    server.send_frame(CLOSE, b"\x03\xe8")
    server.send_frame(TEXT, b"late")
    assert client.recv_close() == Frame(CLOSE, b"\x03\xe8")
    assert client.recv_frame() == Frame(TEXT, b"late")


def test_receives_up_to_the_end_of_the_stream(peers: tuple[RawPeer, RawPeer]) -> None:
    client, server = peers
    server.send_frame(TEXT, b"Hello")
    server.close()
    assert client.recv_close() is None
    assert client.recv_frame() is None
    assert client.recv_eof() is True


def test_skips_everything_to_see_how_the_stream_ends(peers: tuple[RawPeer, RawPeer]) -> None:
    client, server = peers
    server.send_bytes(b"anything")
    server.close()
    assert client.recv_eof() is True


# A raw client.


def greet(ws: Any) -> None:
    ws.send("Hello")
    for message in ws:
        ws.send(message)


def test_a_raw_client_and_a_server() -> None:
    with serve(greet, "127.0.0.1", 0, compression=None) as server:
        with RawClient(server.address) as client:
            assert client.response is not None
            assert client.response.status_code == 101
            assert client.recv_frame() == Frame(TEXT, b"Hello")
            client.send_frame(BINARY, b"echo")
            assert client.recv_frame() == Frame(BINARY, b"echo")
            client.send_frame(TEXT, b"unmasked", mask=False)
            close = client.recv_close()
            assert close is not None and close.data == b"\x03\xeaincorrect masking"
            assert client.recv_eof() is True


def test_a_raw_client_says_in_its_request_what_it_is_told() -> None:
    with serve(greet, "127.0.0.1", 0, subprotocols=["chat"]) as server:
        headers = [("Sec-WebSocket-Protocol", "chat")]
        with RawClient(server.address, headers=headers) as client:
            assert client.response is not None
            assert client.response.headers["Sec-WebSocket-Protocol"] == "chat"


def test_a_raw_client_may_speak_before_the_opening_handshake() -> None:
    with serve(greet, "127.0.0.1", 0) as server:
        with RawClient(server.address, open=False) as client:
            assert client.response is None
            client.send_bytes(client.request(path="/chat").replace(b"Version: 13", b"Version: 12"))
            assert client.recv_response().status_code == 426


def test_a_raw_client_of_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with unix_serve(greet, str(path), compression=None):
        for address in (path, str(path), bytes(path)):
            with RawClient(address) as client:
                assert client.recv_frame() == Frame(TEXT, b"Hello")


def test_a_raw_client_of_a_server_with_tls() -> None:
    authority = trustme.CA()
    server_context = gevent.ssl.SSLContext(gevent.ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server_context)
    client_context = gevent.ssl.SSLContext(gevent.ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(client_context)
    with serve(greet, "127.0.0.1", 0, ssl=server_context, compression=None) as server:
        with RawClient(server.address, ssl=client_context) as client:
            assert client.recv_frame() == Frame(TEXT, b"Hello")


def test_a_raw_client_ends_by_a_reset() -> None:
    errors = []

    def handler(ws: Any) -> None:
        try:
            ws.recv()
        except ConnectionClosedError as exc:
            errors.append(exc)
        done.set()

    done = gevent.event.Event()
    with serve(handler, "127.0.0.1", 0) as server:
        RawClient(server.address).reset()
        assert done.wait(PATIENCE)
    assert isinstance(errors[0].__cause__, ConnectionResetError)


def test_a_raw_client_of_a_server_that_closes_at_once() -> None:
    with RawServer() as server:
        accepting = gevent.spawn(lambda: server.accept(open=False).close())
        # What was not read makes of the end a reset.
        with pytest.raises((EOFError, ConnectionResetError)):
            RawClient(server.address)
        accepting.get(timeout=PATIENCE)


# A raw server.


def test_a_raw_server_and_a_client() -> None:
    with RawServer() as server:
        connecting = gevent.spawn(connect, server.uri + "chat", compression=None)
        with server.accept() as peer, connecting.get(timeout=PATIENCE) as client:
            assert server.request is not None
            assert server.request.path == "/chat"
            peer.send_frame(TEXT, b"Hello")
            assert client.recv(timeout=PATIENCE) == "Hello"
            client.send(b"echo")
            assert peer.recv_frame() == Frame(BINARY, b"echo")
            peer.send_frame(3)
            assert peer.recv_close() == Frame(CLOSE, b"\x03\xeainvalid opcode")
            peer.close()
            with pytest.raises(ConnectionClosedError):
                client.recv(timeout=PATIENCE)


def test_a_raw_server_says_in_its_response_what_it_is_told() -> None:
    with RawServer() as server:
        connecting = gevent.spawn(connect, server.uri, subprotocols=["chat"], compression=None)
        with server.accept(headers=[("Sec-WebSocket-Protocol", "chat")]) as peer:
            client = connecting.get(timeout=PATIENCE)
            assert client.subprotocol == "chat"
            closing = gevent.spawn(client.close)
            assert peer.recv_close() == Frame(CLOSE, b"\x03\xe8")
            peer.send_frame(CLOSE, b"\x03\xe8")
            peer.close()
            closing.get(timeout=PATIENCE)


@pytest.mark.parametrize(
    ("answer", "error"),
    [(b"nonsense\r\n\r\n", InvalidMessage), (b"HTTP/1.1 404 Not Found\r\n\r\n", InvalidStatus)],
)
def test_a_raw_server_may_answer_anything(answer: bytes, error: type[Exception]) -> None:
    with RawServer() as server:
        connecting = gevent.spawn(connect, server.uri)
        with server.accept(open=False) as peer:
            server.recv_request(peer)
            peer.send_bytes(answer)
            peer.close()
            with pytest.raises(error):
                connecting.get(timeout=PATIENCE)


def test_a_raw_server_sees_how_a_stream_ends() -> None:
    with RawServer() as server:
        for end, clean in ((RawClient.close, True), (RawClient.reset, False)):
            client = RawClient(server.address, open=False)
            with server.accept(open=False) as peer:
                end(client)
                assert peer.recv_eof() is clean


def test_a_client_that_sends_no_request() -> None:
    with RawServer() as server:
        for part, text in [
            (b"", "request line"),
            (b"GET / HTTP/1.1\r\nHost: x\r\n", "headers"),
        ]:
            with RawClient(server.address, open=False) as client:
                client.send_bytes(part)
                client.sock.shutdown(stdlib_socket.SHUT_WR)
                with pytest.raises(EOFError, match=f"while reading HTTP {text}"):
                    server.accept()
                # Nothing is left of it on the server's side.
                assert client.recv_eof() is True


def test_frames_behind_the_response_are_not_lost() -> None:
    with RawServer() as server:
        connecting = gevent.spawn(RawClient, server.address)
        with server.accept(open=False) as peer:
            response = server.response(server.recv_request(peer))
            peer.send_bytes(response + peer.frame(TEXT, b"Hello"))
            with connecting.get(timeout=PATIENCE) as client:
                assert client.recv_frame() == Frame(TEXT, b"Hello")


def test_both_raw_ends_and_a_protocol() -> None:
    """Raw peers carry a protocol's bytes, too."""
    with RawServer() as server:
        connecting = gevent.spawn(RawClient, server.address)
        with server.accept() as peer, connecting.get(timeout=PATIENCE) as client:
            assert isinstance(client.response, Response)
            protocol = Protocol(Side.CLIENT)
            protocol.open()
            protocol.send_data(TEXT, b"Hello")
            client.send_bytes(b"".join(protocol.data_to_send()))
            assert peer.recv_frame() == Frame(TEXT, b"Hello")
