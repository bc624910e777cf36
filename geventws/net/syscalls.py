"""The two system calls of a socket that nobody else closes.

syscalls.pyx makes them by the bare descriptor; it is used where it was compiled. Here they
go through the socket object, as for any other socket.
"""

from __future__ import annotations

from geventws.net.transport import Transport

__all__ = ["DirectTransport"]


class DirectTransport(Transport):
    """Bytes over a socket, without TLS, that nobody else closes as long as it is used.

    Args:
        sock: a connected, non-blocking socket.
    """

    __slots__ = ()

    def forget_descriptor(self) -> None:
        """Go through the socket object from now on: the number may be another's."""
