"""Broadcast: one message to many connections, without waiting for any of them."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterable

from geventws.core.frames import CloseCode, Opcode
from geventws.core.states import State
from geventws.net.connection import Connection
from geventws.net.sending import Data, Sender, to_bytes

__all__ = ["broadcast"]

# Looking up a member of an enum costs 50 ns.
OPEN = State.OPEN


def broadcast(
    connections: Iterable[Connection],
    message: Data,
    *,
    text: bool | None = None,
    raise_exceptions: bool = False,
    drop_slow: bool = False,
) -> None:
    """Send a message to many connections.

    It never waits. The message is encoded once, and compressed once, for all connections
    that can share it. A connection that cannot take the message now is skipped, and that is
    logged at level WARNING: one whose peer is too slow, so that more than ``write_limit``
    bytes wait already; one on which a fragmented message is being sent; one whose peer is
    gone. Connections that are not open are skipped in silence.

    Args:
        connections: where to send it, for instance `Server.connections`.
        message: `str` for a text, a bytes-like object for a binary message.
        text: True to send bytes as a text message, False to send `str` as a binary one.
        raise_exceptions: raise an `ExceptionGroup` of all failures instead of logging them.
        drop_slow: close connections whose peer is too slow, with code 1013, instead of
            skipping them.

    Raises:
        TypeError: the message is of another type.
        ConcurrencyError: a connection belongs to another thread.
        ExceptionGroup: some failed, and ``raise_exceptions`` is set.
    """
    if not isinstance(message, Data):
        raise TypeError("data must be str or bytes")
    data = to_bytes(message)
    is_text = isinstance(message, str) if text is None else text
    opcode = Opcode.TEXT if is_text else Opcode.BINARY
    frames: dict[Hashable, bytes] = {}
    failures: list[Exception] = []
    # A copy: the application may open and close connections while log handlers run.
    for connection in list(connections):
        failure = _deliver(connection, opcode, data, frames, drop_slow)
        if failure is not None and raise_exceptions:
            failures.append(RuntimeError(failure))
        elif failure is not None:
            connection._protocol.journal.line(logging.WARNING, "skipped broadcast: %s", failure)
            connection._emit_elsewhere()
    if failures:
        raise ExceptionGroup("skipped broadcast", failures)


def _deliver(
    connection: Sender,
    opcode: Opcode,
    data: bytes,
    frames: dict[Hashable, bytes],
    drop_slow: bool,
) -> str | None:
    """Hand the message over to a connection; return why that was not possible, if so."""
    connection._require_thread()
    if connection._protocol.state is not OPEN:
        return None
    failure = _obstacle(connection, drop_slow)
    if failure is None:
        connection._write(_encode(connection, opcode, data, frames))
        failure = _write_error(connection)
    if connection._protocol.journal.waiting:
        connection._emit_elsewhere()
    return failure


def _obstacle(connection: Sender, drop_slow: bool) -> str | None:
    """Return why a connection cannot take a message now, if there is a reason."""
    if connection._broken:
        return _write_error(connection)
    if connection._fragmenting is not None:
        return "sending a fragmented message"
    waiting = connection._queued + connection._transport.unsent
    if waiting <= connection._high:
        return None
    if drop_slow:
        assert isinstance(connection, Connection)
        connection._begin_close(CloseCode.TRY_AGAIN_LATER, "too slow")
        return f"closing, because the peer is too slow: {waiting} bytes wait to be sent"
    return f"the peer is too slow: {waiting} bytes wait to be sent"


def _write_error(connection: Sender) -> str | None:
    """Return why writing to a connection failed, if it did."""
    if not connection._broken:
        return None
    cause = connection._cause
    return f"failed to write message: {type(cause).__name__}: {cause}"


def _encode(
    connection: Sender, opcode: Opcode, data: bytes, frames: dict[Hashable, bytes]
) -> bytes:
    """Return a frame for a connection: the one that another made, if it can be shared."""
    encoder = connection._protocol.encoder
    key = encoder.begin_shared()
    frame = None if key is None else frames.get(key)
    if frame is None:
        frame = encoder.encode_data(opcode, data)
        if key is not None:
            frames[key] = frame
    return frame
