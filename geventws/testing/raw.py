"""Raw peers: clients and servers that misbehave as they are told."""

from __future__ import annotations

import os
import socket as stdlib_socket
from collections.abc import Iterable
from typing import Any, Self

from gevent import socket

from geventws.core.codec import FrameDecoder, encode_frame
from geventws.core.frames import Frame, Opcode
from geventws.core.grammar import accept_key
from geventws.core.http11 import Request, RequestReader, Response, ResponseReader
from geventws.core.states import Side
from geventws.net.transport import set_nodelay

__all__ = ["KEY", "RawClient", "RawPeer", "RawServer"]

# A nonce like any other, and what the server must make of it (RFC 6455, section 1.3).
KEY = "dGhlIHNhbXBsZSBub25jZQ=="


class RawPeer:
    """One end of a TCP connection that says just what the test wants, however wrong.

    It uses gevent's sockets: nothing it does blocks the hub.

    Args:
        sock: a connected socket.
        side: which end it plays.
    """

    def __init__(self, sock: Any, side: Side) -> None:
        set_nodelay(sock)
        self.sock = sock
        self.side = side
        self._decoder = FrameDecoder(masked=side is Side.SERVER)
        # Reserved bits are the business of the test.
        self._decoder.rsv = 0x70

    def send_bytes(self, data: bytes) -> None:
        """Send any bytes."""
        self.sock.sendall(data)

    def frame(
        self,
        opcode: int,
        data: bytes = b"",
        *,
        fin: bool = True,
        rsv: int = 0,
        mask: bool | None = None,
    ) -> bytes:
        """Return a frame's bytes.

        Args:
            opcode: any number up to 15.
            data: the payload.
            fin: the FIN bit.
            rsv: RSV1 to RSV3, as a number up to 7.
            mask: whether to mask it; None does what this side must do.
        """
        if mask is None:
            mask = self.side is Side.CLIENT
        return encode_frame(fin << 7 | rsv << 4 | opcode, data, mask)

    def send_frame(self, opcode: int, data: bytes = b"", **options: Any) -> None:
        """Send a frame; arguments as for `frame`."""
        self.send_bytes(self.frame(opcode, data, **options))

    def recv_frame(self) -> Frame | None:
        """Receive the next frame; None at the end of the stream."""
        while (payload := self._decoder.decode()) is None:
            data = self.sock.recv(65536)
            if not data:
                return None
            self._decoder.feed(data)
        assert isinstance(payload, bytes)
        return Frame.from_head(self._decoder.head, payload)

    def recv_close(self) -> Frame | None:
        """Receive frames up to a close frame, and return that; None at the end of the stream."""
        while (frame := self.recv_frame()) is not None and frame.opcode is not Opcode.CLOSE:
            pass
        return frame

    def recv_eof(self) -> bool:
        """Read until the stream ends; return False if it ended by a reset."""
        try:
            while self.sock.recv(65536):
                pass
        except ConnectionResetError:
            return False
        return True

    def reset(self) -> None:
        """End the TCP connection by a reset."""
        linger = b"\1\0\0\0\0\0\0\0"
        self.sock.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_LINGER, linger)
        self.sock.close()

    def close(self) -> None:
        """End the TCP connection."""
        self.sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class RawClient(RawPeer):
    """A client under the test's control.

    Args:
        address: of a TCP server, or the path of a Unix socket.
        ssl: TLS configuration, gevent's.
        open: whether to do the opening handshake.
        headers: headers to add to its request.

    Raises:
        EOFError: the server closed the connection instead of answering.
    """

    def __init__(
        self,
        address: Any,
        *,
        ssl: Any = None,
        open: bool = True,
        headers: Iterable[tuple[str, str]] = (),
    ) -> None:
        if isinstance(address, (str, bytes, os.PathLike)):
            sock = socket.socket(stdlib_socket.AF_UNIX)
            sock.connect(os.fspath(address))
        else:
            sock = socket.create_connection(address[:2])
        if ssl is not None:
            sock = ssl.wrap_socket(sock, server_hostname="localhost")
        super().__init__(sock, Side.CLIENT)
        # What the server answered, if it was asked.
        self.response: Response | None = None
        if open:
            try:
                self.send_bytes(self.request(headers))
                self.response = self.recv_response()
            except BaseException:
                self.close()
                raise

    @staticmethod
    def request(headers: Iterable[tuple[str, str]] = (), path: str = "/") -> bytes:
        """Return a valid request's bytes."""
        lines = [
            ("Host", "localhost"),
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Key", KEY),
            ("Sec-WebSocket-Version", "13"),
            *headers,
        ]
        head = "".join(f"{name}: {value}\r\n" for name, value in lines)
        return f"GET {path} HTTP/1.1\r\n{head}\r\n".encode()

    def recv_response(self) -> Response:
        """Receive the server's response."""
        reader = ResponseReader()
        response = None
        while response is None:
            data = self.sock.recv(65536)
            response = reader.receive_data(data) if data else reader.receive_eof()
        self._decoder.feed(reader.leftover)
        return response


class RawServer:
    """A server under the test's control, for one client at a time.

    ::

        with RawServer() as server:
            client = gevent.spawn(geventws.connect, server.uri)
            with server.accept() as peer:
                peer.send_frame(Opcode.TEXT, b"hello")
    """

    def __init__(self) -> None:
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen()
        self.address = self.listener.getsockname()
        self.uri = f"ws://127.0.0.1:{self.address[1]}/"
        # The last request received.
        self.request: Request | None = None

    def accept(self, open: bool = True, headers: Iterable[tuple[str, str]] = ()) -> RawPeer:
        """Accept the next client.

        Args:
            open: whether to do the opening handshake.
            headers: headers to add to its response.
        """
        sock, _ = self.listener.accept()
        peer = RawPeer(sock, Side.SERVER)
        if open:
            try:
                peer.send_bytes(self.response(self.recv_request(peer), headers))
            except BaseException:
                peer.close()
                raise
        return peer

    def recv_request(self, peer: RawPeer) -> Request:
        """Receive a client's request.

        Raises:
            EOFError: the client closed the connection before.
        """
        reader = RequestReader()
        head = None
        while head is None:
            data = peer.sock.recv(65536)
            if not data:
                raise reader.eof()
            head = reader.receive_data(data)
        self.request = Request.parse(head)
        return self.request

    @staticmethod
    def response(request: Request, headers: Iterable[tuple[str, str]] = ()) -> bytes:
        """Return a valid response's bytes."""
        lines = [
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Accept", accept_key(request.headers["Sec-WebSocket-Key"])),
            *headers,
        ]
        head = "".join(f"{name}: {value}\r\n" for name, value in lines)
        return f"HTTP/1.1 101 Switching Protocols\r\n{head}\r\n".encode()

    def close(self) -> None:
        """Accept no more."""
        self.listener.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
