"""What tests of the command line share: ``geventws`` as a real process, in pipes or a terminal."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
import pty
import re
import struct
import sys
import termios
from collections.abc import Iterator
from typing import Any

import gevent
from gevent import subprocess
from gevent.os import make_nonblocking, nb_read

from tests.net.support import PATIENCE, authority

ROOT = pathlib.Path(__file__).resolve().parents[2]

COMMAND = [sys.executable, "-m", "geventws"]

# Rows and columns of the terminal.
ROWS, COLUMNS = 24, 80


def environ(**more: str) -> dict[str, str]:
    """The environment of processes that find this checkout wherever they run."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "80", **more}


def run(
    *arguments: str, data: bytes = b"", code: int = 0, cwd: pathlib.Path = ROOT
) -> tuple[str, str]:
    """Run ``geventws`` with pipes.

    Args:
        arguments: its command line.
        data: its standard input.
        code: the exit code it must end with.
        cwd: where it runs.

    Returns:
        What it wrote to standard output and to standard error.
    """
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [*COMMAND, *arguments], stdin=pipe, stdout=pipe, stderr=pipe, cwd=cwd, env=environ()
    )
    try:
        with gevent.Timeout(PATIENCE):
            output, errors = (part.decode() for part in process.communicate(data))
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    assert "Traceback" not in errors, errors
    assert process.returncode == code, f"{process.returncode}: {output}\n{errors}"
    return output, errors


@contextlib.contextmanager
def pem_files() -> Iterator[tuple[str, str, str]]:
    """Files with an authority, a certificate that it signed, and the certificate's key."""
    ca, leaf = authority()
    with (
        ca.cert_pem.tempfile() as authority_file,
        leaf.cert_chain_pems[0].tempfile() as certificate,
        leaf.private_key_pem.tempfile() as key,
    ):
        yield authority_file, certificate, key


class Program:
    """``geventws`` in a process, of which output and errors are one stream.

    Args:
        arguments: its command line.
        terminal: whether it runs in a terminal, which this then is.
        command: what runs it.
    """

    def __init__(self, *arguments: str, terminal: bool = False) -> None:
        # All that it has written so far.
        self.output = ""
        if terminal:
            self._ours, theirs = pty.openpty()
            size = struct.pack("HHHH", ROWS, COLUMNS, 0, 0)
            fcntl.ioctl(theirs, termios.TIOCSWINSZ, size)
            # Kept open, to look at its modes.
            self.theirs = theirs
            options: dict[str, Any] = dict(stdin=theirs, preexec_fn=take_terminal)
        else:
            self._ours, theirs = os.pipe()
            options = dict(stdin=subprocess.DEVNULL)
        make_nonblocking(self._ours)
        self.process = subprocess.Popen(
            [*COMMAND, *arguments],
            stdout=theirs,
            stderr=theirs,
            env=environ(),
            **options,
        )
        self._descriptors = [self._ours]
        if terminal:
            self._descriptors.append(theirs)
        else:
            os.close(theirs)

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *exc: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for descriptor in self._descriptors:
            os.close(descriptor)

    def type(self, text: str) -> None:
        """Type something at the terminal."""
        os.write(self._ours, text.encode(errors="surrogateescape"))

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait until it has written something new that matches; forget all up to there."""
        with gevent.Timeout(PATIENCE, False):
            while not (match := re.search(pattern, self.output)):
                data = nb_read(self._ours, 65536)
                assert data, f"it ended without {pattern!r}: {self.output!r}"
                self.output += data.decode(errors="replace")
            self.output = self.output[match.end() :]
            return match
        raise AssertionError(f"{pattern!r} did not appear in {self.output!r}")

    def rest(self) -> str:
        """Return all that it writes into a pipe until it ends."""
        with gevent.Timeout(PATIENCE):
            while data := nb_read(self._ours, 65536):
                self.output += data.decode(errors="replace")
        return self.output

    def wait(self) -> int:
        """Wait until it ends; return its exit code."""
        code = self.process.wait(timeout=PATIENCE)
        assert code is not None, f"it did not end: {self.output!r}"
        return code


def take_terminal() -> None:
    """Make standard input the terminal that Ctrl-C comes from; in the child process."""
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
