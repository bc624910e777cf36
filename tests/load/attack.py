"""Attackers, in a process of their own; run as ``python -m tests.load.attack NAME PORT COUNT``."""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import socket as stdlib_socket
import sys
import time
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
def connected(port: int) -> Iterator[Any]:
    """A connection for which the kernel keeps little."""
    with socket.socket() as sock:
        sock.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_RCVBUF, 4096)
        sock.bind((next(_addresses), 0))
        sock.connect(("127.0.0.1", port))
        yield sock


# Each attack goes on until the server hangs up.


def slowloris(sock: Any, ready: Callable[[], None]) -> None:
    """Send a head that never ends, a byte a second."""
    ready()
    # Not all in the same moment.
    sock.settimeout(random.random())
    for char in itertools.chain(b"GET / HTTP/1.1\r\nX: ", itertools.repeat(ord("x"))):
        try:
            if not sock.recv(1024):
                return
        except TimeoutError:
            sock.settimeout(1)
        sock.sendall(bytes([char]))


def stalled_tls(sock: Any, ready: Callable[[], None]) -> None:
    """Begin a TLS handshake, and do not go on."""
    sock.sendall(HALF_A_HELLO)
    ready()
    while sock.recv(1024):
        pass


def deaf(sock: Any, ready: Callable[[], None]) -> None:
    """Ask for a flood, and read nothing of it."""
    sock.sendall(RawClient.request(path="/flood"))
    sock.recv(16)
    ready()
    gevent.sleep(3600)


def fragments(sock: Any, ready: Callable[[], None]) -> None:
    """Send empty fragments until the server has enough of it."""
    sock.sendall(RawClient.request())
    sock.recv(1024)
    ready()
    while True:
        sock.sendall(FRAGMENTS)


def idle(sock: Any, ready: Callable[[], None]) -> None:
    """Connect, and do nothing."""
    ready()
    while sock.recv(1024):
        pass


ATTACKS = {attack.__name__: attack for attack in (slowloris, stalled_tls, deaf, fragments, idle)}


def main(name: str, port: int, count: int) -> None:
    """Attack until the end of the process.

    Say that all are there; and then in JSON, once the server has hung up on all, after how many
    seconds it first did on each.
    """
    allow_descriptors()
    begun: set[int] = set()
    ages: dict[int, float] = {}

    def ready(number: int) -> None:
        if number not in begun:
            begun.add(number)
            if len(begun) == count:
                print("ready", flush=True)

    def ended(number: int, age: float) -> None:
        if number not in ages:
            ages[number] = age
            if len(ages) == count:
                print(json.dumps([*ages.values()]), flush=True)

    def attacker(number: int) -> None:
        while True:
            begin = time.monotonic()
            with contextlib.suppress(OSError), connected(port) as sock:
                with contextlib.suppress(ConnectionError):
                    ATTACKS[name](sock, lambda: ready(number))
                ended(number, time.monotonic() - begin)
            gevent.sleep(0.01)

    gevent.joinall([gevent.spawn(attacker, number) for number in range(count)])


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
