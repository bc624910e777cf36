"""The two system calls of a socket of our own.

syscalls.pyx makes them by the bare descriptor; it is used where it was compiled. Here they
go through the socket object, as for any other socket.
"""

from __future__ import annotations

from geventws.net.transport import Transport

__all__ = ["OwnTransport"]


class OwnTransport(Transport):
    """Bytes over a socket, without TLS, that nobody else has.

    Args:
        sock: a connected, non-blocking socket from `own_socket` or `accept`.
    """

    __slots__ = ()
