"""Tests of geventws.core.escaping."""

from __future__ import annotations

import pytest

from geventws.core.escaping import escape


@pytest.mark.parametrize("text", ["", "plain", "with spaces", "schön 😀", "back\\slash", "'\""])
def test_printable_text_stays(text: str) -> None:
    assert escape(text) == text


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a\nb", "a\\nb"),
        ("a\r\nb\tc", "a\\r\\nb\\tc"),
        ("\x1b[31m", "\\x1b[31m"),
        ("next\x85line \x9b31m", "next\\x85line \\x9b31m"),
        ("\u2028\u202e", "\\u2028\\u202e"),
        ("\udcff", "\\udcff"),
    ],
)
def test_what_is_not_printable_is_escaped(text: str, escaped: str) -> None:
    assert escape(text) == escaped
    assert escape(text).isprintable()
