"""The server's end of a connection, and its opening handshake (RFC 6455, section 4.2)."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple

import gevent

from geventws.core.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage
from geventws.core.frames import CloseCode
from geventws.core.http11 import SERVER, Request, RequestReader, Response
from geventws.core.server_handshake import Accepted, ServerHandshake, log_label, plain_response
from geventws.core.states import State
from geventws.net.opening import OpeningConnection, http_date

__all__ = ["CRASHES", "ServerConnection", "ServerOpening", "ServerShutdown"]

# What counts as a crash of the user's code. A timeout that nobody caught is one, and so is
# `sys.exit()`: it must not end the server. A kill is not, and Ctrl-C passes on.
CRASHES = (Exception, gevent.Timeout, SystemExit)

REJECTED = "connection rejected (%d %s)"

Handler = Callable[[Any], object]
SelectSubprotocol = Callable[[Any, Sequence[str]], str | None]
ProcessRequest = Callable[[Any, Request], Response | None]
ProcessResponse = Callable[[Any, Request, Response], Response | None]


class ServerOpening(NamedTuple):
    """How a server does opening handshakes; the functions get the connection first."""

    handshake: ServerHandshake
    select_subprotocol: SelectSubprotocol | None = None
    process_request: ProcessRequest | None = None
    process_response: ProcessResponse | None = None
    server_header: str | None = SERVER

    def accept(self, ws: ServerConnection, request: Request) -> Accepted:
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

    def unavailable(self) -> Response:
        """Make the response of a server that shuts down."""
        return plain_response(
            503, "Server is shutting down.\n", date=http_date(), server_header=self.server_header
        )


class ServerShutdown(Exception):
    """The server shuts down while an opening handshake is under way."""


class ServerConnection(OpeningConnection):
    """A WebSocket connection of a server; `geventws.serve` gives it to the handler."""

    __slots__ = ("server", "username")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # The server that accepted the connection.
        self.server: Any = None
        # Who it is, for handlers, where the server asked.
        self.username: str | None = None

    def respond(self, status: int | HTTPStatus, text: str) -> Response:
        """Make an HTTP response with a plain text, to be returned by ``process_request``.

        Args:
            status: HTTP status code.
            text: the body.
        """
        return plain_response(status, text, date=http_date())

    def _open(self, opening: ServerOpening) -> bool:
        """Do the opening handshake; return whether the connection is open."""
        head = self._receive_request(opening)
        if head is None:
            return False
        try:
            request = Request.parse(head)
        except InvalidMessage as exc:
            self._refuse(opening.refuse(exc), exc)
            return False
        # Kept raw unless a hook saw it, and may have changed it or kept it.
        hooked = opening.process_request or opening.process_response
        self._request = request if hooked else head
        self._note_request("<", request)
        self._emit()
        return self._answer(opening, request)

    def _receive_request(self, opening: ServerOpening) -> bytes | None:
        """Return the request's head; None if there was none, and the connection is closed."""
        journal = self._protocol.journal
        reader = RequestReader()
        stage, failure = "TLS handshake", "TLS handshake failed"
        try:
            self._shake_tls()
            stage, failure = "handshake request", "no valid HTTP request"
            while (head := reader.receive_data(self._receive_opening())) is None:
                pass
            self._set_deadline(None)
            self._protocol.receive_data(reader.leftover)
            return head
        except TimeoutError:
            journal.debug_line(f"- timed out waiting for {stage}")
        except ServerShutdown:
            # Before the end of the TLS handshake nothing can be said.
            if stage == "handshake request":
                # Without lingering, since browsers keep spare connections open; what lies
                # unread would make TCP reset the connection, and the response be lost.
                with contextlib.suppress(OSError):
                    self._transport.receive(self._state)
                self._send_response(opening.unavailable(), REJECTED, linger=False)
                return None
        except InvalidHandshake as exc:
            if reader.looks_like_http:
                self._refuse(opening.refuse(exc), exc)
                return None
            journal.debug_line(f"! {failure}", exc=exc)
        except EOFError:
            journal.debug_line(f"! {failure}", exc=reader.eof())
        except OSError as exc:
            journal.debug_line(f"! {failure}", exc=exc)
        self._close_opening(linger=False)
        self._wait_ended()
        return None

    def _answer(self, opening: ServerOpening, request: Request) -> bool:
        """Run the hooks and the checks, and send the response that comes out."""
        stage = "process_request"
        try:
            if opening.process_request is not None:
                response = opening.process_request(self, request)
                if response is not None:
                    _check_response(stage, response)
                    self._send_http_response(opening, response)
                    return False
            stage = "opening handshake"
            if self.server is not None and self.server.closing:
                self._reject(opening.unavailable())
                return False
            accepted = opening.accept(self, request)
            response = accepted.response
            stage = "process_response"
            if opening.process_response is not None:
                response = opening.process_response(self, request, response) or response
                _check_response(stage, response)
            data = response.serialize()
        except InvalidHandshake as exc:
            self._refuse(opening.refuse(exc), exc)
            return False
        except CRASHES as exc:
            self._protocol.journal.line(logging.ERROR, f"{stage} failed", exc=exc)
            self._reject(opening.refuse(RuntimeError(f"{stage} failed")))
            return False
        if response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            self._reject(response)
            return False
        self._accept(response, data, accepted)
        return self._protocol.state is State.OPEN and not self._broken

    def _accept(self, response: Response, data: bytes, accepted: Accepted) -> None:
        self._response = data
        self._write_head(data)
        self._note_response(">", response)
        self._protocol.open(accepted.extensions, accepted.subprotocol)
        self._protocol.journal.line(logging.INFO, "connection open")
        self._start()
        self._emit()

    def _run(self, handler: Handler) -> None:
        """Run the handler, then close the connection as its end demands.

        A kill and Ctrl-C pass on: whoever runs this greenlet lets the hub do the closing.
        """
        try:
            handler(self)
        except CRASHES as exc:
            if isinstance(exc, ConnectionClosed) and self.state is not State.OPEN:
                # The connection's own end comes first in the log.
                self.close()
                self._log_crash(exc)
            else:
                self._log_crash(exc)
                self.close(CloseCode.INTERNAL_ERROR)
        else:
            self.close()

    def _log_crash(self, exc: BaseException) -> None:
        self._protocol.journal.line(logging.ERROR, "connection handler failed", exc=exc)
        self._emit()

    # Refusing.

    def _refuse(self, response: Response, exc: Exception) -> None:
        """Send the response that refuses a request, and note why."""
        self._protocol.journal.debug_line(f"! {log_label(exc)}", exc=exc)
        self._reject(response)

    def _reject(self, response: Response) -> None:
        self._send_response(response, REJECTED)

    def _send_http_response(self, opening: ServerOpening, response: Response) -> None:
        if opening.server_header is not None:
            response.headers.setdefault("Server", opening.server_header)
        self._send_response(response, "HTTP response sent (%d %s)")

    def _send_response(self, response: Response, note: str, linger: bool = True) -> None:
        """Send a response that is not 101, then close TCP."""
        self._response = response
        self._write_head(response.serialize())
        self._note_response(">", response)
        status = response.status_code, response.reason_phrase
        self._protocol.journal.line(logging.INFO, note, *status)
        self._close_opening(linger)
        self._wait_ended()

    def _log_end(self) -> None:
        self._protocol.journal.line(logging.INFO, "connection closed")
        self._emit()


def _check_response(hook: str, response: object) -> None:
    if not isinstance(response, Response):
        kind = type(response).__name__
        raise TypeError(f"{hook} must return a Response or None, not an object of type {kind}")
