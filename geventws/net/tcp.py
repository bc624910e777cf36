"""Connecting: names, their addresses, and sockets; it waits, but never blocks the hub."""

from __future__ import annotations

import _socket
import errno
import itertools
import os
from collections.abc import Iterable
from typing import Any

import gevent
from gevent import socket
from gevent.monkey import get_original
from gevent.select import poll
from gevent.socket import wait_read

from geventws.net.hubs import get_hub_state

__all__ = ["connect_tcp", "connect_unix", "resolve"]

# Seconds until the next address is tried beside those that have not answered yet: the
# "Connection Attempt Delay" that RFC 8305, section 5 recommends.
ATTEMPT_DELAY = 0.25

# Seconds between attempts at a Unix socket whose backlog is full: no event tells of room.
BACKLOG_DELAY = 0.01

# What `getaddrinfo` returns for an address: family, type, protocol, canonical name, address.
AddressInfo = tuple[int, int, int, str, Any]


def resolve(host: str, port: int, family: int = 0) -> list[AddressInfo]:
    """Look up a host's addresses for TCP.

    Raises:
        OSError: there are none; `socket.gaierror` is one.
    """
    try:
        # An address needs no look-up, which would start a native thread.
        flags = socket.AI_NUMERICHOST
        return _socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, 0, flags)
    except socket.gaierror:
        pass
    except UnicodeError as exc:
        # It cannot be written in DNS: a label is too long, or empty.
        raise socket.gaierror(socket.EAI_NONAME, f"{host} is not a host name: {exc}") from exc
    state = get_hub_state()
    if state.created_hub and gevent.getcurrent() is state.hub.parent:
        return _look_up(host, port, family)
    infos: list[Any] = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
    return infos


def _look_up(host: str, port: int, family: int) -> list[AddressInfo]:
    """Look up in a native thread of our own, which may be left alone with a slow answer.

    gevent's resolver would do it in threads that a hub waits for when it is destroyed, as the
    hub of a native thread is when `connect` fails there: later than its deadline.
    """
    found: list[Any] = []
    ours, theirs = _socket.socketpair()

    def look_up() -> None:
        try:
            found.append(_socket.getaddrinfo(host, port, family, socket.SOCK_STREAM))
        except Exception as exc:
            found.append(exc)
        finally:
            # Whoever still waits, wakes up.
            theirs.close()

    try:
        get_original("_thread", "start_new_thread")(look_up, ())
        wait_read(ours.fileno())
    finally:
        ours.close()
    if isinstance(found[0], Exception):
        raise found[0]
    infos: list[AddressInfo] = found[0]
    return infos


def connect_tcp(
    infos: Iterable[AddressInfo],
    source_address: tuple[str, int] | None = None,
    all_errors: bool = False,
) -> _socket.socket:
    """Connect to the first address that answers (RFC 8305, "Happy Eyeballs").

    Addresses are tried in order, IPv6 and IPv4 in turn. The next one is tried when one
    fails, and after a quarter of a second beside those that do not answer.

    Args:
        infos: from `resolve`.
        source_address: host and port to connect from.
        all_errors: raise an `ExceptionGroup` of all errors, instead of the last one.

    Returns:
        A non-blocking socket.

    Raises:
        OSError: no address answers.
    """
    waiting = _take_turns(infos)
    race = _Race(source_address)
    try:
        while waiting or race.attempts:
            if waiting:
                race.begin(waiting.pop(0))
            sock = race.wait(ATTEMPT_DELAY if waiting else None)
            if sock is not None:
                return sock
        raise ExceptionGroup("connecting failed", race.errors) if all_errors else race.errors[-1]
    finally:
        race.end()


def _take_turns(infos: Iterable[AddressInfo]) -> list[AddressInfo]:
    """Let families take turns (RFC 8305, section 4): a dead one costs one attempt."""
    families: dict[int, list[AddressInfo]] = {}
    for info in infos:
        families.setdefault(info[0], []).append(info)
    turns = itertools.zip_longest(*families.values())
    return [info for turn in turns for info in turn if info is not None]


class _Race:
    """Attempts to connect, side by side, of which the first wins.

    Args:
        source_address: host and port to connect from, or None.
    """

    def __init__(self, source_address: tuple[str, int] | None) -> None:
        self._source_address = source_address
        # Sockets that are being connected.
        self.attempts: list[_socket.socket] = []
        # Why others were not.
        self.errors: list[OSError] = []

    def begin(self, info: AddressInfo) -> None:
        """Begin to connect to an address: there is another attempt, or another error."""
        family, kind, protocol, _, address = info
        try:
            sock = _socket.socket(family, kind, protocol)
        except OSError as exc:
            # This system does not know the family.
            self.errors.append(exc)
            return
        self.attempts.append(sock)
        try:
            sock.setblocking(False)
            if self._source_address is not None:
                sock.bind(self._source_address)
            _check(sock.connect_ex(address))
        except OSError as exc:
            self._fail(sock, exc)

    def wait(self, timeout: float | None) -> _socket.socket | None:
        """Wait until an attempt ends; return its socket if it is connected.

        Args:
            timeout: in seconds; None waits as long as it takes.
        """
        if not self.attempts:
            return None
        poller = poll()
        for sock in self.attempts:
            poller.register(sock)
        ready = {fd for fd, _ in poller.poll(None if timeout is None else timeout * 1000)}
        for sock in self.attempts.copy():
            if sock.fileno() in ready:
                try:
                    _check(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
                except OSError as exc:
                    self._fail(sock, exc)
                else:
                    self.attempts.remove(sock)
                    return sock
        return None

    def _fail(self, sock: _socket.socket, exc: OSError) -> None:
        self.attempts.remove(sock)
        sock.close()
        self.errors.append(exc)

    def end(self) -> None:
        """Give up what is under way; forget the errors, whose tracebacks lead here."""
        for sock in self.attempts:
            sock.close()
        self.errors.clear()


def _check(error: int) -> None:
    """Raise the `OSError` of an error number, unless it means that all is well."""
    if error not in (0, errno.EINPROGRESS, errno.EWOULDBLOCK):
        raise OSError(error, os.strerror(error))


def connect_unix(path: str | bytes) -> _socket.socket:
    """Connect to a Unix socket; return a non-blocking socket.

    Raises:
        OSError: nobody listens there.
    """
    sock = _socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        while (error := sock.connect_ex(path)) == errno.EAGAIN:
            gevent.sleep(BACKLOG_DELAY)
        _check(error)
    except BaseException:
        sock.close()
        raise
    return sock
