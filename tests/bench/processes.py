"""The processes of the benchmark: where they run, what they cost, and what they say."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import resource
import subprocess
import tempfile
import threading
import time
from typing import Any

from tests.bench.candidates import Candidate

__all__ = ["Failed", "Process", "allow_many_files", "cores"]

# Seconds after which a process that says nothing is given up: more than the C programs wait.
PATIENCE = 30


class Failed(Exception):
    """A candidate is not installed, lacks what is measured, or broke."""


def cores() -> tuple[int, int] | None:
    """Return a core for what is measured and another one for the load; None if there is one.

    They are not threads of the same core, where there is a choice.
    """
    first, *others = sorted(os.sched_getaffinity(0))
    topology = pathlib.Path(f"/sys/devices/system/cpu/cpu{first}/topology/thread_siblings_list")
    siblings = topology.read_text().strip() if topology.exists() else ""
    apart = [core for core in others if str(core) not in siblings.replace("-", ",").split(",")]
    return (first, (apart or others)[0]) if others else None


def allow_many_files() -> None:
    """Raise the limit of open files as far as it goes, for this process and its children."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Process:
    """A process that runs on a core of its own and talks in lines."""

    def __init__(self, candidate: Candidate, core: int | None, stdin: int = subprocess.PIPE):
        # What it complains about, in a file: a pipe that nobody reads could fill up.
        self._complaints = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            candidate.command,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            text=True,
            env=candidate.environment,
        )
        if core is not None:
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(self._process.pid, {core})

    def line(self) -> str:
        """Return the next line that it prints.

        Raises:
            Failed: it ended instead, or said nothing for too long.
        """
        assert self._process.stdout is not None
        watchdog = threading.Timer(PATIENCE, self._process.kill)
        watchdog.start()
        line = self._process.stdout.readline().strip()
        watchdog.cancel()
        if not line:
            self._process.wait(PATIENCE)
            raise Failed(self._complaint())
        return line

    def answer(self, command: str) -> dict[str, Any]:
        """Send a line, and return the JSON that comes back."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()
        return self.report()

    def report(self) -> dict[str, Any]:
        """Return the next line, which is JSON."""
        report: dict[str, Any] = json.loads(self.line())
        return report

    def cpu(self) -> float:
        """Return the CPU time that it has used so far, user and system, in seconds."""
        tasks = pathlib.Path(f"/proc/{self._process.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9

    def memory(self) -> float:
        """Return its resident memory in KiB, once it has stopped growing."""
        before, current = -1.0, self._resident()
        while current != before:
            time.sleep(0.1)
            before, current = current, self._resident()
        return current

    def end(self) -> None:
        """End it, if it has not ended by itself."""
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._complaints):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()

    def _resident(self) -> float:
        status = pathlib.Path(f"/proc/{self._process.pid}/status").read_text()
        return float(status.split("VmRSS:")[1].split()[0])

    def _complaint(self) -> str:
        self._complaints.seek(0)
        lines = self._complaints.read().strip().splitlines()
        return lines[-1] if lines else f"ended with status {self._process.returncode}"
