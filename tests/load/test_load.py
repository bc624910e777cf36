"""Load that hurts: honest clients are served as before, memory is bounded, all is released."""

from __future__ import annotations

import contextlib
import json
import time
from typing import Any

import gevent
import pytest

from geventws import connect
from tests.load.measures import slowest
from tests.load.processes import clients, running
from tests.modes import LONG
from tests.net.support import PATIENCE, client_tls, until
from tests.wsgi.support import Process

# How many attackers there are.
MANY = 1000 if LONG else 30

# Honest clients, and for how long their latency is measured, in seconds.
HONEST = 10
DURATION = 10.0 if LONG else 0.3

# How much longer the slowest hundredth may take than without an attack. A short run on a busy
# machine measures the machine: it only looks whether all are served.
FACTOR = 3 if LONG else None

KIB = 1024


def open_client(process: Process) -> Any:
    secure = {"ssl": client_tls()} if process.tls else {}
    scheme = "wss" if process.tls else "ws"
    host, port = process.address
    return connect(f"{scheme}://{host}:{port}/", compression=None, **secure)


def latencies(process: Process) -> list[float]:
    """Let honest clients talk; return how long each answer took, in seconds."""
    found: list[float] = []

    def talk() -> None:
        with open_client(process) as ws:
            end = time.monotonic() + DURATION
            while (begin := time.monotonic()) < end:
                ws.send(b"x" * 32)
                assert len(ws.recv(timeout=PATIENCE)) == 32
                found.append(time.monotonic() - begin)
                gevent.sleep(0.005)

    clients = [gevent.spawn(talk) for _ in range(HONEST)]
    for client in clients:
        client.get()
    return found


def count(process: Process) -> dict[str, int]:
    """What a server holds."""
    status, body = process.get("/count")
    assert status == 200
    counts: dict[str, int] = json.loads(body)
    return counts


def is_released(before: dict[str, int], after: dict[str, int]) -> bool:
    """Whether a server holds no more than before, memory apart, which the allocator keeps."""
    return all(after[name] <= before[name] for name in before if name != "size")


def check(name: str, process: Process, many: int, bound: int) -> None:
    """Compare honest clients and memory without an attack and with it.

    Args:
        name: of the attack.
        process: the server.
        many: how many attackers.
        bound: bytes of memory that each may take.
    """
    calm = slowest(latencies(process))
    before = count(process)
    with clients("attack", name, process.address[1], many):
        # What they ask for at once is not yet the attack.
        gevent.sleep(DURATION / 2)
        under_attack = slowest(latencies(process))
        during = count(process)
    until(lambda: is_released(before, count(process)))
    grown = during["size"] - before["size"]
    print(
        f"\n{name}: p99 {calm * 1000:.2f} ms calm, {under_attack * 1000:.2f} ms attacked;"
        f" {grown / many / KIB:.1f} KiB each"
    )
    # What the allocator keeps for the next time is not much, where there are few.
    assert grown < many * bound + 2 * KIB * KIB
    if FACTOR is not None:
        assert under_attack < FACTOR * calm


@pytest.mark.deadline(120)
def test_slowloris() -> None:
    with running(open_timeout=5) as process:
        check("slowloris", process, MANY, 32 * KIB)


@pytest.mark.deadline(120)
def test_stalled_tls_handshakes() -> None:
    # One takes 56 KiB. All have to go at the same time and come back at once, before what the
    # others held is free.
    with running(tls=True, open_timeout=5) as process:
        check("stalled_tls", process, MANY, 96 * KIB)


@pytest.mark.deadline(120)
def test_peers_that_never_read() -> None:
    # What may be queued, the message that exceeds it, and the connection.
    with running(write_limit=64 * KIB) as process:
        check("deaf", process, MANY, (64 + 16 + 32) * KIB)


@pytest.mark.deadline(120)
def test_empty_fragments() -> None:
    # A fragment, even an empty one, is an object in a list.
    with running(max_fragments=4096) as process:
        check("fragments", process, 1, 4096 * 256 + 32 * KIB)


@pytest.mark.deadline(60)
def test_no_descriptors_left() -> None:
    limit = 60
    with running(descriptors=limit) as process, open_client(process) as ws:
        with clients("attack", "idle", process.address[1], 2 * limit):
            process.wait_for("cannot accept connections for now")
            # Who is connected is served on, and who waits gets a turn when others have left.
            for _ in range(10):
                ws.send("hello")
                assert ws.recv(timeout=PATIENCE) == "hello"
        with open_client(process) as other:
            other.send("hello")
            assert other.recv(timeout=PATIENCE) == "hello"
        until(lambda: count(process)["streams"] <= 2)
        # Not a line for each that had to wait.
        assert process.log.count("cannot accept connections for now") == 1


# A crowd that stays: how many processes of how many clients, for how many seconds.
PROCESSES, CROWD, CHATTING, STAY = (2, 5000, 250, 600) if LONG else (2, 100, 20, 2)
KEEPALIVE = 20 if LONG else 0.5


@pytest.mark.deadline(STAY + 300)
def test_a_crowd_that_stays() -> None:
    with running(ping_interval=KEEPALIVE) as process, contextlib.ExitStack() as stack:
        arguments = process.address[1], CROWD, CHATTING
        crowds = [stack.enter_context(clients("crowd", *arguments)) for _ in range(PROCESSES)]
        sizes = []
        for _ in range(10):
            gevent.sleep(STAY / 10)
            sizes.append(count(process)["size"])
        # The connection that asks is one, too, and the one before it may still be closing.
        until(lambda: count(process)["streams"] == PROCESSES * CROWD + 1)
        for crowd in crowds:
            crowd.stdin.close()
            result = json.loads(crowd.stdout.readline())
            print(f"\n{result}")
            assert result["errors"] == {}
            assert result["open"] == CROWD
            assert result["messages"] > CHATTING * STAY / 4
        each = sizes[-1] / PROCESSES / CROWD / KIB
        print(f"\n{each:.1f} KiB each; MiB, in time: {[size // KIB**2 for size in sizes]}")
        # Flat, once all have come, been pinged, and chatted.
        assert max(sizes[1:]) < 1.01 * sizes[1] + 2 * KIB * KIB
        until(lambda: count(process)["streams"] == 1)
