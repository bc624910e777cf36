"""What is tried with each peer that is a process of its own, both ways where it has both.

A test module names a peer by a subclass of `Suite`; conftest.py makes parameters of what it says.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import signal
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import gevent
import pytest
from gevent import subprocess
from gevent.event import Event
from gevent.queue import Queue

import geventws
from geventws.core.deflate_negotiation import (
    ClientPerMessageDeflateFactory,
    ServerPerMessageDeflateFactory,
)
from tests.interop.foreign import MESSAGES, TIMEOUT
from tests.modes import LONG

__all__ = [
    "CLOSINGS",
    "COMBINATIONS",
    "Certificates",
    "Fragments",
    "Peer",
    "Suite",
    "answer",
    "check_echo",
    "check_they_close",
    "over_tcp_and_tls",
    "parametrize",
    "serving_one",
]

FRAGMENTED: list[list[Any]] = [["Grüße, ", "世界", " 🌍"], [b"a" * 70_000, b"", b"b"]]

CLOSINGS = [(1000, ""), (1001, "bye"), (3000, "ü" * 61), (4999, "private")]

# Larger than any window, and alike at a small and at a large distance: with a window that is too
# large for what was agreed, zlib compresses it to what cannot be read.
TEXT = " ".join(str(number**3) for number in range(3_500))

# None is the largest. zlib cannot compress with 8 bits.
WINDOWS = [None, *range(9, 16)]

# All four parameters of compression: each window of each side, with histories and without;
# `make faults` has each pair of windows.
COMBINATIONS: list[dict[str, Any]] = [
    {
        "server_no_context_takeover": server_alone,
        "client_no_context_takeover": client_alone,
        "server_max_window_bits": server_bits,
        "client_max_window_bits": client_bits,
    }
    for shift, (server_alone, client_alone) in enumerate(itertools.product([False, True], repeat=2))
    for client_bits, server_bits in itertools.product(WINDOWS, repeat=2)
    if LONG or WINDOWS.index(server_bits) == (WINDOWS.index(client_bits) + shift) % len(WINDOWS)
]

# For tests that take a link; conftest.py has all of them.
over_tcp_and_tls = pytest.mark.parametrize("link", ["tcp", "tls"], indirect=True)

# A TLS context of a server and one of a client, and the files of a certificate and its authority.
Certificates = tuple[Any, Any, str, str]


def check_echo(ws: Any, messages: list[Any]) -> None:
    """Send messages, in fragments if they are lists; they must come back."""
    for message in messages:
        whole = message[0][:0].join(message) if isinstance(message, list) else message
        sending = gevent.spawn(ws.send, message)
        assert ws.recv(timeout=TIMEOUT) == whole
        sending.get(timeout=TIMEOUT)


def answer(**parameters: Any) -> set[str]:
    """Return the parameters of an answer as the header has them, but for those that are not set."""
    named = {name: value for name, value in parameters.items() if value}
    return {name if value is True else f"{name}={value}" for name, value in named.items()}


class Peer:
    """A peer that is a process of its own; see peers/talk.py."""

    def __init__(self, command: list[str], certificates: Certificates) -> None:
        self._contexts = certificates[:2]
        self._process = subprocess.Popen(
            [*command, *certificates[2:]], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        plain, secure = self._line()
        self._ports = {"ws": plain, "wss": secure}
        # Connections so far: each has a number, which is the path.
        self._count = 0

    def _line(self) -> Any:
        """Return what the peer says next."""
        assert self._process.stdout is not None
        with gevent.Timeout(TIMEOUT, AssertionError("the peer says nothing")):
            return json.loads(self._process.stdout.readline())

    def received(self, ws: Any) -> list[Any]:
        """Return the close code and reason that the peer has received on a connection."""
        return self._line_about(ws)

    def _line_about(self, ws: Any) -> list[Any]:
        """Return the next line that begins with the path of a connection, without that."""
        path = ws.path.partition("?")[0]
        while (line := self._line())[0] != path:
            pass
        return list(line[1:])

    @contextlib.contextmanager
    def open(
        self, role: str, scheme: str = "ws", ours: Any = None, theirs: Any = None
    ) -> Iterator[Any]:
        """Open a connection, and yield our end.

        Args:
            role: what geventws is, "server" or "client".
            scheme: "wss" for TLS.
            ours: options of our end.
            theirs: options of the foreign end.
        """
        self._count += 1
        server_tls, client_tls = self._contexts if scheme == "wss" else (None, None)
        ours = {"max_size": None, "close_timeout": TIMEOUT / 2, **(ours or {})}
        if role == "client":
            query = quote(json.dumps(theirs)) if theirs else ""
            uri = f"{scheme}://127.0.0.1:{self._ports[scheme]}/{self._count}?{query}"
            with geventws.connect(uri, ssl=client_tls, **ours) as ws:
                yield ws
            return
        with serving_one(ssl=server_tls, **ours) as (server, accepted):
            self._command([f"{scheme}://127.0.0.1:{server.address[1]}/{self._count}", theirs or {}])
            ws = accepted.get(timeout=TIMEOUT)
            # simple-websocket loses what comes with the answer to its request.
            assert self._line_about(ws) == []
            yield ws

    def _command(self, command: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        self._process.stdin.flush()

    def end(self) -> None:
        """End the process."""
        self._process.send_signal(signal.SIGKILL)
        self._process.communicate()


@contextlib.contextmanager
def serving_one(**options: Any) -> Iterator[tuple[Any, Any]]:
    """A server of ours, and the queue of its connections, which stay open until the end."""
    accepted: Queue[Any] = Queue()
    done = Event()

    def handler(ws: Any) -> None:
        accepted.put(ws)
        done.wait()

    with geventws.serve(handler, "127.0.0.1", 0, **options) as server:
        try:
            yield server, accepted
        finally:
            done.set()


def check_they_close(ws: Any, code: int, reason: str) -> None:
    """Ask the peer to close, and check that it does, after its last message."""
    ws.send("last words")
    ws.send(f"close {code} {reason}")
    assert ws.recv(timeout=TIMEOUT) == "last words"
    with pytest.raises(geventws.ConnectionClosed) as caught:
        ws.recv(timeout=TIMEOUT)
    assert caught.value.rcvd == (code, reason)


class Suite:
    """The tests; a subclass says what the peer is and can do."""

    # The command that runs the peer.
    command: list[str]
    # What geventws can be with it.
    roles = ["server", "client"]
    # Compression: what geventws is, the settings of our factory, the options of theirs, and the
    # parameters of the answer.
    negotiations: list[tuple[str, dict[str, Any], dict[str, Any], set[str]]] = []
    # What comes of our close frame, by what geventws is, where that is not an answer which has the
    # same code and reason, as the RFC suggests.
    answers: dict[str, tuple[int, str]] = {}
    # What geventws is, and the scheme, where the peer breaks its own connections now and then: one
    # connection has to do, for messages.
    fragile: set[tuple[str, str]] = set()
    # Whether it waits for our answer to its close frame.
    hears_answers = True

    def test_messages(self, peer: Peer, role: str, scheme: str) -> None:
        with peer.open(role, scheme) as ws:
            check_echo(ws, MESSAGES)

    def test_our_fragments(self, peer: Peer, role: str, scheme: str) -> None:
        with peer.open(role, scheme) as ws:
            check_echo(ws, FRAGMENTED)

    def test_pings(self, peer: Peer, role: str, scheme: str) -> None:
        with peer.open(role, scheme) as ws:
            assert ws.ping().wait(TIMEOUT)

    def test_we_close(self, peer: Peer, role: str, scheme: str) -> None:
        for code, reason in CLOSINGS:
            with peer.open(role, scheme) as ws:
                ws.close(code, reason)
                assert peer.received(ws) == [code, reason]
                assert (ws.close_code, ws.close_reason) == self.answers.get(role, (code, reason))

    def test_they_close(self, peer: Peer, role: str, scheme: str) -> None:
        for code, reason in CLOSINGS:
            with peer.open(role, scheme) as ws:
                check_they_close(ws, code, reason)
                if self.hears_answers:
                    assert peer.received(ws)[0] == code

    @pytest.mark.deadline(60)
    def test_compression(self, peer: Peer, negotiating: str, scheme: str) -> None:
        """What both support is agreed upon and obeyed; a few times over TLS."""
        chosen = [one for one in self.negotiations if one[0] == negotiating]
        for role, settings, theirs, expected in chosen[-2:] if scheme == "wss" else chosen:
            make = ServerPerMessageDeflateFactory
            if role == "client":
                make = ClientPerMessageDeflateFactory
            ours = {"compression": None, "extensions": [make(**settings)]}
            with peer.open(role, scheme, ours, theirs) as ws:
                name, *answer = ws.response.headers["Sec-WebSocket-Extensions"].split("; ")
                assert name == "permessage-deflate"
                assert set(answer) == expected, (settings, theirs)
                check_echo(ws, [TEXT, "", TEXT[-300:]])


class Fragments:
    """For a peer that can send fragments."""

    def test_their_fragments(self, peer: Peer, role: str, scheme: str) -> None:
        with peer.open(role, scheme) as ws:
            ws.send("fragments")
            fragments = [fragment for fragment in ws.recv_streaming() if fragment]
            assert fragments == ["one ", "two ", "thrée"]


def parametrize(metafunc: pytest.Metafunc) -> None:
    """Make parameters of what a subclass says."""
    suite = metafunc.cls
    if suite is None or not issubclass(suite, Suite):
        return
    always = metafunc.function.__name__ == "test_messages"
    negotiating = sorted({one[0] for one in suite.negotiations})
    for name, roles in (("role", suite.roles), ("negotiating", negotiating)):
        if name in metafunc.fixturenames:
            pairs = itertools.product(roles, ["ws", "wss"])
            metafunc.parametrize(
                (name, "scheme"),
                [pair for pair in pairs if always or pair not in suite.fragile],
            )
