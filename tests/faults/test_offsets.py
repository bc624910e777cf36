"""Sessions that are cut at every byte, in every way: both ends must end as documented.

So `make faults` does it, in both builds. In `make test`, of the compiled build, each kind of fault
has its share of the offsets: see STEP.
"""

from __future__ import annotations

import logging
import ssl
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
from tests.faults.relay import (
    CLOSE,
    DIRECTIONS,
    DOWN,
    HALF_CLOSE,
    KINDS,
    RESET,
    STALL,
    UP,
    Fault,
    Relay,
)
from tests.faults.script import Records, Script
from tests.faults.session import CLOSED, FAILED, OPEN, End, House, OtherSession, Session
from tests.modes import LONG

# How many bytes lie between two faults of one kind in `make test`: without TLS the kinds together
# strike at each offset, with TLS at each third one.
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

# By what a connection ends. What is sent to a peer that is gone is answered by a reset; TLS has an
# error of its own for the end of the stream in its handshake.
ENDS = (EOFError, ssl.SSLEOFError)
LOSSES: dict[str, tuple[type[BaseException], ...]] = {
    CLOSE: (*ENDS, ConnectionError),
    RESET: (ConnectionError,),
    HALF_CLOSE: ENDS,
    STALL: (*ENDS, TimeoutError),
}

# RFC 6455, section 7.1.5.
ABNORMAL = 1006


def check(session: Session, fault: Fault) -> None:
    """Check what must hold wherever a session is cut."""
    client, server = session.client, session.server
    # Each message once and in order, and each that was answered was delivered.
    assert client.received == session.answers[: len(client.received)]
    assert server.received == session.sent[: len(server.received)]
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
    if isinstance(exc, InvalidMessage):
        exc = exc.__cause__
    assert isinstance(exc, LOSSES[fault.kind])
    if isinstance(exc, TimeoutError):
        assert str(exc) in (
            "timed out while waiting for TLS handshake",
            "timed out while waiting for handshake response",
        )


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
    gave_up = "1011 (internal error) keepalive ping timeout" in str(exc)
    assert isinstance(exc.__cause__, LOSSES[fault.kind]) or (gave_up and fault.kind == STALL)
    assert exc.rcvd is None or fault.kind == STALL


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


def check_bytes(session: Session, fault: Fault, records: dict[str, Records]) -> None:
    """Check that both ends saw what the bytes said that passed; those of TLS in whole records."""
    passed = session.relay.passed
    up, down = (
        Script(records[way].read(passed[way]) if records else passed[way]) for way in (UP, DOWN)
    )
    check_no_more(session.server, up)
    check_no_more(session.client, down)
    check_answered(session, fault.kind, up, down)
    # A reset drops what the end has not read; a stall has it give up, perhaps early.
    if fault.kind in (CLOSE, HALF_CLOSE):
        check_exactly(session, fault, up if fault.direction == UP else down)


def check_no_more(end: End, script: Script) -> None:
    """Check that an end saw no more than was said."""
    assert end.ws is None or script.opened
    assert len(end.received) <= script.messages
    assert script.closed or not isinstance(end.exc, ConnectionClosedOK)


def check_answered(session: Session, kind: str, up: Script, down: Script) -> None:
    """Check that each end saw what it must have seen by what it said next."""
    client, server = session.client, session.server
    assert client.ws is not None or not up.begun
    assert len(server.received) >= down.begun
    # In a stall, a keepalive ping may be next.
    assert len(client.received) >= (up.begun - 1 if kind == STALL else up.followed)


def check_exactly(session: Session, fault: Fault, script: Script) -> None:
    """Check what the end saw that was cut off, which lost no byte of what had passed."""
    client = session.client
    end = session.server if fault.direction == UP else client
    # The response may be lost as it is sent, and no handler runs: a relay that has not read all of
    # a TLS handshake closes by a reset.
    assert (end.ws is not None or OPEN in end.lines(logging.INFO)) is script.opened
    assert len(end.received) == script.messages
    assert isinstance(end.exc, ConnectionClosedOK) is script.closed
    if fault.direction == UP and fault.kind == HALF_CLOSE and script.followed == script.messages:
        # Directly behind a message, the end may be read before that is answered.
        assert len(client.received) == script.messages


def calm(make: type[Session], tls: bool) -> Session:
    """A session without a fault, whose ends see all there is."""
    with House(tls) as house:
        session = house.play(make(Relay(house.server.address)))
    session.check_undisturbed()
    return session


def cut(
    make: type[Session], kind: str, tls: bool, level: int = logging.INFO, opening: bool = True
) -> None:
    """Play a session for each offset in each direction, in its opening handshake or behind it."""
    whole, said = calm(make, tls), calm(make, tls=False).relay.passed
    offsets = {
        way: range(0 if opening else whole.opening[way], len(data) + 1)
        for way, data in whole.relay.passed.items()
    }
    records = {way: Records(said[way], whole.relay.passed[way]) for way in DIRECTIONS if tls}

    def play(fault: Fault) -> str | None:
        session = make(Relay(house.server.address, fault))
        busy.acquire()
        session.relay.struck.rawlink(lambda _: busy.release())
        try:
            house.play(session)
            check(session, fault)
            # TLS would not tell keepalive pings from what else is said.
            if not (tls and kind == STALL):
                check_bytes(session, fault, records)
        except AssertionError as exc:
            return f"{fault}: {exc}\nclient: {session.client}\nserver: {session.server}"
        return None

    busy = BoundedSemaphore(BUSY)
    with House(tls, level, **(HASTY if kind == STALL else {})) as house:
        found = list(filter(None, Pool(AT_ONCE).imap(play, faults(kind, offsets, tls))))
    assert not found, f"{len(found)} sessions, and the first of them:\n" + "\n".join(found[:3])


def faults(kind: str, offsets: dict[str, range], tls: bool) -> list[Fault]:
    """The faults of one kind: at each offset of both directions, or in turn with the others."""
    step = 1 if LONG else STEP[tls]
    first = KINDS.index(kind) * step // len(KINDS)
    return [
        Fault(kind, direction, offset)
        for direction in DIRECTIONS
        for offset in offsets[direction][first::step]
    ]


@pytest.mark.parametrize("level", [logging.INFO, logging.DEBUG], ids=["INFO", "DEBUG"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.deadline(300)
def test_cut_at_every_byte(kind: str, level: int) -> None:
    cut(Session, kind, tls=False, level=level)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.deadline(300)
def test_cut_tls_at_every_byte(kind: str) -> None:
    cut(Session, kind, tls=True)


@pytest.mark.parametrize(
    "tls", [False, True] if LONG else [False], ids=["plain", "tls"][: 1 + LONG]
)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.deadline(300)
def test_cut_other_session(kind: str, tls: bool) -> None:
    cut(OtherSession, kind, tls, opening=False)
