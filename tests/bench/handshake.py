"""The opening handshake (RFC 6455, section 4.2) for clients that a C program streams to."""

from __future__ import annotations

import base64
import hashlib
import re
import socket

__all__ = ["accept_client", "listen"]

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
KEY = re.compile(rb"^sec-websocket-key: *(\S+)", re.IGNORECASE | re.MULTILINE)

# Seconds to wait for a client.
PATIENCE = 20


def listen() -> socket.socket:
    """Listen on a free port of 127.0.0.1."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(PATIENCE)
    return listener


def accept_client(listener: socket.socket) -> socket.socket:
    """Accept a connection, and its opening handshake."""
    sock, _ = listener.accept()
    head = b""
    while b"\r\n\r\n" not in head:
        head += sock.recv(4096)
    found = KEY.search(head)
    assert found is not None, head
    accept = base64.b64encode(hashlib.sha1(found[1] + GUID).digest())
    sock.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )
    sock.setblocking(True)
    return sock
