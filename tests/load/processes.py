"""Processes of a load test: the server, its attackers, its crowds."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from typing import Any

import gevent
from gevent import subprocess

from tests.wsgi.support import ROOT, Process, certificate

# Seconds until all clients of a process are connected, on a busy machine.
CONNECTING = 120


@contextlib.contextmanager
def running(tls: bool = False, descriptors: int | None = None, **options: Any) -> Iterator[Process]:
    """Run a server of `tests.load.server`.

    Args:
        tls: whether it speaks TLS.
        descriptors: how many it may have.
        options: for `serve`.
    """
    command = [sys.executable, "-m", "tests.load.server", "--options", json.dumps(options)]
    with certificate() as path:
        if tls:
            command += ["--tls", path]
        if descriptors:
            command += ["--descriptors", str(descriptors)]
        process = Process(command, tls)
        try:
            yield process
        finally:
            process.stop()


@contextlib.contextmanager
def clients(module: str, *arguments: object) -> Iterator[Any]:
    """Run a module of clients in a process of its own; enter once it says that it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-m", f"tests.load.{module}", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        with gevent.Timeout(CONNECTING):
            assert process.stdout.readline() == b"ready\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()
