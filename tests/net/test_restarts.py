"""A server that is killed again and again, under a client that reconnects."""

from __future__ import annotations

import gc
import itertools
import logging
import os
import pathlib
import signal
import sys
import time
from collections.abc import Iterator

import gevent
import pytest
from gevent import subprocess

from geventws import ConnectionClosed, reconnect
from tests.net.support import HOST, PATIENCE, free_port, greenlets, until

RESTARTS = 50

# After these, whatever is made once has been made.
WARM_UP = 10

# Seconds between attempts.
DELAY = 0.02

ROOT = pathlib.Path(__file__).resolve().parents[2]


class MortalServer:
    """A server in a process of its own that is killed and started again on the same port."""

    def __init__(self) -> None:
        self.port = free_port()
        self._parent = subprocess.Popen(
            [sys.executable, "-m", "tests.net.mortal_server", str(self.port)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.pid = 0

    def start(self) -> None:
        self._parent.stdin.write(b"\n")
        self._parent.stdin.flush()
        self.pid = int(self._parent.stdout.readline())

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        # Its port is free once it is gone.
        until(self._is_gone)

    def _is_gone(self) -> bool:
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        return False

    def close(self) -> None:
        self.kill()
        self._parent.stdin.close()
        self._parent.wait()
        self._parent.stdout.close()


class Numbering:
    """A client that numbers its messages, and sends a number until it comes back.

    Args:
        port: of the server.
    """

    def __init__(self, port: int) -> None:
        self._uri = f"ws://{HOST}:{port}/"
        # How many numbers came back, and in how many connections.
        self.count = 0
        self.connections = 0

    def run(self) -> None:
        for ws in reconnect(self._uri, reconnect_delays=lambda: itertools.repeat(DELAY)):
            self.connections += 1
            try:
                while True:
                    ws.send(str(self.count))
                    assert ws.recv() == str(self.count)
                    self.count += 1
                    gevent.sleep(0)
            except ConnectionClosed:
                continue

    def wait_for_more(self) -> None:
        """Wait until a number comes back that is not yet under way."""
        expected = self.count + 2
        until(lambda: self.count >= expected)


@pytest.fixture
def server() -> Iterator[MortalServer]:
    server = MortalServer()
    server.start()
    yield server
    server.close()


def resources() -> dict[str, int]:
    """What may grow: descriptors, greenlets, objects."""
    return {
        "descriptors": len(os.listdir("/proc/self/fd")),
        # This collects garbage.
        "greenlets": len(greenlets()),
        "objects": len(gc.get_objects()),
    }


@pytest.mark.deadline(90)
def test_restarts(server: MortalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    # pytest keeps all records that reach it.
    monkeypatch.setattr(logging.getLogger("geventws"), "propagate", False)
    client = Numbering(server.port)
    running = gevent.spawn(client.run)
    client.wait_for_more()
    before: dict[str, int] = {}
    away = []
    for number in range(RESTARTS):
        if number == WARM_UP:
            before = resources()
        server.kill()
        server.start()
        started = time.monotonic()
        client.wait_for_more()
        away.append(time.monotonic() - started)
        assert not running.ready()
    # One that writes to the log comes and goes.
    until(lambda: len(greenlets()) <= before["greenlets"])
    after = resources()
    running.kill()
    assert client.connections == RESTARTS + 1
    # One delay at most, and what a busy machine takes.
    assert max(away) < DELAY + PATIENCE
    print(f"longest absence {max(away):.3f} s after the server was back; {before} -> {after}")
    assert after["descriptors"] <= before["descriptors"]
    # A connection is dozens of objects. Its deadline, cancelled, waits in line for a while.
    assert after["objects"] - before["objects"] < 3 * (RESTARTS - WARM_UP)
