"""Every block of Python in the documentation runs, docstrings of the reference included."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile

import pytest

from tests.docs.pages import ROOT, blocks_of, page_blocks, page_names
from tests.docs.stage import Stage, needs_process, run_page

NAMES = page_names()

# What documented commands begin with, where no test runs them.
COMMANDS = {"cd", "curl", "geventws", "git", "gunicorn", "make", "pip", "pytest", "python", "uwsgi"}


@pytest.mark.deadline(60)
@pytest.mark.parametrize("name", NAMES)
def test_programs_run(name: str) -> None:
    if not needs_process(page_blocks(name)):
        run_page(name)
        return
    command = [sys.executable, "-m", "tests.docs.stage", name]
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, cwd=ROOT, stderr=errors, start_new_session=True)
        try:
            status = process.wait(timeout=50)
        finally:
            # Its children, too.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        errors.seek(0)
        assert status == 0, errors.read()


@pytest.mark.parametrize("name", NAMES)
def test_blocks_are_run_somewhere(name: str) -> None:
    """A block is Python and runs, is run by a test that the page names, or is no code."""
    for block in page_blocks(name):
        if block.tested:
            path, _, test = block.tested.partition("::")
            source = (ROOT / path).read_text("utf-8")
            assert not test or f"def {test}(" in source, block.tested
        elif block.kind == "console":
            commands = re.findall(r"^\$ (.*)", block.code, re.MULTILINE)
            assert commands, f"{name}:{block.line}: no command"
            for command in commands:
                words = [word for word in shlex.split(command) if "=" not in word]
                assert words[0].rpartition("/")[2] in COMMANDS, f"{name}:{block.line}: {words[0]}"
        else:
            assert block.kind in ("python", "text"), f"{name}:{block.line} is not tested"


PAGE = """
A paragraph::

    x = 1

.. hidden:

    assert x == 1

- An item:

  .. code-block:: python
     :caption: nothing

     print("x", x)

.. raises: ZeroDivisionError

Wrong::

    x / 0

.. tested: tests/docs/test_blocks.py

.. code-block:: nginx

    listen 80;

"""


def test_blocks_of_a_page() -> None:
    blocks = blocks_of(PAGE)
    assert [block.kind for block in blocks] == ["python"] * 4 + ["nginx"]
    assert [block.raises for block in blocks] == ["", "", "", "ZeroDivisionError", ""]
    assert blocks[4].tested == "tests/docs/test_blocks.py"
    stage = Stage("a page")
    for block in blocks[:4]:
        stage.run(block)
    stage.close()
    assert stage.printed == ["x 1"]


def test_blocks_of_markdown() -> None:
    page = "```python\nx = 1\n```\n<!-- hidden:\nassert x == 1\n-->\n```sh\nls\n```\n"
    blocks = blocks_of(page, markdown=True)
    assert [block.kind for block in blocks] == ["python", "python", "sh"]
    stage = Stage("a page")
    for block in blocks[:2]:
        stage.run(block)
    stage.close()


def test_a_block_that_fails_fails_the_page() -> None:
    (block,) = blocks_of("::\n\n    1 / 0\n")
    with contextlib.closing(Stage("a page")) as stage:
        with pytest.raises(AssertionError, match="ZeroDivisionError"):
            stage.run(block)
        block.raises = "ValueError"
        with pytest.raises(AssertionError, match="not ValueError"):
            stage.run(block)


def test_a_server_goes_on_while_its_clients_run() -> None:
    stage = Stage("a page")
    server, client = blocks_of(
        "::\n\n"
        "    import geventws\n"
        "    with geventws.serve(lambda ws: ws.send('hi'), '127.0.0.1', 8765) as server:\n"
        "        server.serve_forever()\n\n"
        "Then::\n\n"
        "    with geventws.connect('ws://127.0.0.1:8765') as ws:\n"
        "        print(ws.recv())\n"
    )
    try:
        stage.run(server)
        stage.run(client)
        assert stage.printed == ["hi"]
    finally:
        stage.close()
