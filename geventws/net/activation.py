"""Socket activation: listening sockets that systemd opened for this process."""

from __future__ import annotations

import os
import socket

__all__ = ["check_listening", "systemd_sockets"]

# The first descriptor that is handed over, says sd_listen_fds(3).
FIRST = 3


def systemd_sockets() -> list[socket.socket]:
    """Take over the listening sockets that systemd hands to this process, once.

    Give them to `serve` as ``sock``.

    Returns:
        The sockets, in the order of the unit; none if the process was not started by a
        ``.socket`` unit of systemd, or by ``systemd-socket-activate``, or at the second call.

    Raises:
        ValueError: what was handed over is not a socket that listens.
    """
    pid, count = os.environ.get("LISTEN_PID"), os.environ.get("LISTEN_FDS", "0")
    # A process that was started by the one that systemd started is not meant.
    if pid != str(os.getpid()):
        return []
    # Nor are those that this one starts.
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        os.environ.pop(name, None)
    if not count.isdigit():
        raise ValueError(f"LISTEN_FDS must be a number, not {count!r}")
    sockets: list[socket.socket] = []
    try:
        for descriptor in range(FIRST, FIRST + int(count)):
            sockets.append(_take(descriptor))
    except ValueError:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _take(descriptor: int) -> socket.socket:
    """Make a socket of a descriptor."""
    try:
        os.set_inheritable(descriptor, False)
        sock = socket.socket(fileno=descriptor)
    except OSError as exc:
        raise ValueError(f"descriptor {descriptor} from systemd is no socket") from exc
    try:
        check_listening(sock, f"descriptor {descriptor} from systemd")
    except ValueError:
        sock.close()
        raise
    return sock


def check_listening(sock: socket.socket, name: str) -> None:
    """Check that a socket listens.

    Args:
        sock: the socket.
        name: how the error names it.

    Raises:
        ValueError: it does not.
    """
    if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise ValueError(
            f"{name} does not listen: call its listen() before, or, in a .socket unit, say "
            f"ListenStream= and Accept=no"
        )
