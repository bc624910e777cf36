"""What is measured, and how: each function makes a measure, which scenarios choose from."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

from tests.bench.candidates import Candidate, candidate
from tests.bench.handshake import accept_client, listen
from tests.bench.processes import Failed, Process

__all__ = [
    "Bench",
    "Load",
    "Measure",
    "broadcast",
    "client",
    "echo",
    "flood",
    "idle",
    "opening",
]

# Values by the name of their metric.
Measured = dict[str, float]


class Load(NamedTuple):
    """What the load generator sends."""

    connections: int
    # Messages that a connection sends together; it waits for all of them to come back.
    burst: int = 1
    # Bytes of a message.
    size: int = 32
    text: bool = False
    # Ready-made frames to send instead, and the extensions that they need.
    frames: pathlib.Path | None = None
    extensions: str = ""

    def arguments(self) -> list[str]:
        """Return them as the load generator takes them."""
        numbers = {"-c": self.connections, "-k": self.burst, "-s": self.size}
        arguments = [word for key, value in numbers.items() for word in (key, str(value))]
        arguments += ["-t"] if self.text else []
        arguments += ["-f", str(self.frames)] if self.frames else []
        return arguments + (["-x", self.extensions] if self.extensions else [])


class Bench:
    """What measures share: the programs, the cores, and the servers that run already."""

    def __init__(
        self,
        programs: pathlib.Path,
        cores: tuple[int, int] | None,
        seconds: float,
        scale: float = 1,
    ):
        # Folder of the compiled C programs.
        self.programs = programs
        # Core of what is measured, and core of the load; None where there is only one.
        self.measured_core: int | None = cores[0] if cores else None
        self.load_core: int | None = cores[1] if cores else None
        # How long a load lasts.
        self.seconds = seconds
        # Part of the connections that are opened where there are thousands.
        self.scale = scale
        self._servers: dict[tuple[str, ...], tuple[Process, int]] = {}

    def server(self, name: str, role: str, *arguments: str) -> tuple[Process, int]:
        """Return a server and its port; start it if it does not run."""
        key = name, role, *arguments
        if key not in self._servers:
            process = self._start(name, role, *arguments)
            try:
                self._servers[key] = process, int(process.line())
            except BaseException:
                process.end()
                raise
        return self._servers[key]

    def end_servers(self) -> None:
        """End all servers."""
        while self._servers:
            self._servers.popitem()[1][0].end()

    @contextlib.contextmanager
    def load(self, port: int, load: Load) -> Iterator[Process]:
        """Run the load generator."""
        command = [str(self.programs / "load"), *load.arguments(), str(port)]
        process = Process(Candidate(command, {}), self.load_core)
        try:
            yield process
        finally:
            process.end()

    @contextlib.contextmanager
    def client(self, name: str, port: int) -> Iterator[Process]:
        """Run a client that is measured."""
        process = self._start(name, "client", str(port))
        try:
            yield process
        finally:
            process.end()

    def _start(self, name: str, role: str, *arguments: str) -> Process:
        return Process(
            candidate(name, role, *arguments, programs=self.programs), self.measured_core
        )


Measure = Callable[[Bench, str], Measured]


def _loaded(bench: Bench, server: tuple[Process, int], load: Load, command: str) -> Measured:
    """Load a server, without its opening and closing handshakes."""
    process, port = server
    with bench.load(port, load) as generator:
        opened = generator.report()
        if load.extensions and not opened["extensions"]:
            raise Failed("it did not accept the extension")
        server_before, load_before = process.cpu(), generator.cpu()
        report = generator.answer(f"{command} {bench.seconds}")
        server_used, load_used = process.cpu() - server_before, generator.cpu() - load_before
        generator.answer("close")
    messages, seconds = report["messages"], report["seconds"]
    return {
        "cpu": server_used / messages * 1e6,
        "rate": messages / seconds,
        "bytes": report["bytes"] / messages,
        "server": server_used / seconds * 100,
        "load": load_used / seconds * 100,
    }


def echo(load: Load, *arguments: str) -> Measure:
    """CPU and throughput of an echo server; the arguments are the server's."""

    def measure(bench: Bench, name: str) -> Measured:
        return _loaded(bench, bench.server(name, "echo", *arguments), load, "run")

    return measure


def broadcast(load: Load, *arguments: str) -> Measure:
    """CPU of a server that sends each message it gets to all of its connections."""

    def measure(bench: Bench, name: str) -> Measured:
        scaled = load._replace(connections=int(load.connections * bench.scale))
        return _loaded(bench, bench.server(name, "broadcast", *arguments), scaled, "broadcast")

    return measure


def idle(connections: int) -> Measure:
    """Resident memory of a fresh server for each connection that does nothing."""

    def measure(bench: Bench, name: str) -> Measured:
        count = int(connections * bench.scale)
        bench.end_servers()
        process, port = bench.server(name, "echo")
        before = process.memory()
        with bench.load(port, Load(count)) as generator:
            generator.report()
            after = process.memory()
            generator.answer("close")
        bench.end_servers()
        return {"memory": (after - before) / count, "total": after / 1024}

    return measure


def opening(connections: int) -> Measure:
    """CPU of opening handshakes, TCP's included; the connections stay open meanwhile."""

    def measure(bench: Bench, name: str) -> Measured:
        process, port = bench.server(name, "echo")
        before = process.cpu()
        with bench.load(port, Load(int(connections * bench.scale))) as generator:
            report = generator.report()
            used = process.cpu() - before
            load_used = generator.cpu()
            generator.answer("close")
        count, seconds = report["connections"], report["seconds"]
        return {
            "cpu": used / count * 1e6,
            "rate": count / seconds,
            "server": used / seconds * 100,
            "load": load_used / seconds * 100,
        }

    return measure


def flood(load: Load, interval: int) -> Measure:
    """Latency of connections that send every so many milliseconds, while another one floods."""

    def measure(bench: Bench, name: str) -> Measured:
        _, port = bench.server(name, "echo")
        scaled = load._replace(connections=int(load.connections * bench.scale))
        with bench.load(port, scaled) as generator:
            generator.report()
            calm = generator.answer(f"pace {bench.seconds * 2} {interval}")
            flooded = generator.answer(f"flood {bench.seconds * 2} {interval}")
            generator.answer("close")
        return {
            "slowdown": flooded["p99"] / calm["p99"],
            "calm": calm["p99"] / 1e3,
            "flooded": flooded["p99"] / 1e3,
            "rate": flooded["flooded"] / flooded["seconds"],
            "late": flooded["late"] / 1e3,
        }

    return measure


def client() -> Measure:
    """CPU of a client that receives a stream of text messages."""

    def measure(bench: Bench, name: str) -> Measured:
        with listen() as listener, bench.client(name, listener.getsockname()[1]) as process:
            process.line()
            with accept_client(listener) as sock:
                before = process.cpu()
                command = [str(bench.programs / "stream"), str(bench.seconds)]
                stream = Process(Candidate(command, {}), bench.load_core, stdin=sock.fileno())
            try:
                process.line()
                used = process.cpu() - before
                report = stream.report()
            finally:
                stream.end()
        messages, seconds = report["messages"], report["seconds"]
        return {
            "cpu": used / messages * 1e6,
            "rate": messages / seconds,
            "server": used / seconds * 100,
            "load": report["cpu"] / seconds * 100,
        }

    return measure
