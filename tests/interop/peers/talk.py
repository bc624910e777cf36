"""How a peer that is a process of its own talks with the tests: a line of JSON for each thing.

It is started with the paths of a certificate and of an authority, and prints the ports of its
servers, without and with TLS. Each line that it reads is a URI to connect to, and options. As
server and as client, it sends everything back; a text beginning with ``close`` has the code and
the reason to close with, and ``fragments`` is answered in three fragments, where the library can
do that. When it has connected it prints the path of the URI; when a connection is closed, its
path and the code and the reason that it received.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

__all__ = ["FRAGMENTS", "Settings", "close_arguments", "commands", "say", "settings"]

FRAGMENTS = ["one ", "two ", "thrée"]

_lock = threading.Lock()


class Settings(NamedTuple):
    """TLS of the peer's servers, and of its clients; and where the certificate is."""

    server: ssl.SSLContext
    client: ssl.SSLContext
    certificate: str


def settings() -> Settings:
    """Read the command line."""
    certificate, authority = sys.argv[1:]
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate)
    return Settings(server, ssl.create_default_context(cafile=authority), certificate)


def say(thing: Any) -> None:
    """Print a line."""
    with _lock:
        print(json.dumps(thing), flush=True)


def close_arguments(message: Any) -> tuple[int, str] | None:
    """Return the code and the reason if a message asks to close."""
    if not isinstance(message, str) or not message.startswith("close "):
        return None
    _, code, reason = message.split(" ", 2)
    return int(code), reason


def commands() -> Any:
    """Yield commands, which are URIs with options, until there are no more."""
    for line in sys.stdin:
        yield json.loads(line)


async def run_commands(connect: Callable[[str, dict[str, Any]], Awaitable[None]]) -> None:
    """Connect whenever it is asked for, until there are no more commands."""
    loop, tasks = asyncio.get_running_loop(), set()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        tasks.add(asyncio.create_task(connect(*json.loads(line))))
