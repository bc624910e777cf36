"""The table of sources is whole, and what it points at is there."""

from __future__ import annotations

import importlib.metadata
import pathlib
import re
import subprocess
import sys

import pytest

from tests.docs.pages import PAGES, ROOT

TABLE = ROOT / "docs" / "topics" / "sources.rst"

ROW = re.compile(
    r"^   \* - (?P<id>[A-Z]\d+)\n     - (?P<statement>.+)\n"
    r"     - :ref:`(?P<label>.+)`\n     - (?P<test>.+)$",
    re.MULTILINE,
)

ROWS = {match["id"]: match for match in ROW.finditer(TABLE.read_text("utf-8"))}

# The statements of the source documents, by the numbers that the table gives them.
IDS = [f"{letter}{n}" for letter, count in [("L", 28), ("F", 25), ("C", 8), ("A", 1)]
       for n in range(1, count + 1)]  # fmt: skip

LABELS = {
    label: page.stem
    for page in PAGES
    if page.suffix == ".rst"
    for label in re.findall(r"^\.\. _([\w-]+):$", page.read_text("utf-8"), re.MULTILINE)
}


TESTS = {
    name
    for path in (ROOT / "tests").rglob("test_*.py")
    for name in re.findall(r"^def (test_\w+)\(", path.read_text("utf-8"), re.MULTILINE)
}


def test_each_statement_has_its_row() -> None:
    assert list(ROWS) == IDS


@pytest.mark.parametrize("number", IDS)
def test_page_and_test_are_there(number: str) -> None:
    row = ROWS[number]
    assert row["label"] in LABELS
    assert "test_" + row["test"].replace(" ", "_") in TESTS, row["test"]


def test_only_pages_that_answer_are_named() -> None:
    """What runs as a block of a page needs a page with blocks."""
    assert {LABELS[row["label"]] for row in ROWS.values()} == {
        "cheatsheet",
        "faq",
        "gevent",
        "logging",
    }


def test_a_file_of_the_same_name_hides_the_package(tmp_path: pathlib.Path) -> None:
    """F16: the error that its question quotes."""
    (tmp_path / "geventws.py").write_text("import geventws\ngeventws.serve\n")
    command = [sys.executable, "geventws.py"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=20)
    assert "module 'geventws' has no attribute 'serve'" in result.stderr


def test_oldest_versions_are_those_of_the_package() -> None:
    """F22: the answer names the oldest versions."""
    text = (ROOT / "docs" / "faq.rst").read_text("utf-8")
    metadata = importlib.metadata.metadata("geventws")
    python = metadata["Requires-Python"].removeprefix(">=")
    assert f"{python} and later" in text
    gevent = next(r for r in importlib.metadata.requires("geventws") or [] if "gevent>=" in r)
    assert f"gevent {gevent.removeprefix('gevent>=')} or later" in text
