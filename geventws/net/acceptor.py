"""Accepting TCP connections, without a greenlet and without ever giving up."""

from __future__ import annotations

import _socket
import contextlib
import errno
import os
import socket
import stat
import sys
from collections.abc import Callable
from typing import Any

import gevent

__all__ = ["BACKLOG", "Acceptor", "create_listener", "create_unix_listener", "remove_socket"]

# Connections accepted in one turn of the loop, so that a flood of them does not starve those that
# are open: with 100, a thousand TLS handshakes at once delayed the others by 13 ms, with 10 by 7.
MAX_ACCEPT = 10

# Seconds to wait when no connection can be accepted.
PAUSE = 0.1

# Connections that may wait to be accepted; what the system allows may be less.
BACKLOG = 1024


def create_listener(host: str | None, port: int | None, **kwargs: Any) -> socket.socket:
    """Make a listening TCP socket.

    Args:
        host: address or name; None or "" listens on all interfaces, IPv6 and IPv4.
        port: port number; None or 0 chooses a free one.
        kwargs: for `socket.create_server`: ``family``, ``backlog``, ``reuse_port``,
            ``dualstack_ipv6``.
    """
    kwargs.setdefault("backlog", BACKLOG)
    if "family" not in kwargs:
        if not host and socket.has_dualstack_ipv6():
            kwargs.update(family=socket.AF_INET6, dualstack_ipv6=True)
        elif host and ":" in host:
            kwargs["family"] = socket.AF_INET6
    return socket.create_server((host or "", port or 0), **kwargs)


def create_unix_listener(path: str | bytes, backlog: int = BACKLOG) -> socket.socket:
    """Make a listening Unix socket; one that a dead process left at the path is replaced.

    Args:
        path: where the socket appears in the file system.
        backlog: connections that may wait to be accepted.

    Raises:
        OSError: it cannot listen there, for instance because a living process does.
    """
    sock = socket.socket(socket.AF_UNIX)
    try:
        try:
            sock.bind(path)
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE:
                raise
            _check_stale(path)
            os.unlink(path)
            sock.bind(path)
        sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return sock


def remove_socket(path: str | bytes) -> None:
    """Remove the file of a Unix socket, if there is one."""
    # In Linux's abstract namespace there is none: that is a ValueError.
    with contextlib.suppress(OSError, ValueError):
        os.unlink(path)


def _check_stale(path: str | bytes) -> None:
    """Check that there is a socket at the path, and no process that listens on it.

    Raises:
        OSError: there is something else, or such a process.
    """
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        raise FileExistsError(errno.EEXIST, "what is there is not a socket", os.fsdecode(path))
    probe = _socket.socket(socket.AF_UNIX)
    probe.setblocking(False)
    try:
        stale = probe.connect_ex(path) == errno.ECONNREFUSED
    finally:
        probe.close()
    if not stale:
        reason = "address in use: another process listens there"
        raise OSError(errno.EADDRINUSE, reason, os.fsdecode(path))


class Acceptor:
    """Accepts connections of one listening socket.

    Args:
        sock: the listening socket; it becomes non-blocking.
        hub: the hub that watches it.
        accepted: called in the hub, with a non-blocking socket and the peer's address.
        failed: called in a greenlet, with the error, when none can be accepted for now; again
            only after all that waited were accepted.
    """

    def __init__(
        self,
        sock: socket.socket,
        hub: Any,
        accepted: Callable[[_socket.socket, Any], object],
        failed: Callable[[OSError], object],
    ) -> None:
        self._hub = hub
        self._accepted = accepted
        self._failed = failed
        # The C object below the standard library's, or gevent's, which would wait.
        self._sock: Any = getattr(sock, "_sock", sock)
        self._sock.setblocking(False)
        self._watcher: Any = hub.loop.io(sock.fileno(), 1)
        self._timer: Any = None
        # Whether descriptors or memory ran out, and some may still wait for them.
        self._short = False
        self._watcher.start(self._accept)

    def stop(self) -> None:
        """Accept no more; the socket stays open."""
        self._watcher.stop()
        self._watcher.close()
        if self._timer is not None:
            self._timer.close()

    def _accept(self) -> None:
        try:
            for _ in range(MAX_ACCEPT):
                fd, address = self._sock._accept()
                sock = _socket.socket(
                    self._sock.family, self._sock.type, self._sock.proto, fileno=fd
                )
                sock.setblocking(False)
                self._accepted(sock, address)
        except BlockingIOError:
            self._short = False
        except OSError as exc:
            # Descriptors or memory ran out, or somebody else has shut the listener down: it stays
            # readable, and would keep the loop busy.
            if exc.errno != errno.ECONNABORTED:
                self._pause(exc)
        except BaseException:
            self._hub.handle_error(self, *sys.exc_info())

    def _pause(self, exc: OSError) -> None:
        """Let connections wait in the backlog until others have ended."""
        self._watcher.stop()
        if not self._short:
            self._short = True
            gevent.spawn(self._failed, exc.with_traceback(None))
        self._timer = self._hub.loop.timer(PAUSE)
        self._timer.start(self._resume)

    def _resume(self) -> None:
        self._timer.close()
        self._timer = None
        self._watcher.start(self._accept)
