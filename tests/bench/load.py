"""Load for echo servers: connections that keep a number of messages in flight."""

from __future__ import annotations

import select
import socket
import time
from typing import NamedTuple

from geventws.core.codec import encode_frame
from geventws.testing import RawClient

BINARY_HEAD = 0x82
CLOSE = encode_frame(0x88, b"\x03\xe8", True)


class Load(NamedTuple):
    """What to send."""

    connections: int
    # Messages in flight on each connection.
    in_flight: int
    # Bytes of a message.
    size: int
    # Messages in all; a multiple of the messages in flight on all connections.
    total: int


def run(port: int, load: Load) -> float:
    """Send messages, wait for their echoes, and return how many came back in a second."""
    batch = encode_frame(BINARY_HEAD, b"x" * load.size, True) * load.in_flight
    expected = len(encode_frame(BINARY_HEAD, b"x" * load.size, False)) * load.in_flight
    poll = select.epoll()
    socks = {sock.fileno(): sock for sock in (connect(port) for _ in range(load.connections))}
    missing = dict.fromkeys(socks, expected)
    # Batches that are still to be sent, and to come back.
    to_send = load.total // load.in_flight - load.connections
    to_come = load.total // load.in_flight
    began = time.perf_counter()
    for fd, sock in socks.items():
        poll.register(fd, select.EPOLLIN)
        sock.sendall(batch)
    while to_come:
        for fd, _ in poll.poll():
            missing[fd] -= len(socks[fd].recv(65536))
            if not missing[fd]:
                to_come -= 1
                missing[fd] = expected
                if to_send:
                    to_send -= 1
                    socks[fd].sendall(batch)
    seconds = time.perf_counter() - began
    for sock in socks.values():
        sock.sendall(CLOSE)
    for sock in socks.values():
        while sock.recv(65536):
            pass
        sock.close()
    return load.total / seconds


def connect(port: int) -> socket.socket:
    """Open a connection by hand: the load must cost less than what it measures."""
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(RawClient.request())
    head = b""
    while b"\r\n\r\n" not in head:
        head += sock.recv(4096)
    return sock
