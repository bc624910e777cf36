"""The reference is complete, and says enough."""

from __future__ import annotations

import importlib
import inspect
import re
from typing import Any

import pytest

from tests.docs.pages import ROOT, blocks_of, resolve

REFERENCE = (ROOT / "docs" / "reference.rst").read_text("utf-8")

# What each directive of the reference describes, and the text up to the next one.
ENTRIES = re.findall(
    r"^\.\. (?:auto|py:)(\w+):: (\S+)\n(.*?)(?=^\.\. (?:auto|py:)|\Z)",
    REFERENCE,
    re.MULTILINE | re.DOTALL,
)

# The modules whose names are public, all of them.
DOORS = [
    "geventws",
    *("geventws.wsgi", "geventws.pywsgi", "geventws.gunicorn", "geventws.flask"),
    *("geventws.testing", "geventws.compat"),
]

# Whose examples are elsewhere, or are those of what they are a part of.
WITHOUT_EXAMPLE = re.compile(r"geventws\.(compat\.geventwebsocket|core\.(deflate|ext|protocol))")


def described() -> set[int]:
    """The identities of all that the reference describes."""
    found: set[int] = set()
    for kind, name, _ in ENTRIES:
        thing: Any = resolve(name)
        found.add(id(thing))
        if kind == "module":
            found.update(id(getattr(thing, member)) for member in thing.__all__)
    return found


@pytest.mark.parametrize("door", DOORS)
def test_reference_is_complete(door: str) -> None:
    module, known = importlib.import_module(door), described()
    missing = [name for name in module.__all__ if id(getattr(module, name)) not in known]
    assert not missing, f"not in docs/reference.rst: {missing}"


@pytest.mark.parametrize(("kind", "name", "text"), ENTRIES, ids=[name for _, name, _ in ENTRIES])
def test_reference_says_enough(kind: str, name: str, text: str) -> None:
    """What it does; what each argument is; an example, there or in the docstring."""
    thing: Any = resolve(name)
    if kind in ("data", "module"):
        return
    docstring = inspect.getdoc(thing) or ""
    assert docstring, f"{name} has no docstring"
    if kind == "function":
        missing = [
            argument
            for argument in inspect.signature(thing).parameters
            if not re.search(rf"^ +(\w+, )*{argument}(, \w+)*:", docstring, re.MULTILINE)
        ]
        assert not missing or "fixture" in repr(thing), f"{name} does not explain {missing}"
    if kind in ("function", "class") and not WITHOUT_EXAMPLE.match(name):
        kinds = {block.kind for block in blocks_of(docstring) + blocks_of(text)}
        assert kinds & {"python", "console"}, f"{name} has no example"
