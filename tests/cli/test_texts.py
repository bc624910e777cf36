"""Tests of geventws.cli.texts: what a terminal gets to see."""

from __future__ import annotations

import pytest

from geventws.cli.texts import columns, escape, explain


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 世", "plain é 世"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("\x7f\x80\x9b", "\\x7f\\x80\\x9b"),
        # Neither moves the cursor.
        ("\xa0\xad", "\xa0\xad"),
    ],
)
def test_escape(text: str, shown: str) -> None:
    assert escape(text) == shown


@pytest.mark.parametrize(
    ("text", "count"), [("abc", 3), ("世界", 4), ("e\N{COMBINING ACUTE ACCENT}", 1)]
)
def test_columns(text: str, count: int) -> None:
    assert columns(text) == count


def test_explain_tells_causes_once() -> None:
    exc = ValueError("outer: inner")
    exc.__cause__ = OSError("inner")
    exc.__cause__.__cause__ = EOFError("inmost\n")
    assert explain(exc) == "outer: inner: inmost\\n"


def test_explain_names_what_says_nothing() -> None:
    assert explain(TimeoutError()) == "TimeoutError"
