"""A relay between a client and a server that does to their bytes what a bad network does."""

from __future__ import annotations

import contextlib
import itertools
import socket as stdlib_socket
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple, Self

import gevent
from gevent import socket
from gevent.event import Event

from geventws.net.transport import set_nodelay

# Which way bytes go: to the server, or to the client.
UP, DOWN = DIRECTIONS = "up", "down"

# What happens once enough bytes have passed: both ends of TCP are closed; both are reset; one
# direction ends, as by a peer's half-close, and what is sent there later is lost; nothing passes
# in one direction any more, and nobody is told.
CLOSE, RESET, HALF_CLOSE, STALL = KINDS = "close", "reset", "half-close", "stall"

# For SO_LINGER: on, for no time; closing a socket then resets its connection.
NO_TIME = struct.pack("ii", 1, 0)

# Each relay has an address of its own, by which both ends know each other, while ports are used
# again as soon as a connection was reset. All are equally long, as they are part of the request.
_addresses = itertools.starmap(
    "127.{}.{}.{}".format, itertools.product(range(100, 250), range(100, 250), range(100, 250))
)


class Fault(NamedTuple):
    """What happens, and after how many bytes in which direction."""

    kind: str
    direction: str
    offset: int


class Relay:
    """A TCP proxy for one connection.

    Args:
        target: where the server listens.
        fault: what goes wrong; None for nothing.
        piece: how many bytes are passed on at a time; None for as many as arrived.
        delays: seconds to wait before each piece, at least one turn of the loop.
    """

    def __init__(
        self,
        target: tuple[str, int],
        fault: Fault | None = None,
        *,
        piece: int | None = None,
        delays: Iterator[float] | None = None,
    ) -> None:
        self._target = target
        self._fault = fault
        self._piece = piece
        self._delays = delays or itertools.repeat(0.0)
        self._listener = socket.socket()
        self._listener.bind((next(_addresses), 0))
        self._listener.listen(1)
        # Where it listens, and from where it connects.
        self.host, self.port = self._listener.getsockname()
        # The client's end and the server's end of it, once there is a client.
        self._ends: list[Any] = []
        self._greenlets = [gevent.spawn(self._run)]
        # Whether the fault has happened, or there will be none.
        self.struck = Event()
        # What has passed.
        self.passed = {UP: bytearray(), DOWN: bytearray()}

    def _run(self) -> None:
        client, _ = self._listener.accept()
        self._ends.append(client)
        server = socket.create_connection(self._target, source_address=(self.host, 0))
        self._ends.append(server)
        for end in self._ends:
            set_nodelay(end)
        self._greenlets.append(gevent.spawn(self._carry, client, server, UP))
        self._greenlets.append(gevent.spawn(self._carry, server, client, DOWN))

    def _carry(self, source: Any, target: Any, direction: str) -> None:
        try:
            while (room := self._room(direction)) != 0:
                data = source.recv(65536)
                if not data:
                    target.shutdown(stdlib_socket.SHUT_WR)
                    return
                self._pass_on(data[:room], target, direction)
            self._strike(source, target)
        except ConnectionResetError:
            self._reset()
        except OSError:
            # The other direction has closed both ends.
            pass

    def _room(self, direction: str) -> int | None:
        """How many bytes may pass before the fault; None for any number."""
        fault = self._fault
        if fault is None or fault.direction != direction:
            return None
        return fault.offset - len(self.passed[direction])

    def _pass_on(self, data: bytes, target: Any, direction: str) -> None:
        size = self._piece or len(data)
        for start in range(0, len(data), size):
            if self._piece:
                # Whoever waits for the piece before reads it by itself.
                gevent.sleep(next(self._delays))
            target.sendall(data[start : start + size])
            self.passed[direction] += data[start : start + size]

    def _strike(self, source: Any, target: Any) -> None:
        assert self._fault is not None
        self.struck.set()
        if self._fault.kind == CLOSE:
            self._close_ends()
        elif self._fault.kind == RESET:
            self._reset()
        elif self._fault.kind == HALF_CLOSE:
            target.shutdown(stdlib_socket.SHUT_WR)
            while source.recv(65536):
                pass

    def _reset(self) -> None:
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_LINGER, NO_TIME)
        self._close_ends()

    def _close_ends(self) -> None:
        for end in self._ends:
            end.close()

    def close(self) -> None:
        """Let go of everything."""
        self.struck.set()
        gevent.killall(self._greenlets)
        self._listener.close()
        self._close_ends()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
