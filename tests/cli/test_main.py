"""Tests of geventws.cli.main: commands, help, exit codes."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shlex
import signal

import gevent
import pytest
from gevent import subprocess

from geventws.build import build_name
from geventws.cli import connect, doctor, echo
from geventws.cli.main import EXAMPLES, interruptible, main, make_parser
from geventws.testing import RawServer
from geventws.version import version
from tests.cli.support import COMMAND, Program, environ, run
from tests.docs.pages import page_blocks
from tests.net.support import PATIENCE, raise_before_waiting


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["--version"])
    assert raised.value.code == 0
    assert capsys.readouterr().out == f"geventws {version} ({build_name()})\n"


@pytest.mark.parametrize("command", [[], ["connect"], ["echo"], ["doctor"]])
def test_help_has_examples_and_exit_codes(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as raised:
        main([*command, "--help"])
    assert raised.value.code == 0
    text = capsys.readouterr().out
    assert "examples:\n  geventws " in text
    assert "exit codes:\n  0 " in text


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ([], "usage: geventws"),
        (["dance"], "invalid choice: 'dance'"),
        (["connect"], "required: URI"),
        (["connect", "ws://localhost/", "--header", "x"], "x is no header; write it as"),
        (["connect", "ws://localhost/", "--wait", "soon"], "soon is no number of seconds"),
        (["connect", "ws://localhost/", "--open-timeout", "-1"], "-1 is no number of seconds"),
        (["connect", "ws://localhost/", "--max-size", "0"], "0 is no number of bytes"),
        (["echo", "--port", "http"], "invalid int value: 'http'"),
        (["echo", "--key", "key.pem"], "--key needs --certificate"),
    ],
)
def test_wrong_command_line_is_2(
    arguments: list[str], error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(arguments)
    except SystemExit as exc:
        assert isinstance(exc.code, int)
        code = exc.code
    assert code == 2
    assert error in capsys.readouterr().err


def test_uri_alone_connects(capsys: pytest.CaptureFixture[str]) -> None:
    """As the command line of websockets has it."""
    assert main(["ws://127.0.0.1:1/"]) == 1
    assert capsys.readouterr().err.startswith("Failed to connect to ws://127.0.0.1:1/: ")


def test_documented_commands_are_right() -> None:
    parser = make_parser()
    blocks = page_blocks("docs/howto/command-line.rst")
    shown = "\n".join(block.code for block in blocks if block.kind == "console")
    examples = f"{shown}\n{EXAMPLES}\n{connect.EPILOG}\n{echo.EPILOG}\n{doctor.EPILOG}"
    commands = re.findall(r"(?m)(?:^\$ |^  |\| )geventws +([^|\n]+?)(?:   .*|\|.*)?$", examples)
    assert len(commands) > 20
    for command in commands:
        if "--help" not in command:
            assert parser.parse_args(shlex.split(command)).run is not None, command


def test_entry_point() -> None:
    """What pip installs as ``geventws``."""
    (script,) = importlib.metadata.entry_points(group="console_scripts", name="geventws")
    assert script.load() is main


def test_module_needs_no_patching() -> None:
    output, errors = run("--version")
    assert (output, errors) == (f"geventws {version} ({build_name()})\n", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_while_connecting(number: int) -> None:
    """Before there is a connection to close."""
    with RawServer() as server, Program("connect", server.uri) as program:
        peer = server.accept(open=False)
        program.process.send_signal(number)
        assert program.wait() == 130
        peer.close()


def test_output_that_nobody_reads() -> None:
    read, write = os.pipe()
    os.close(read)
    process = subprocess.Popen(
        [*COMMAND, "doctor"], stdout=write, stderr=subprocess.PIPE, env=environ()
    )
    os.close(write)
    with process:
        assert process.communicate(timeout=PATIENCE)[1] == b""
    assert process.returncode == 1


def test_signal_that_arrives_just_before_the_loop_waits() -> None:
    with pytest.raises(KeyboardInterrupt), interruptible(), gevent.Timeout(PATIENCE):
        raise_before_waiting(signal.SIGINT)
        # Waits for nothing else.
        gevent.sleep(2 * PATIENCE)
