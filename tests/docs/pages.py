"""The documentation's pages, their blocks of code, and what the pages say about running them.

What a test must know about a block stands before it, in a comment that readers do not see:
``.. name: value`` in reStructuredText, ``<!-- name: value -->`` in Markdown.

``hidden:``
    what is indented below (in Markdown: the rest of the comment) runs as one more block of
    Python.
``raises: TypeError``
    the next block must raise this.
``alone:``
    the next block runs in a process of its own.
``tested: tests/wsgi/test_howto.py``
    the next block runs in that test instead; ``all tested:`` says so for the whole page.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pathlib
import re
import textwrap
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).resolve().parents[2]

PAGES = [*sorted((ROOT / "docs").rglob("*.rst")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]

# A comment, the start of a block in a language, and of one in Python.
COMMENT = re.compile(r"\s*\.\. (hidden|raises|alone|tested|all tested):\s*(.*)$")
CODE_BLOCK = re.compile(r"\s*\.\. (?:code-block|sourcecode):: *(\S*)$")
LITERAL = re.compile(r"(?!\s*\.\. ).*::$")

MARKDOWN = re.compile(
    r"^<!-- (?P<comment>hidden|raises|alone|tested|all tested):\s*(?P<value>.*?)\s*-->"
    r"|^```(?P<language>\w*)\n(?P<code>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)


@dataclasses.dataclass
class Block:
    """A block of code, or a comment about one."""

    line: int
    # "python", "console", …; of a comment, its name.
    kind: str
    # Of a comment, its value.
    code: str
    raises: str = ""
    tested: str = ""
    hidden: bool = False
    alone: bool = False


def end_of(lines: list[str], start: int, outer: int) -> int:
    """Return where the lines end that are indented by more than ``outer``."""
    end = start
    while end < len(lines) and (
        not lines[end].strip() or len(lines[end]) - len(lines[end].lstrip()) > outer
    ):
        end += 1
    return end


def rst_blocks(text: str) -> Iterator[Block]:
    """Find the blocks and the comments of reStructuredText."""
    lines = text.splitlines()
    number = 0
    while number < len(lines):
        line = lines[number]
        number += 1
        end = end_of(lines, number, outer=len(line) - len(line.lstrip()))
        inside = textwrap.dedent("\n".join(lines[number:end])).strip("\n") + "\n"
        if comment := COMMENT.match(line):
            yield Block(number, comment[1], comment[2] or inside)
        elif block := CODE_BLOCK.match(line):
            # Without options of the directive, such as :caption:.
            code = re.sub(r"\A(:[\w-]+:.*\n)+\n", "", inside)
            yield Block(number, block[1] or "python", code)
        elif LITERAL.match(line):
            yield Block(number, "python", inside)
        else:
            continue
        number = end


def markdown_blocks(text: str) -> Iterator[Block]:
    """Find the fenced blocks and the comments of Markdown."""
    for match in MARKDOWN.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        if match["comment"]:
            yield Block(line, match["comment"], match["value"] + "\n")
        else:
            yield Block(line, match["language"] or "text", match["code"])


def with_comments(found: Iterator[Block]) -> list[Block]:
    """Turn comments into what they say about the blocks behind them."""
    blocks: list[Block] = []
    everywhere = raises = tested = ""
    alone = False
    for block in found:
        if block.kind == "all tested":
            everywhere = block.code.strip()
        elif block.kind == "raises":
            raises = block.code.strip()
        elif block.kind == "alone":
            alone = True
        elif block.kind == "tested":
            tested = block.code.strip()
        else:
            if block.kind == "hidden":
                block.kind, block.hidden = "python", True
            block.raises, block.alone, block.tested = raises, alone, tested or everywhere
            raises, alone, tested = "", False, ""
            blocks.append(block)
    return blocks


def blocks_of(text: str, markdown: bool = False) -> list[Block]:
    """Return the blocks of a page, hidden ones included."""
    return with_comments(markdown_blocks(text) if markdown else rst_blocks(text))


def programs(page: pathlib.Path) -> list[str]:
    """Return the programs that a page shows, in order."""
    blocks = blocks_of(page.read_text("utf-8"), page.suffix == ".md")
    return [block.code for block in blocks if block.kind == "python" and not block.hidden]


def docstrings() -> dict[str, str]:
    """Return the docstrings that the reference shows, by the names of what they describe."""
    found = {}
    page = (ROOT / "docs" / "reference.rst").read_text("utf-8")
    for kind, name in re.findall(r"^\.\. auto(\w+):: (\S+)", page, re.MULTILINE):
        thing = resolve(name)
        found[name] = inspect.getdoc(thing) or ""
        if kind == "module":
            members = {key: getattr(thing, key) for key in thing.__all__}
        elif inspect.isclass(thing):
            members = dict(inspect.getmembers(thing))
        else:
            continue
        for key, member in members.items():
            ours = str(getattr(member, "__module__", "")).startswith("geventws.")
            if ours and inspect.isroutine(member) and not key.startswith("_"):
                found[f"{name}.{key}"] = inspect.getdoc(member) or ""
    return found


def resolve(name: str) -> object:
    """Return what a dotted name means."""
    module, _, rest = name, "", ""
    while True:
        try:
            thing: object = importlib.import_module(module)
            break
        except ImportError:
            if "." not in module:
                raise
            module, _, last = module.rpartition(".")
            rest = f"{last}.{rest}" if rest else last
    for part in filter(None, rest.split(".")):
        thing = getattr(thing, part)
    return thing


def page_names() -> list[str]:
    """Return the names of all that has blocks: pages, and docstrings."""
    pages = [str(path.relative_to(ROOT)) for path in PAGES if path.is_file()]
    return [*pages, *(name for name, text in docstrings().items() if "::" in text)]


def page_blocks(name: str) -> list[Block]:
    """Return the blocks of a page or a docstring."""
    path = ROOT / name
    if path.is_file():
        return blocks_of(path.read_text("utf-8"), path.suffix == ".md")
    return blocks_of(inspect.getdoc(resolve(name)) or "")
