"""Whom the benchmark compares, under the names that its tables use."""

from __future__ import annotations

import os
import pathlib
import sys
from typing import NamedTuple

import geventws

__all__ = [
    "AIOHTTP",
    "ASYNC_PEERS",
    "FLOOR",
    "GEVENT",
    "GEVENTWS",
    "GEVENT_WEBSOCKET",
    "MOUNTED",
    "PICOWS",
    "PLAIN",
    "SIMPLE_WEBSOCKET",
    "WEBSOCKETS",
    "WEBSOCKET_CLIENT",
    "WSGI_PEERS",
    "Candidate",
    "candidate",
    "is_compiled",
]

FLOOR = "C floor"
GEVENTWS = "geventws"
PLAIN = "geventws, plain Python"
MOUNTED = "geventws on gevent.pywsgi"
PICOWS = "picows on uvloop"
WEBSOCKETS = "websockets on asyncio"
AIOHTTP = "aiohttp on asyncio"
GEVENT = "gevent, no library"
GEVENT_WEBSOCKET = "gevent-websocket"
SIMPLE_WEBSOCKET = "simple-websocket"
WEBSOCKET_CLIENT = "websocket-client"

ASYNC_PEERS = [PICOWS, WEBSOCKETS, AIOHTTP]
# These run on gevent.pywsgi.
WSGI_PEERS = [GEVENT_WEBSOCKET, SIMPLE_WEBSOCKET]

# How the files of their servers and clients begin.
STEMS = {
    GEVENTWS: "geventws",
    PLAIN: "geventws",
    MOUNTED: "geventws_pywsgi",
    PICOWS: "picows",
    WEBSOCKETS: "websockets",
    AIOHTTP: "aiohttp",
    GEVENT: "gevent",
    GEVENT_WEBSOCKET: "gevent_websocket",
    SIMPLE_WEBSOCKET: "simple_websocket",
    WEBSOCKET_CLIENT: "websocket_client",
}

PURE_PYTHON = "GEVENTWS_PURE_PYTHON"


class Candidate(NamedTuple):
    """How to start what is measured."""

    command: list[str]
    environment: dict[str, str]


def candidate(name: str, role: str, *arguments: str, programs: pathlib.Path) -> Candidate:
    """Say how to start one.

    Args:
        name: one of the names above.
        role: "echo", "broadcast" or "client".
        arguments: for the script; the floor takes none.
        programs: folder of the compiled C programs.
    """
    environment = {key: value for key, value in os.environ.items() if key != PURE_PYTHON}
    if name == PLAIN:
        environment[PURE_PYTHON] = "1"
    if name == FLOOR:
        return Candidate([str(programs / "floor")], environment)
    folder = "clients" if role == "client" else "servers"
    module = f"tests.bench.{folder}.{STEMS[name]}_{role}"
    return Candidate([sys.executable, "-m", module, *arguments], environment)


def is_compiled() -> bool:
    """Tell whether geventws has compiled modules here, without which its two rows are one."""
    return any(pathlib.Path(geventws.__file__).parent.rglob("*.so"))
