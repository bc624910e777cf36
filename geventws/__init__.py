"""WebSockets for gevent: ``serve()``, ``connect()``, and what goes with them."""

from __future__ import annotations

from geventws import build as _build  # noqa: F401
from geventws.core import exceptions as _exceptions
from geventws.core.exceptions import *  # noqa: F403
from geventws.core.frames import Close, CloseCode, Frame, Opcode
from geventws.core.headers import Headers, MultipleValuesError
from geventws.core.http11 import Request, Response
from geventws.core.states import Side, State
from geventws.net.activation import systemd_sockets
from geventws.net.authentication import basic_auth
from geventws.net.background import BackgroundConnection
from geventws.net.broadcast import broadcast
from geventws.net.client import connect, unix_connect
from geventws.net.client_connection import ClientConnection
from geventws.net.connection import Connection
from geventws.net.reconnect import backoff, process_exception, reconnect, unix_reconnect
from geventws.net.router import route, unix_route
from geventws.net.serve import serve, unix_serve
from geventws.net.server import Server
from geventws.net.server_connection import ServerConnection
from geventws.version import version as __version__

__all__ = [
    "BackgroundConnection",
    "ClientConnection",
    "Close",
    "CloseCode",
    "Connection",
    "Frame",
    "Headers",
    "MultipleValuesError",
    "Opcode",
    "Request",
    "Response",
    "Server",
    "ServerConnection",
    "Side",
    "State",
    "__version__",
    "backoff",
    "basic_auth",
    "broadcast",
    "connect",
    "process_exception",
    "reconnect",
    "route",
    "serve",
    "systemd_sockets",
    "unix_connect",
    "unix_reconnect",
    "unix_route",
    "unix_serve",
]
__all__ += _exceptions.__all__
