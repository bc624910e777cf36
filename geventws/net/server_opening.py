"""How a server does opening handshakes: its settings, its hooks, and what it answers."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from geventws.core.http11 import Request, Response
from geventws.core.server_handshake import Accepted, ServerHandshake, plain_response
from geventws.net.opening import http_date
from geventws.net.products import SERVER

__all__ = [
    "HTTPGateway",
    "Handler",
    "ProcessRequest",
    "ProcessResponse",
    "SelectSubprotocol",
    "ServerOpening",
]

Handler = Callable[[Any], object]
SelectSubprotocol = Callable[[Any, Sequence[str]], str | None]
ProcessRequest = Callable[[Any, Request], Response | None]
ProcessResponse = Callable[[Any, Request, Response], Response | None]


class HTTPGateway(Protocol):
    """What answers requests that ask for no WebSocket; see `geventws.net.http`."""

    # Seconds to wait for another request.
    idle_timeout: float | None

    def request(self, head: bytes) -> Request | None:
        """Return the request of a head, if it is for this to answer."""

    def exchange(self, ws: Any, early: bytes) -> bytes | None:
        """Answer a request, which begins with what arrived early.

        Returns:
            What arrived behind the request; None if no other request may follow.
        """


class ServerOpening(NamedTuple):
    """How a server does opening handshakes; the functions get the connection first."""

    handshake: ServerHandshake
    select_subprotocol: SelectSubprotocol | None = None
    process_request: ProcessRequest | None = None
    process_response: ProcessResponse | None = None
    server_header: str | None = SERVER
    # Answers requests that ask for no WebSocket, if anything does.
    http: HTTPGateway | None = None

    def accept(self, ws: Any, request: Request) -> Accepted:
        """Check a request and make the response that accepts it."""
        select = self.select_subprotocol
        return self.handshake.accept(
            request,
            date=http_date(),
            server_header=self.server_header,
            select_subprotocol=None if select is None else functools.partial(select, ws),
        )

    def refuse(self, exc: Exception) -> Response:
        """Make the response that refuses a request because of an exception."""
        return self.handshake.refuse(exc, date=http_date(), server_header=self.server_header)

    def unavailable(self, text: str = "Server is shutting down.\n") -> Response:
        """Make the response of a server that shuts down, or has no room."""
        return plain_response(503, text, date=http_date(), server_header=self.server_header)
