"""A greenlet and a socket of gevent, without any library: the least that a connection costs.

It answers the opening handshake of the benchmark's load, and then waits until something comes.
"""

from __future__ import annotations

import gevent.socket
from gevent.server import StreamServer

RESPONSE = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)


def wait(sock: gevent.socket.socket, address: tuple[str, int]) -> None:
    """Answer the handshake, then wait."""
    head = b""
    while b"\r\n\r\n" not in head:
        head += sock.recv(4096)
    sock.sendall(RESPONSE)
    sock.recv(4096)


server = StreamServer(("127.0.0.1", 0), wait)
server.start()
print(server.server_port, flush=True)
server.serve_forever()
