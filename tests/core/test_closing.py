"""The closing handshake's result, and the close code that each exception calls for."""

from __future__ import annotations

import pytest

from geventws.core.closing import Closing, close_for
from geventws.core.exceptions import (
    ConnectionClosedError,
    ConnectionClosedOK,
    PayloadTooBig,
    ProtocolError,
    TooManyFragments,
)
from geventws.core.frames import Close

OK, AWAY, EMPTY, DONE = Close(1000, ""), Close(1001, ""), Close(1005, ""), Close(4000, "done")


def test_nothing_received_is_1006() -> None:
    closing = Closing()
    assert (closing.code, closing.reason) == (1006, "")
    closing.send(DONE)
    assert (closing.code, closing.reason) == (1006, "")
    exc = closing.exception()
    assert type(exc) is ConnectionClosedError
    assert (exc.rcvd, exc.sent, exc.rcvd_then_sent) == (None, DONE, None)


def test_what_was_received_is_the_result() -> None:
    closing = Closing()
    closing.receive(DONE)
    assert (closing.code, closing.reason) == (4000, "done")
    exc = closing.exception()
    assert type(exc) is ConnectionClosedError
    assert (exc.rcvd, exc.sent, exc.rcvd_then_sent) == (DONE, None, None)


def test_the_order_is_remembered() -> None:
    closing = Closing()
    closing.receive(OK)
    closing.send(OK)
    assert closing.rcvd_then_sent is True
    assert str(closing.exception()) == "received 1000 (OK); then sent 1000 (OK)"
    closing = Closing()
    closing.send(OK)
    closing.receive(OK)
    assert closing.rcvd_then_sent is False
    assert str(closing.exception()) == "sent 1000 (OK); then received 1000 (OK)"


@pytest.mark.parametrize("rcvd", [OK, AWAY, EMPTY, DONE, Close(1011, "")])
@pytest.mark.parametrize("sent", [OK, AWAY, EMPTY, DONE, Close(1011, "")])
def test_it_ended_well_if_both_say_so(rcvd: Close, sent: Close) -> None:
    closing = Closing()
    closing.receive(rcvd)
    closing.send(sent)
    well = {rcvd, sent} <= {OK, AWAY, EMPTY}
    assert type(closing.exception()) is (ConnectionClosedOK if well else ConnectionClosedError)


def bad_utf8(data: bytes) -> UnicodeDecodeError:
    with pytest.raises(UnicodeDecodeError) as info:
        data.decode()
    return info.value


@pytest.mark.parametrize(
    ("exc", "close"),
    [
        (ProtocolError("incorrect masking"), Close(1002, "incorrect masking")),
        (bad_utf8(b"abc\xff"), Close(1007, "invalid start byte at position 3")),
        (bad_utf8(b"ab\xe2\x82c"), Close(1007, "invalid continuation byte at position 2")),
        (bad_utf8(b"a\xe2\x82"), Close(1007, "unexpected end of data at position 1")),
        (
            PayloadTooBig(1048577, 1048576),
            Close(1009, "frame with 1048577 bytes exceeds limit of 1048576 bytes"),
        ),
        (
            PayloadTooBig(600, 1000, 600),
            Close(1009, "frame with 600 bytes after reading 600 bytes exceeds limit of 1000 bytes"),
        ),
        (PayloadTooBig(None, 1000), Close(1009, "frame exceeds limit of 1000 bytes")),
        (TooManyFragments(4096), Close(1009, "too many fragments")),
        # What is not the peer's fault may be confidential.
        (RuntimeError("password: 1234"), Close(1011, "")),
        (KeyboardInterrupt(), Close(1011, "")),
    ],
)
def test_code_and_reason_for_an_exception(exc: BaseException, close: Close) -> None:
    assert close_for(exc) == close
    assert close.serialize()


def test_the_largest_numbers_fit_a_close_frame() -> None:
    size = 2**63 - 1
    assert close_for(PayloadTooBig(size, size, size)).serialize()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x" * 200, "x" * 123),
        ("é" * 200, "é" * 61),
        ("€" * 41 + "x", "€" * 41),
        ("😀" * 31, "😀" * 30),
        ("not text: \udcff", "not text: ?"),
    ],
)
def test_what_an_extension_says_is_cut_to_fit_a_close_frame(text: str, reason: str) -> None:
    close = close_for(ProtocolError(text))
    assert close == Close(1002, reason)
    assert close.serialize()
