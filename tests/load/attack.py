"""Attackers, in a process of their own; run as ``python -m tests.load.attack NAME PORT COUNT``."""

from __future__ import annotations

import contextlib
import itertools
import random
import socket as stdlib_socket
import sys
from collections.abc import Callable, Iterator
from typing import Any

import gevent
from gevent import socket

from geventws import Opcode
from geventws.core.codec import encode_frame
from geventws.testing import RawClient
from tests.load.descriptors import allow_descriptors

# Addresses to attack from: each has ports enough for a thousand.
_addresses = itertools.cycle([f"127.9.9.{number}" for number in range(1, 11)])

# The beginning of a TLS record with a ClientHello.
HALF_A_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(32)

# A message that begins, and empty fragments that never end it.
FRAGMENTS = encode_frame(Opcode.TEXT, b"", True) + 10_000 * encode_frame(Opcode.CONT, b"", True)


@contextlib.contextmanager
def connected(port: int, room: int | None = None) -> Iterator[Any]:
    """A connection; ``room`` is how many bytes the kernel may keep for us."""
    with socket.socket() as sock:
        if room is not None:
            sock.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_RCVBUF, room)
        sock.bind((next(_addresses), 0))
        sock.connect(("127.0.0.1", port))
        yield sock


def slowloris(port: int, ready: Callable[[], None]) -> None:
    """Send a head that never ends, a byte a second."""
    with connected(port) as sock:
        ready()
        gevent.sleep(random.random())
        for char in itertools.chain(b"GET / HTTP/1.1\r\nX: ", itertools.repeat(ord("x"))):
            sock.sendall(bytes([char]))
            gevent.sleep(1)


def stalled_tls(port: int, ready: Callable[[], None]) -> None:
    """Begin a TLS handshake, and do not go on."""
    with connected(port) as sock:
        sock.sendall(HALF_A_HELLO)
        ready()
        sock.recv(1)


def deaf(port: int, ready: Callable[[], None]) -> None:
    """Ask for a flood, and read nothing of it."""
    with connected(port, room=4096) as sock:
        sock.sendall(RawClient.request(path="/flood"))
        sock.recv(16)
        ready()
        gevent.sleep(3600)


def fragments(port: int, ready: Callable[[], None]) -> None:
    """Send empty fragments until the server has enough of it."""
    with connected(port) as sock:
        sock.sendall(RawClient.request())
        sock.recv(1024)
        ready()
        while True:
            sock.sendall(FRAGMENTS)


def idle(port: int, ready: Callable[[], None]) -> None:
    """Connect, and do nothing."""
    with connected(port) as sock:
        ready()
        sock.recv(1)


ATTACKS = {attack.__name__: attack for attack in (slowloris, stalled_tls, deaf, fragments, idle)}


def main(name: str, port: int, count: int) -> None:
    """Say that all are there, and attack until the end of the process."""
    allow_descriptors()
    begun: set[int] = set()

    def ready(number: int) -> None:
        begun.add(number)
        if len(begun) == count:
            print("ready", flush=True)

    def attacker(number: int) -> None:
        while True:
            with contextlib.suppress(OSError):
                ATTACKS[name](port, lambda: ready(number))
            gevent.sleep(0.01)

    gevent.joinall([gevent.spawn(attacker, number) for number in range(count)])


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
