"""Compare echo servers: CPU time of the server process per message, and throughput.

``python -m tests.bench [--rounds N]``. The servers take turns, so that a machine whose
speed drifts is as fast for one as for the other; medians are printed. Server and load run
on processors of their own where there are two.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
from pathlib import Path

from tests.bench.load import Load, run

SERVERS = {"geventws": "geventws_echo", "websockets (asyncio)": "websockets_echo"}
QUESTIONS = {
    "echo 32 B, 50 connections, one message in flight each": Load(50, 1, 32, 50_000),
    "echo 32 B, 10 connections, 16 messages in flight each": Load(10, 16, 32, 100_000),
}


def pin(processor: int) -> None:
    """Run this process on one processor, if there are two."""
    if len(os.sched_getaffinity(0)) > 1:
        os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[processor]})


def start(module: str) -> tuple[subprocess.Popen[str], int]:
    """Start a server; return its process and port."""
    process = subprocess.Popen(
        [sys.executable, "-m", f"tests.bench.servers.{module}"],
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: pin(0),
    )
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used, user and system, to the nanosecond."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


def measure(load: Load, rounds: int) -> dict[str, tuple[float, float]]:
    """Return the medians of microseconds of CPU per message, and of messages per second."""
    servers = {name: start(module) for name, module in SERVERS.items()}
    results: dict[str, list[tuple[float, float]]] = {name: [] for name in servers}
    try:
        for _ in range(rounds):
            for name, (process, port) in servers.items():
                before = cpu_seconds(process.pid)
                throughput = run(port, load)
                used = cpu_seconds(process.pid) - before
                results[name].append((used / load.total * 1e6, throughput))
    finally:
        for process, _ in servers.values():
            process.send_signal(signal.SIGTERM)
            process.wait()
    return {
        name: (statistics.median(r[0] for r in rows), statistics.median(r[1] for r in rows))
        for name, rows in results.items()
    }


def main() -> None:
    """Print a table for each question."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each server (default 7)")
    rounds = parser.parse_args().rounds
    pin(1)
    for question, load in QUESTIONS.items():
        print(f"\n{question}; medians of {rounds} rounds")
        print(f"{'':24}{'CPU µs/message':>16}{'messages/s':>14}{'CPU ratio':>12}")
        rows = measure(load, rounds)
        ours = rows["geventws"][0]
        for name, (cpu, throughput) in rows.items():
            print(f"{name:24}{cpu:16.2f}{throughput:14,.0f}{ours / cpu:12.2f}")


if __name__ == "__main__":
    main()
