"""Load that hurts: honest clients are served as before, memory is bounded, all is released.

How long they wait is asserted in `make load` only. A short run on a busy machine measures the
machine: it looks whether all are served.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import gevent
import pytest

from geventws import connect
from tests.faults.census import resident_size
from tests.load.measures import slowest
from tests.load.processes import clients, running
from tests.modes import LONG
from tests.net.support import PATIENCE, until
from tests.wsgi.support import Process, trust

# How many attackers there are.
MANY = 1000 if LONG else 30

# Honest clients who talk, and others who come and go: few, so as not to wait for each other.
TALKING, COMING = 10, 2

# For how long their latency is measured, in seconds.
DURATION = 10.0 if LONG else 0.1

# How much longer the slowest hundredth may take than without an attack, of messages on connections
# that are open, and of openings.
SERVED = {"messages": 3.0, "openings": 3.0}

# A thousand on whom the server hangs up come back at once, and are accepted one after the other:
# who comes meanwhile waits for its turn.
IN_TURN = {"messages": 3.0, "openings": math.inf}

# Without descriptors nobody new is served.
WITHOUT_OPENINGS = {"messages": 3.0}

# Seconds that an opening handshake may take where it is attacked.
OPEN_TIMEOUT = 5 if LONG else 2

KIB = 1024


def open_client(process: Process) -> Any:
    secure = {"ssl": trust()} if process.tls else {}
    scheme = "wss" if process.tls else "ws"
    host, port = process.address
    return connect(f"{scheme}://{host}:{port}/", compression=None, **secure)


@contextlib.contextmanager
def echo(ws: Any) -> Iterator[None]:
    """Enter once a message has come back."""
    ws.send(b"x" * 32)
    assert len(ws.recv(timeout=PATIENCE)) == 32
    yield


@contextlib.contextmanager
def open_and_echo(process: Process) -> Iterator[None]:
    """Enter once a new client has got an answer; closing is not measured.

    Peers that never read fill the kernel's memory for TCP, which then saves itself the packet of a
    FIN until something is sent again, for 200 ms.
    """
    with open_client(process) as ws, echo(ws):
        yield


Act = Callable[[], contextlib.AbstractContextManager[None]]


def slowest_of(acts: Iterable[Act]) -> float:
    """Let honest clients act again and again; return the 99th percentile, in seconds."""
    found: list[float] = []

    def repeat(act: Act) -> None:
        end = time.monotonic() + DURATION
        while (begin := time.monotonic()) < end:
            with act():
                found.append(time.monotonic() - begin)
            gevent.sleep(0.005)

    for client in [gevent.spawn(repeat, act) for act in acts]:
        client.get()
    return slowest(found)


def count(process: Process) -> dict[str, int]:
    """What a server holds."""
    status, body = process.get("/count")
    assert status == 200
    counts: dict[str, int] = json.loads(body)
    return counts


def is_released(before: dict[str, int], after: dict[str, int]) -> bool:
    """Whether a server holds no more than before, memory apart, which the allocator keeps."""
    return all(after[name] <= before[name] for name in before if name != "size")


@contextlib.contextmanager
def attacked(
    name: str,
    process: Process,
    many: int,
    bound: int,
    *,
    factors: dict[str, float] = SERVED,
    sign: str = "",
) -> Iterator[Any]:
    """Compare honest clients and memory without an attack and with it; go on within the attack.

    Args:
        name: of the attack.
        process: the server.
        many: how many attackers.
        bound: bytes of memory that each may take.
        factors: what is measured, and how much longer it may take.
        sign: what the server prints once it suffers.
    """
    with contextlib.ExitStack() as stack:
        guests = [stack.enter_context(open_client(process)) for _ in range(TALKING)]
        acts: dict[str, list[Act]] = {
            "messages": [functools.partial(echo, ws) for ws in guests],
            "openings": COMING * [functools.partial(open_and_echo, process)],
        }
        calm = {what: slowest_of(acts[what]) for what in factors}
        before = count(process)
        with clients("attack", name, process.address[1], many) as attack:
            process.wait_for(sign)
            # What they ask for at once is not yet the attack.
            gevent.sleep(DURATION / 2)
            hurt = {what: slowest_of(acts[what]) for what in factors}
            grown = resident_size(process.process.pid) - before["size"]
            yield attack
        until(lambda: is_released(before, count(process)))
    print(f"\n{name}: {grown / many / KIB:.1f} KiB each")
    for what in factors:
        print(
            f"p99 of {what}: {calm[what] * 1000:.2f} ms calm, {hurt[what] * 1000:.2f} ms attacked"
        )
    # What the allocator keeps for the next time is not much, where there are few.
    assert grown < many * bound + 2 * KIB * KIB
    if LONG:
        assert all(hurt[what] < factors[what] * calm[what] for what in factors), (calm, hurt)


def check_hung_up(attack: Any) -> None:
    """Check that the server hangs up on each attacker, and not before the time is over."""
    with gevent.Timeout(PATIENCE):
        ages = json.loads(attack.stdout.readline())
    print(f"\nhung up on {len(ages)} after {min(ages):.2f} to {max(ages):.2f} s")
    assert min(ages) >= OPEN_TIMEOUT


@pytest.mark.deadline(120)
def test_slowloris() -> None:
    with (
        running(open_timeout=OPEN_TIMEOUT) as process,
        attacked("slowloris", process, MANY, 16 * KIB, factors=IN_TURN) as attack,
    ):
        check_hung_up(attack)


@pytest.mark.deadline(120)
def test_stalled_tls_handshakes() -> None:
    # One takes 56 KiB. All have to go at the same time and come back at once, before what the
    # others held is free.
    with (
        running(tls=True, open_timeout=OPEN_TIMEOUT) as process,
        attacked("stalled_tls", process, MANY, 96 * KIB, factors=IN_TURN) as attack,
    ):
        check_hung_up(attack)


@pytest.mark.deadline(120)
def test_peers_that_never_read() -> None:
    # What may be queued, the message that exceeds it, and the connection.
    with (
        running(write_limit=64 * KIB) as process,
        attacked("deaf", process, MANY, (64 + 16 + 32) * KIB),
    ):
        pass


@pytest.mark.deadline(120)
def test_empty_fragments() -> None:
    # A fragment, even an empty one, is an object in a list.
    with (
        running(max_fragments=4096) as process,
        attacked("fragments", process, 1, 4096 * 256 + 32 * KIB),
    ):
        pass


@pytest.mark.deadline(120)
def test_no_descriptors_left() -> None:
    limit, sign = 60, "cannot accept connections for now"
    with running(descriptors=limit) as process:
        # Who is connected is served on, and who waits gets a turn when others have left.
        with attacked("idle", process, 2 * limit, 32 * KIB, factors=WITHOUT_OPENINGS, sign=sign):
            pass
        with open_and_echo(process):
            pass
        # Not a line for each that had to wait.
        assert process.log.count(sign) == 1


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
