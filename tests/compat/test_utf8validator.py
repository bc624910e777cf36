"""Validation of UTF-8 in pieces, compared with Python's own of the whole."""

from __future__ import annotations

import pytest

from geventws.compat.geventwebsocket.utf8validator import Utf8Validator

TEXT = "aé€😀z".encode()


@pytest.mark.parametrize("cut", range(len(TEXT) + 1))
def test_valid_text_in_two_pieces(cut: int) -> None:
    validator = Utf8Validator()
    try:
        TEXT[:cut].decode()
        whole = True
    except UnicodeDecodeError:
        whole = False
    assert validator.validate(TEXT[:cut]) == (True, whole, cut, cut)
    assert validator.validate(TEXT[cut:]) == (True, True, len(TEXT) - cut, len(TEXT))


# What gevent-websocket's own validator says.
@pytest.mark.parametrize(
    ("pieces", "result"),
    [
        ([b"\xff"], (False, False, 0, 0)),
        ([b"ab\xff"], (False, False, 2, 2)),
        ([b"ab\xe2\x82x"], (False, False, 4, 4)),
        ([b"\xed\xa0\x80"], (False, False, 1, 1)),
        ([b"ab", b"c\x80"], (False, False, 1, 3)),
        ([b"ab\xe2", b"\x82x"], (False, False, 1, 4)),
        ([b"\xf4\x90"], (False, False, 1, 1)),
    ],
)
def test_invalid_text(pieces: list[bytes], result: tuple[bool, bool, int, int]) -> None:
    validator = Utf8Validator()
    for piece in pieces[:-1]:
        assert validator.validate(piece)[0]
    assert validator.validate(pieces[-1]) == result


def test_reset() -> None:
    validator = Utf8Validator()
    assert not validator.validate(b"a\xff")[0]
    validator.reset()
    assert validator.validate(b"ab") == (True, True, 2, 2)
