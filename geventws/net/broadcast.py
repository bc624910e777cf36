"""Broadcast: one message to many connections, without waiting for any of them."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterable

import gevent

from geventws.core.frames import CloseCode, Opcode
from geventws.core.journal import Line
from geventws.core.states import State
from geventws.net.background import BackgroundConnection
from geventws.net.connection import Connection
from geventws.net.hubs import HubState
from geventws.net.logs import emit
from geventws.net.sending import Data, Sender, to_bytes
from geventws.net.threads import get_ident

__all__ = ["broadcast"]

# Looking up a member of an enum costs 50 ns.
OPEN = State.OPEN

# Bytes of messages that may wait for another thread: it takes none while it computes.
MAX_WAITING = 1024 * 1024


def broadcast(
    connections: Iterable[Connection | BackgroundConnection],
    message: Data,
    *,
    text: bool | None = None,
    raise_exceptions: bool = False,
    drop_slow: bool = False,
) -> None:
    """Send a message to many connections, of any threads, from any thread.

    It never waits. The message is encoded once, and compressed once, for all connections
    that can share it. A connection that cannot take the message now is skipped, and that is
    logged at level WARNING: one whose peer is too slow, so that more than ``write_limit``
    bytes wait already; one on which a fragmented message is being sent; one whose peer is
    gone. Connections that are not open are skipped in silence.

    Connections of other threads get the message as soon as their thread waits in gevent, and
    failures are logged there, whatever ``raise_exceptions`` says. They are skipped while more
    than a MiB of messages waits for their thread.

    Args:
        connections: where to send it, for instance `Server.connections`.
        message: `str` for a text, a bytes-like object for a binary message.
        text: True to send bytes as a text message, False to send `str` as a binary one.
        raise_exceptions: raise an `ExceptionGroup` of all failures instead of logging them.
        drop_slow: close connections whose peer is too slow, with code 1013, instead of
            skipping them.

    Raises:
        TypeError: the message is of another type.
        ExceptionGroup: some failed, and ``raise_exceptions`` is set.
    """
    if not isinstance(message, Data):
        raise TypeError("data must be str or bytes")
    data = to_bytes(message)
    is_text = isinstance(message, str) if text is None else text
    opcode = Opcode.TEXT if is_text else Opcode.BINARY
    frames: dict[Hashable, bytes] = {}
    own, foreign = _by_thread(connections)
    failures = _deliver_all(own, opcode, data, frames, drop_slow)
    for state, group in foreign.items():
        failures += _post(state, group, opcode, data, frames, drop_slow)
    if failures and raise_exceptions:
        raise ExceptionGroup("skipped broadcast", [RuntimeError(text) for _, text in failures])
    for connection, failure in failures:
        _warn(connection, failure)


def _by_thread(
    connections: Iterable[Connection | BackgroundConnection],
) -> tuple[list[Connection], dict[HubState, list[Connection]]]:
    """Return the connections of this thread, and those of others by their hub."""
    here = get_ident()
    own: list[Connection] = []
    foreign: dict[HubState, list[Connection]] = {}
    for connection in connections:
        if isinstance(connection, BackgroundConnection):
            connection = connection._connection
        state = connection._state
        if state.thread == here:
            own.append(connection)
        else:
            foreign.setdefault(state, []).append(connection)
    return own, foreign


def _post(
    state: HubState,
    connections: list[Connection],
    opcode: Opcode,
    data: bytes,
    frames: dict[Hashable, bytes],
    drop_slow: bool,
) -> list[tuple[Connection, str]]:
    """Let another thread hand the message over; return why that was not possible, if so."""
    mailbox = state.mailbox
    waiting = mailbox.waiting
    if waiting > MAX_WAITING:
        failure = f"their thread does not keep up: {waiting} bytes wait for it"
        return [(ws, failure) for ws in connections if ws._protocol.state is OPEN]
    # If the hub is gone, so are its connections. In a greenlet, since it may have to log.
    arguments = connections, opcode, data, frames, drop_slow
    mailbox.post(gevent.spawn, _deliver_posted, *arguments, size=len(data))
    return []


def _deliver_posted(
    connections: list[Connection],
    opcode: Opcode,
    data: bytes,
    frames: dict[Hashable, bytes],
    drop_slow: bool,
) -> None:
    for connection, failure in _deliver_all(connections, opcode, data, frames, drop_slow):
        _warn(connection, failure)


def _warn(connection: Connection, failure: str) -> None:
    """Log why a connection was skipped."""
    line = Line(logging.WARNING, "skipped broadcast: %s", (failure,), None)
    if connection._state.thread != get_ident():
        emit(connection._logger, connection, line)
    else:
        connection._protocol.journal.line(line.level, line.message, *line.args)
        connection._emit_elsewhere()


def _deliver_all(
    connections: list[Connection],
    opcode: Opcode,
    data: bytes,
    frames: dict[Hashable, bytes],
    drop_slow: bool,
) -> list[tuple[Connection, str]]:
    """Hand the message over to connections of this thread; return which failed, and why."""
    failures = []
    for connection in connections:
        failure = _deliver(connection, opcode, data, frames, drop_slow)
        if failure is not None:
            failures.append((connection, failure))
    return failures


def _deliver(
    connection: Sender,
    opcode: Opcode,
    data: bytes,
    frames: dict[Hashable, bytes],
    drop_slow: bool,
) -> str | None:
    """Hand the message over to a connection; return why that was not possible, if so."""
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
