"""The page on websockets' names has all of them, and what it says of each is so.

The names are read from the installed websockets: `__all__` of its synchronous modules, the
arguments of their functions, and what their classes have without an underscore, attributes that
are set in `__init__` included.
"""

from __future__ import annotations

import ast
import csv
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import websockets

import geventws
import geventws.net.router
from tests.docs.pages import ROOT, resolve

PAGE = ROOT / "docs" / "topics" / "websockets.rst"

MODULES = [f"websockets.sync.{name}" for name in ("client", "server", "router", "connection")]

# What ``with`` and ``for`` call.
SPECIAL = {"__enter__", "__exit__", "__iter__"}

# What the table leaves to a sentence: they are passed on to others.
PASSED_ON = {inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL}


class Row(NamedTuple):
    names: list[str]
    here: str
    test: str
    difference: str


def rows() -> Iterator[Row]:
    """Read the tables of the page."""
    lines = PAGE.read_text("utf-8").splitlines()
    for number, line in enumerate(lines):
        if line == ".. csv-table::":
            for text in lines[number + 4 :]:
                if not text:
                    break
                names, *rest = next(csv.reader([text.strip()]))
                yield Row(re.findall(r"`([^`]+)`", names), *rest)


ROWS = list(rows())

# It sets attributes of connections, too.
ROUTER = inspect.getsource(geventws.net.router)


def theirs() -> dict[str, Any]:
    """The public names of websockets' synchronous API."""
    found: dict[str, Any] = {}
    for name in MODULES:
        module = importlib.import_module(name)
        found.update({public: getattr(module, public) for public in module.__all__})
    return found


def attributes(cls: type, base: type | None) -> set[str]:
    """The public names that a class adds to its base class, attributes of objects included."""
    names = {name for name in vars(cls) if not name.startswith("_") or name in SPECIAL}
    source = textwrap.dedent(inspect.getsource(cls))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            if isinstance(node.value, ast.Name) and node.value.id == "self":
                names.add(node.attr)
    names = {name for name in names if not name.startswith("_") or name in SPECIAL}
    return names - (attributes(base, None) if base else set())


def expected() -> set[str]:
    """Every name that must have a row."""
    names = set()
    everything = theirs()
    for name, value in everything.items():
        names.add(name)
        if inspect.isclass(value) and name != "reconnect":
            inherits = name in ("ClientConnection", "ServerConnection")
            base = everything["Connection"] if inherits else None
            names |= {f"{name}.{attribute}" for attribute in attributes(value, base)}
        else:
            parameters = inspect.signature(value).parameters.values()
            names |= {f"{name}({p.name}=)" for p in parameters if p.kind not in PASSED_ON}
    return names


def test_the_version_is_the_one_that_the_page_speaks_of() -> None:
    assert f"websockets {websockets.__version__} finds" in " ".join(PAGE.read_text().split())


def test_every_name_has_a_row() -> None:
    names = [name for row in ROWS for name in row.names]
    assert len(names) == len(set(names)), "a name has two rows"
    missing, unknown = expected() - set(names), set(names) - expected()
    assert not missing and not unknown, f"missing: {missing}, not in websockets: {unknown}"


def has_attribute(cls: type, name: str) -> bool:
    """Whether objects of a class have an attribute: of the class, or set in ``__init__``."""
    if hasattr(cls, name):
        return True
    if cls is geventws.ServerConnection and re.search(rf"\bws\.{name}\b.* = ", ROUTER):
        return True
    module = importlib.import_module(cls.__module__)
    path = str(module.__file__)
    source = inspect.getsource(cls) if path.endswith(".py") else ""
    return re.search(rf"\bself\.{name}\b[^=\n]* = ", source) is not None


def takes(function: Any, argument: str) -> bool:
    """Whether a function takes an argument, or passes it on to the one that does."""
    parameters = inspect.signature(function).parameters
    if argument in parameters:
        return True
    onward = {"reconnect": "connect", "unix_connect": "connect", "unix_serve": "serve"}
    name = onward.get(function.__name__)
    return bool(name) and "kwargs" in parameters and takes(getattr(geventws, name), argument)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.names[0])
def test_row(row: Row) -> None:
    """What stands in a row is there; where it is not the same, a reason is given."""
    path, _, function = row.test.strip("`").partition("::")
    test = (ROOT / path).read_text("utf-8")
    assert re.search(rf"^def {function}\(", test, re.MULTILINE), row.test
    if row.here == "none":
        assert row.difference
        return
    here = row.names if row.here == "same" else re.findall(r"`([^`]+)`", row.here)
    assert here, row
    for name in here:
        if match := re.fullmatch(r"(\w+)\((\w+)=\)", name):
            assert takes(getattr(geventws, match[1]), match[2]), name
        else:
            owner, _, attribute = f"geventws.{name}".rpartition(".")
            thing = resolve(owner)
            found = inspect.isclass(thing) and has_attribute(thing, attribute)
            assert found or hasattr(thing, attribute), name


def same_defaults(ours: Any, other: Any) -> Iterator[str]:
    """Yield the arguments whose defaults differ."""
    mine = inspect.signature(ours).parameters
    for name, parameter in inspect.signature(other).parameters.items():
        if name in mine and parameter.kind not in PASSED_ON:
            default = mine[name].default
            if default != parameter.default and not callable(default):
                yield name


@pytest.mark.parametrize("name", ["connect", "serve", "broadcast", "basic_auth", "route"])
def test_defaults_are_the_same(name: str) -> None:
    different = set(same_defaults(getattr(geventws, name), theirs()[name]))
    assert different <= {"user_agent_header", "server_header"}


@pytest.mark.parametrize("name", ["Connection", "ServerConnection", "Server"])
def test_methods_take_the_same_arguments(name: str) -> None:
    """In the same order, but for `Server.shutdown`, of which the page tells."""
    ours, other = getattr(geventws, name), theirs()[name]
    compared = 0
    for method in vars(other):
        mine = getattr(ours, method, None)
        if not method.startswith("_") and inspect.isfunction(vars(other)[method]) and mine:
            arguments = list(inspect.signature(vars(other)[method]).parameters)
            taken = list(inspect.signature(mine).parameters)
            if (name, method) == ("Server", "shutdown"):
                arguments, taken = sorted(arguments), sorted(set(taken) - {"timeout"})
            assert taken[: len(arguments)] == arguments, method
            compared += 1
    assert compared
