"""Each statement of the page on security names tests, and those are there."""

from __future__ import annotations

import re

from tests.docs.pages import ROOT
from tests.docs.test_sources import TESTS

PAGE = (ROOT / "docs" / "topics" / "security.rst").read_text("utf-8")


def test_tests_are_there() -> None:
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert named and named <= TESTS, named - TESTS


def test_statements_name_tests() -> None:
    # But what the page leaves to its readers.
    untested = [
        item for item in re.findall(r"^- ((?:.+\n)(?:  .+\n)*)", PAGE, re.M) if "`test_" not in item
    ]
    assert len(untested) == 1 and untested[0].startswith("Without `origins`")
