"""One run of Autobahn|Testsuite against one side of one build of geventws."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

__all__ = ["Examination", "Failed", "Results"]

# Each case with what Autobahn|Testsuite says of the behaviour and of the closing handshake,
# and the close code that it received. It passes whoever sends no codes at all; we do not.
Results = dict[str, list[Any]]

# Seconds for what takes a fraction of one.
PATIENCE = 30


class Failed(Exception):
    """An examination did not come to its end."""


class Examination(NamedTuple):
    """What is examined, and in what.

    Attributes:
        name: for the folder with the reports.
        build: "compiled" or "plain Python".
        role: whether our "server" or our "client" is examined.
        cases: the numbers of the cases.
        limit: seconds that it may take.
    """

    name: str
    build: str
    role: str
    cases: list[str]
    limit: float

    def run(self, wstest: list[str], folder: pathlib.Path) -> Results:
        """Examine.

        Args:
            wstest: the command that runs Autobahn|Testsuite.
            folder: where its reports go.

        Raises:
            Failed: there are no results.
        """
        folder = folder / self.name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "index.json").unlink(missing_ok=True)
        examine = self._examine_server if self.role == "server" else self._examine_client
        try:
            examine(wstest, folder)
            return self._results(folder)
        except (OSError, subprocess.SubprocessError, ValueError, LookupError) as exc:
            raise Failed(f"{self.name}: {exc}; the logs in {folder} may say why") from exc

    def _examine_server(self, wstest: list[str], folder: pathlib.Path) -> None:
        with self._testee(folder) as testee:
            assert testee.stdout is not None
            url = f"ws://127.0.0.1:{int(testee.stdout.readline())}"
            spec = self._write_spec(folder, servers=[{"agent": "geventws", "url": url}])
            # Its exit status says nothing.
            with log(folder / "wstest.log") as output:
                command = [*wstest, "-m", "fuzzingclient", "-s", spec]
                subprocess.run(command, stdout=output, stderr=output, timeout=self.limit)

    def _examine_client(self, wstest: list[str], folder: pathlib.Path) -> None:
        port = free_port()
        url = f"ws://127.0.0.1:{port}"
        spec = self._write_spec(folder, url=url, webport=0)
        # Without -u, it takes port 8080 as well.
        command = [*wstest, "-m", "fuzzingserver", "-u", "0", "-s", spec]
        with log(folder / "wstest.log") as output:
            server = subprocess.Popen(command, stdout=output, stderr=output)
            with ending(server):
                wait_for(port, server)
                with self._testee(folder, url) as testee:
                    if testee.wait(self.limit):
                        raise ValueError("the client failed")

    def _write_spec(self, folder: pathlib.Path, **spec: Any) -> pathlib.Path:
        spec |= {
            "outdir": str(folder),
            "cases": self.cases,
            "exclude-cases": [],
            "exclude-agent-cases": {},
        }
        path = folder / "spec.json"
        path.write_text(json.dumps(spec, indent=1))
        return path

    @contextlib.contextmanager
    def _testee(self, folder: pathlib.Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """Run our side, in the build that is examined."""
        environment = {**os.environ, "GEVENTWS_PURE_PYTHON": "1"}
        if self.build == "compiled":
            del environment["GEVENTWS_PURE_PYTHON"]
        command = [sys.executable, "-m", f"tests.compliance.{self.role}", *arguments]
        with log(folder / "geventws.log") as output:
            testee = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=output, text=True, env=environment
            )
            with ending(testee):
                assert testee.stdout is not None
                if (build := testee.stdout.readline().strip()) != self.build:
                    raise ValueError(f"{self.build} was to be examined, not {build or 'nothing'}")
                yield testee

    def _results(self, folder: pathlib.Path) -> Results:
        """Read what Autobahn|Testsuite found."""
        report = json.loads((folder / "index.json").read_text())["geventws"]
        return {
            case: [found["behavior"], found["behaviorClose"], found["remoteCloseCode"]]
            for case, found in report.items()
        }


@contextlib.contextmanager
def ending(process: subprocess.Popen[Any]) -> Iterator[None]:
    """End a process in the end."""
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def log(path: pathlib.Path) -> Any:
    """Open a file for what a process prints."""
    return path.open("w")


def free_port() -> int:
    """Return a port that is free."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
    return port


def wait_for(port: int, server: subprocess.Popen[Any]) -> None:
    """Wait until a server listens.

    Raises:
        ConnectionRefusedError: it does not.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            if server.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
