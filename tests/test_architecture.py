"""The floor plan of the package, held by reading its source: imports, sizes, tests."""

from __future__ import annotations

import ast
import graphlib
import importlib
import inspect
import pathlib
import sys
from collections.abc import Iterator

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "geventws"

# A module may import its own floor and the floors below. What the table does not name is a
# door of the second floor; the front door stands outside of the house.
FLOORS = {"version": 0, "core": 1, "net": 2, "cli": 4, "__main__": 5}
SECOND_FLOOR = 3
FRONT_DOOR = 6

# The ground floor knows no I/O and no clock. Whatever is not in the standard library is
# forbidden there as well.
FORBIDDEN_IN_CORE = {
    "asyncio",
    "gevent",
    "select",
    "selectors",
    "socket",
    "ssl",
    "threading",
    "time",
}

MODULE_LINES, CLASS_LINES, FUNCTION_LINES, EXAMPLE_LINES = 400, 250, 45, 80

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def name_of(path: pathlib.Path) -> str:
    """``geventws/core/frames.py`` is ``geventws.core.frames``; a package has its own name."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


PATHS = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text("utf-8")) for name, path in PATHS.items()}

PACKAGES = {name for name, path in PATHS.items() if path.name == "__init__.py"}

every_module = pytest.mark.parametrize("name", PATHS)
every_core_module = pytest.mark.parametrize(
    "name", [name for name in PATHS if name.startswith("geventws.core")]
)


def imports(name: str) -> Iterator[tuple[int, str]]:
    """Every import of a module with its line: inside functions and ``TYPE_CHECKING`` too."""
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}:{node.lineno} imports relatively; write the full name"
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                yield node.lineno, submodule if submodule in PATHS else str(node.module)


def floor_of(name: str) -> int:
    """The number of a module's floor, counted from the ground."""
    parts = name.split(".")
    return FRONT_DOOR if len(parts) == 1 else FLOORS.get(parts[1], SECOND_FLOOR)


def definitions(name: str) -> Iterator[Definition]:
    """Every class and function of a module."""
    for node in ast.walk(TREES[name]):
        if isinstance(node, Definition):
            yield node


def body_lines(node: Definition) -> int:
    """How long a function or a class is, without its signature and docstring."""
    body = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


@every_module
def test_imports_go_down(name: str) -> None:
    above = [
        f"{name}:{line} imports {imported}, which is above it"
        for line, imported in imports(name)
        if imported.split(".")[0] == "geventws" and floor_of(imported) > floor_of(name)
    ]
    assert not above, "\n".join(above)


def test_no_import_cycle() -> None:
    graph = {name: {target for _, target in imports(name) if target in PATHS} for name in PATHS}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as exc:
        pytest.fail(f"import cycle: {' <- '.join(exc.args[1])}")


@every_core_module
def test_core_does_no_io_and_knows_no_clock(name: str) -> None:
    allowed = (sys.stdlib_module_names - FORBIDDEN_IN_CORE) | {"geventws"}
    forbidden = [
        f"{name}:{line} imports {imported}; the ground floor must not"
        for line, imported in imports(name)
        if imported.split(".")[0] not in allowed
    ]
    assert not forbidden, "\n".join(forbidden)


@every_module
def test_module_begins_by_saying_what_it_does(name: str) -> None:
    docstring = ast.get_docstring(TREES[name])
    assert docstring, f"{name} must begin with a docstring"
    assert docstring.splitlines()[0].endswith((".", ":")), f"{name}: end the first line"


@every_module
def test_sizes(name: str) -> None:
    lines = len(PATHS[name].read_text("utf-8").splitlines())
    too_long = [f"{name} has {lines} lines"] if lines > MODULE_LINES else []
    for node in definitions(name):
        limit = CLASS_LINES if isinstance(node, ast.ClassDef) else FUNCTION_LINES
        if body_lines(node) > limit:
            too_long.append(f"{name}:{node.lineno} {node.name} has {body_lines(node)} lines")
    assert not too_long, "split: " + "; ".join(too_long)


def own_tests(name: str) -> pathlib.Path | None:
    """The path that the test module of a module must have; None if it needs none."""
    parts = name.split(".")
    if len(parts) == 3 and parts[1] in ("core", "net", "testing", "cli"):
        return ROOT / "tests" / parts[1] / f"test_{parts[2]}.py"
    if len(parts) == 2 and floor_of(name) == SECOND_FLOOR and name not in PACKAGES:
        # The doors of WSGI servers; what is no door is tested beside this.
        folder = ROOT / "tests" / ("" if parts[1] == "build" else "wsgi")
        return folder / f"test_{parts[1]}.py"
    # Of the packages of `compat`, only the outermost does something.
    if parts[1:2] == ["compat"] and not (name in PACKAGES and len(parts) > 2):
        own = "install" if name in PACKAGES else parts[-1].strip("_")
        return ROOT / "tests" / "compat" / f"test_{own}.py"
    return None


@every_module
def test_module_has_its_test_module(name: str) -> None:
    test = own_tests(name)
    assert test is None or test.is_file(), f"{name} has no test module: write {test}"


def test_front_door_offers_what_it_imports() -> None:
    front_door = importlib.import_module("geventws")
    names = {name for name, value in vars(front_door).items() if not inspect.ismodule(value)}
    # `annotations` comes from __future__.
    public = {name for name in names if not name.startswith("_")} - {"annotations"}
    assert sorted(front_door.__all__) == sorted(public | {"__version__"})


def test_front_door_has_no_logic() -> None:
    assert not list(definitions("geventws"))


@pytest.mark.parametrize(
    "path", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.name
)
def test_example_is_short_and_run_by_a_test(path: pathlib.Path) -> None:
    lines = len(path.read_text("utf-8").splitlines())
    assert lines < EXAMPLE_LINES, f"{path.name} has {lines} lines: an example fits one screen"
    test = ROOT / "tests" / "examples" / f"test_{path.stem}.py"
    assert test.is_file(), f"{path.name} is not run: write {test.relative_to(ROOT)}"
