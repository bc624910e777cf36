"""Where the programs of a page run: one after the other, as a reader would type them.

The blocks of a page share their names. A block with ``serve_forever()`` is a server: it goes on
while the next blocks run, until the next server begins or the page ends. Blocks that want a
server where there is none talk to one that echoes. The ports 443, 8000 and 8765 mean a free
one, of this machine only, and example.com means this machine. ``printed`` is what they have
printed so far, and ``shown`` the last block that is not Python. Where they run there is a
certificate for localhost.

``python -m tests.docs.stage docs/faq.rst`` runs a page in a process of its own.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import pathlib
import re
import sys
import tempfile
import traceback
import types
from collections.abc import Iterator
from typing import Any

import gevent
import trustme
from gevent import socket, subprocess

import geventws
from tests.docs.pages import ROOT, Block, page_blocks, resolve

# Seconds that a block may take.
PATIENCE = 20

# What changes the process; such pages run in one of their own.
GLOBAL = re.compile(
    r"patch_all|basicConfig|getLogger|signal\.|signal_handler|fork\(|os\.environ\[|settrace|\bconfig\."
)

SERVER = re.compile(r"\.serve_forever\(")


def needs_process(blocks: list[Block]) -> bool:
    """Whether a page must have a process of its own."""
    return any(
        GLOBAL.search(block.code)
        for block in blocks
        if block.kind == "python" and not block.tested and not block.alone
    )


def reserve_port() -> Any:
    """Return a socket bound to a free port, which nobody gets who does not ask for its number."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", 0))
    return sock


def echo(ws: geventws.ServerConnection) -> None:
    for message in ws:
        ws.send(message)


def names_of(name: str) -> dict[str, Any]:
    """Return the names that examples in a docstring may use."""
    thing: Any = resolve(name)
    module = inspect.getmodule(thing)
    packages = {"gevent": gevent, "geventws": geventws}
    functions = {"app": page, "echo": echo, "handler": echo, "room": echo}
    return {**vars(module or geventws), **packages, **functions}


def page(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"a page"]


class Stage:
    """Runs the blocks of one page."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._reserved = reserve_port()
        self.port: int = self._reserved.getsockname()[1]
        # What the blocks have printed, a line each.
        self.printed: list[str] = []
        module = types.ModuleType("__main__")
        module.__file__ = "program.py"
        module.__dict__.update(print=self.print, printed=self.printed, PORT=self.port)
        self.names: dict[str, Any] = module.__dict__
        self._server: gevent.Greenlet[[], Any] | None = None
        self._echo: geventws.Server | None = None

    def print(self, *args: object, sep: str = " ", **options: Any) -> None:
        self.printed.extend(sep.join(map(str, args)).splitlines() or [""])

    def run(self, block: Block) -> None:
        """Run a block."""
        code = re.sub(
            r"\b(wss?|https?)://example\.com\b(:\d+)?", r"\1://localhost:8765", block.code
        )
        code, uses_port = re.subn(r"\b(443|8000|8765)\b", str(self.port), code)
        # On another interface the port may be another process's.
        code = code.replace(f'"", {self.port}', f'"127.0.0.1", {self.port}')
        # Line numbers as on the page.
        program = compile("\n" * block.line + code, self.name, "exec")
        if block.alone:
            command = [sys.executable, "-c", code]
            assert subprocess.run(command, timeout=PATIENCE).returncode == 0, self.name
        elif SERVER.search(code):
            self.stop()
            self._start(program)
        else:
            self._run(block, program, bool(uses_port))

    def _run(self, block: Block, program: types.CodeType, uses_port: bool) -> None:
        if uses_port and self._server is None and self._echo is None:
            # A hidden block may have started one of its own.
            with contextlib.suppress(OSError):
                self._echo = geventws.serve(echo, "127.0.0.1", self.port)
                self._echo.start()
        running = gevent.spawn(self._exec, program)
        with gevent.Timeout(PATIENCE, AssertionError(f"{self.name}:{block.line} did not end")):
            running.join()
        self._check(block, running.value)

    def _exec(self, program: types.CodeType) -> BaseException | None:
        try:
            exec(program, self.names)
        except BaseException as exc:
            return exc
        return None

    def _check(self, block: Block, exc: BaseException | None) -> None:
        if block.raises:
            kind = type(exc).__name__
            assert kind == block.raises, f"{self.name}:{block.line}: {kind}, not {block.raises}"
        elif exc is not None:
            raise AssertionError(f"{self.name}:{block.line}: {exc!r}") from exc

    def _start(self, program: types.CodeType) -> None:
        """Start a server, and wait until it listens."""
        self._server = gevent.spawn(self._exec, program)
        with gevent.Timeout(PATIENCE, AssertionError(f"{self.name}: nothing listens")):
            while True:
                with contextlib.suppress(OSError):
                    socket.create_connection(("127.0.0.1", self.port)).close()
                    return
                if self._server.dead:
                    break
                gevent.sleep(0.01)
        raise AssertionError(f"{self.name}: the server has ended") from self._server.value

    def stop(self) -> None:
        """Stop what serves."""
        if self._echo is not None:
            self._echo.shutdown()
        elif self._server is not None:
            self._server.kill(KeyboardInterrupt)
            assert isinstance(self._server.value, KeyboardInterrupt | None), self._server.value
        self._echo = self._server = None

    def close(self) -> None:
        """Stop what serves, and let others have the port."""
        self.stop()
        self._reserved.close()


@contextlib.contextmanager
def folder() -> Iterator[None]:
    """A working directory with a certificate for localhost, and whom to trust; no arguments."""
    before, arguments = os.getcwd(), sys.argv
    sys.argv = ["program.py"]
    with tempfile.TemporaryDirectory() as path:
        os.chdir(path)
        authority = trustme.CA()
        certificate = authority.issue_cert("localhost", "127.0.0.1")
        authority.cert_pem.write_to_path("authority.pem")
        certificate.private_key_pem.write_to_path("key.pem")
        pathlib.Path("certificate.pem").write_bytes(
            b"".join(part.bytes() for part in certificate.cert_chain_pems)
        )
        try:
            yield
        finally:
            os.chdir(before)
            sys.argv = arguments


def run_page(name: str) -> None:
    """Run the blocks of a page that no other test runs."""
    stage = Stage(name)
    if not (ROOT / name).is_file():
        stage.names.update(names_of(name))
    with folder():
        try:
            for block in page_blocks(name):
                if block.kind != "python":
                    stage.names["shown"] = block.code
                elif not block.tested:
                    stage.run(block)
        finally:
            stage.close()


if __name__ == "__main__":
    try:
        run_page(sys.argv[1])
    except AssertionError:
        traceback.print_exc()
        sys.exit(1)
