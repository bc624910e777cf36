"""The programs in the documentation: all of them parse, the complete ones run."""

from __future__ import annotations

import ast
import pathlib
import re
import textwrap

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent

# A literal block of reStructuredText, and a fenced one of Markdown.
LITERAL = re.compile(r"::\n\n((?:    .*\n|\n)+)")
FENCED = re.compile(r"```python\n(.*?)```", re.DOTALL)

PAGES = [*sorted((ROOT / "docs").rglob("*.rst")), ROOT / "README.md"]


def programs(page: pathlib.Path) -> list[str]:
    """The programs of a page, in order."""
    text = page.read_text("utf-8")
    found = FENCED.findall(text) if page.suffix == ".md" else LITERAL.findall(text)
    return [textwrap.dedent(program) for program in found]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_programs_parse(page: pathlib.Path) -> None:
    for program in programs(page):
        ast.parse(program)


def test_protocol_without_io() -> None:
    (program,) = programs(ROOT / "docs" / "topics" / "sansio.rst")
    exec(program, {})


def test_readme_shows_a_server_and_a_client() -> None:
    server, client = programs(ROOT / "README.md")
    assert "geventws.serve(" in server and "geventws.connect(" in client
