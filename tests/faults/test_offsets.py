"""A session that is cut at every byte, in every way: both ends must end as documented."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from gevent.lock import BoundedSemaphore
from gevent.pool import Pool

from geventws import (
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    InvalidMessage,
    State,
)
from tests.faults.relay import CLOSE, DIRECTIONS, HALF_CLOSE, KINDS, STALL, UP, Fault, Relay
from tests.faults.session import (
    ANSWERS,
    CLOSED,
    FAILED,
    OPEN,
    SENT,
    End,
    House,
    Script,
    Session,
)
from tests.modes import LONG

# Whether each kind of fault strikes at each offset, and not only one of them.

# Else, how many bytes lie between two faults of one kind: without TLS the kinds together strike
# at each offset.
STEP = {False: len(KINDS), True: 12}

# Sessions at a time, as many as wait for the end of a stall together; and those that have not come
# to their fault yet, so few that no timeout strikes before.
AT_ONCE, BUSY = 200, 20

# How soon a stall is noticed, in seconds; many sessions open at once.
HASTY: dict[str, Any] = {
    "open_timeout": 2,
    "ping_interval": 0.2,
    "ping_timeout": 0.2,
    "close_timeout": 0.2,
}

# RFC 6455, section 7.1.5.
ABNORMAL = 1006


def check(session: Session, fault: Fault) -> None:
    """Check what must hold wherever a session is cut."""
    client, server = session.client, session.server
    # Each message once and in order, and each that was answered was delivered.
    assert client.received == ANSWERS[: len(client.received)]
    assert server.received == SENT[: len(server.received)]
    assert len(client.received) <= len(server.received) <= len(client.received) + 1
    if client.ws is None:
        check_refusal(client.exc, fault)
    else:
        check_end(client, fault)
    if server.ws is not None:
        check_end(server, fault)
    check_logs(session)


def check_refusal(exc: BaseException | None, fault: Fault) -> None:
    """Check what `connect` raised."""
    if isinstance(exc, TimeoutError):
        assert fault.kind == STALL
        assert str(exc) in (
            "timed out while waiting for TLS handshake",
            "timed out while waiting for handshake response",
        )
    elif isinstance(exc, InvalidMessage):
        assert isinstance(exc.__cause__, EOFError)
    else:
        # The connection was lost; an `ssl.SSLError` is an `OSError`, too.
        assert isinstance(exc, OSError)


def check_end(end: End, fault: Fault) -> None:
    """Check state, close code and exception of an end that was open."""
    ws, exc = end.ws, end.exc
    assert ws.state is State.CLOSED
    assert isinstance(exc, ConnectionClosed)
    assert ws.close_code == exc.code == (ABNORMAL if exc.rcvd is None else exc.rcvd.code)
    if isinstance(exc, ConnectionClosedOK):
        assert exc.code == 1000
        return
    assert isinstance(exc, ConnectionClosedError)
    if fault.kind == STALL:
        gave_up = "1011 (internal error) keepalive ping timeout" in str(exc)
        assert gave_up or isinstance(exc.__cause__, (TimeoutError, EOFError))
    else:
        assert exc.rcvd is None
        # What is sent to a peer that is gone is answered by a reset.
        lost = EOFError if fault.kind == HALF_CLOSE else (EOFError, OSError)
        assert isinstance(exc.__cause__, lost)


def check_logs(session: Session) -> None:
    """Check the log lines of both ends."""
    client, server = session.client, session.server
    assert client.lines(logging.INFO) == []
    lines = server.lines(logging.INFO)
    if server.ws is None:
        # The response may have been lost as it was sent.
        assert lines in ([CLOSED], [OPEN, CLOSED])
    elif isinstance(server.exc, ConnectionClosedOK):
        assert lines == [OPEN, CLOSED]
    else:
        assert lines == [OPEN, CLOSED, FAILED]
        (record,) = (record for record in server.records if record.levelno == logging.ERROR)
        assert record.exc_info and record.exc_info[1] is server.exc
    for end in (client, server):
        if len(end.records) > len(end.lines(logging.INFO)):
            check_transcript(end.lines(logging.DEBUG))


def check_transcript(lines: list[str]) -> None:
    """Check what an end logged at DEBUG: its states, and that nothing happens after the last."""
    states = [line.removeprefix("= connection is ") for line in lines if line.startswith("= ")]
    assert states in (
        ["CONNECTING", "CLOSED"],
        ["CONNECTING", "OPEN", "CLOSED"],
        ["CONNECTING", "OPEN", "CLOSING", "CLOSED"],
    )
    last = lines.index("= connection is CLOSED")
    assert set(lines[last + 1 :]) <= {CLOSED, FAILED}
    for line in lines:
        assert line[:2] in ("< ", "> ", "= ", "x ", "% ", "- ", "! ") or line in (
            OPEN,
            CLOSED,
            FAILED,
        )


def check_exactly(session: Session, fault: Fault, script: Script) -> None:
    """Check what both ends saw of a session without TLS that was cut without losing bytes."""
    client, server = session.client, session.server
    end = server if fault.direction == UP else client
    count = script.count(fault.offset)
    assert (end.ws is not None) is (fault.offset >= script.head)
    assert len(end.received) == count
    if end.ws is not None:
        assert isinstance(end.exc, ConnectionClosedOK) is (fault.offset >= script.close)
    if fault.direction == UP and fault.kind == HALF_CLOSE and fault.offset not in script.messages:
        # Directly behind a message, the end may be read before that is answered.
        assert len(client.received) == count


def cut(kind: str, tls: bool, level: int = logging.INFO) -> None:
    """Play a session for each offset in each direction."""

    def play(fault: Fault) -> str | None:
        session = Session(Relay(house.server.address, fault))
        busy.acquire()
        session.relay.struck.rawlink(lambda _: busy.release())
        try:
            house.play(session)
            check(session, fault)
            if not tls and kind in (CLOSE, HALF_CLOSE):
                check_exactly(session, fault, Script(passed[fault.direction]))
        except AssertionError as exc:
            return f"{fault}: {exc}\nclient: {session.client}\nserver: {session.server}"
        return None

    busy = BoundedSemaphore(BUSY)
    with House(tls, level, **(HASTY if kind == STALL else {})) as house:
        passed = house.play(Session(Relay(house.server.address))).relay.passed
        sizes = {direction: len(data) for direction, data in passed.items()}
        found = list(filter(None, Pool(AT_ONCE).imap(play, faults(kind, sizes, tls))))
    assert not found, f"{len(found)} sessions, and the first of them:\n" + "\n".join(found[:3])


def faults(kind: str, sizes: dict[str, int], tls: bool) -> list[Fault]:
    """The faults of one kind: at each offset of both directions, or in turn with the others."""
    step = 1 if LONG else STEP[tls]
    first = KINDS.index(kind) * step // len(KINDS)
    return [
        Fault(kind, direction, offset)
        for direction in DIRECTIONS
        for offset in range(first, sizes[direction] + 1, step)
    ]


@pytest.mark.parametrize("level", [logging.INFO, logging.DEBUG], ids=["INFO", "DEBUG"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.deadline(300)
def test_cut_at_every_byte(kind: str, level: int) -> None:
    cut(kind, tls=False, level=level)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.deadline(300)
def test_cut_tls_at_every_byte(kind: str) -> None:
    cut(kind, tls=True)
