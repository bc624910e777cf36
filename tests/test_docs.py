"""The programs of the documentation: all of them parse; tests/docs runs them."""

from __future__ import annotations

import ast

import pytest

from tests.docs.pages import PAGES, ROOT, page_blocks, page_names, programs

__all__ = ["PAGES", "ROOT", "programs"]


@pytest.mark.parametrize("name", page_names())
def test_programs_parse(name: str) -> None:
    for block in page_blocks(name):
        if block.kind == "python":
            ast.parse(block.code)


def test_readme_shows_a_server_and_a_client() -> None:
    server, client, *_ = programs(ROOT / "README.md")
    assert "geventws.serve(" in server and "geventws.connect(" in client
