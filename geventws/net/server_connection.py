"""The server's end of a connection, and its opening handshake (RFC 6455, section 4.2)."""

from __future__ import annotations

import contextlib
import enum
import logging
from http import HTTPStatus
from typing import Any

import gevent

from geventws.core.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage
from geventws.core.frames import CloseCode
from geventws.core.http11 import Request, RequestReader, Response
from geventws.core.server_handshake import Accepted, log_label, plain_response
from geventws.core.states import State
from geventws.net.capacity import RETRY_AFTER
from geventws.net.opening import OpeningConnection, http_date
from geventws.net.server_opening import Handler, ServerOpening

__all__ = ["CRASHES", "Phase", "ServerConnection", "ServerShutdown"]

# What counts as a crash of the user's code. A timeout that nobody caught is one, and so is
# `sys.exit()`: it must not end the server. A kill is not, and Ctrl-C passes on.
CRASHES = (Exception, gevent.Timeout, SystemExit)

REJECTED = "connection rejected (%d %s)"


class ServerShutdown(Exception):
    """The server shuts down while an opening handshake is under way."""


class Phase(enum.Enum):
    """What a connection does before it is a WebSocket."""

    # It waits for the first request, or does the opening handshake.
    HANDSHAKE = enum.auto()
    # A WSGI application answers a request.
    EXCHANGE = enum.auto()
    # The request was answered, and another may come.
    IDLE = enum.auto()


class ServerConnection(OpeningConnection):
    """A WebSocket connection of a server; `geventws.serve` gives it to the handler."""

    __slots__ = ("_phase", "server", "username")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # The server that accepted the connection.
        self.server: Any = None
        # Who it is, for handlers, where the server asked.
        self.username: str | None = None
        self._phase = Phase.HANDSHAKE

    def respond(self, status: int | HTTPStatus, text: str) -> Response:
        """Make an HTTP response with a plain text, to be returned by ``process_request``.

        Args:
            status: HTTP status code.
            text: the body.
        """
        return plain_response(status, text, date=http_date())

    def _open(self, opening: ServerOpening) -> bool:
        """Do the opening handshake; return whether the connection is open."""
        early: bytes | None = b""
        while early is not None:
            received = self._receive_request(opening, early)
            if received is None:
                return False
            head, early = received
            request = None if opening.http is None else opening.http.request(head)
            if request is None:
                self._protocol.receive_data(early)
                return self._open_websocket(opening, head)
            early = self._answer_http(opening, request, head, early)
        return False

    def _answer_http(
        self, opening: ServerOpening, request: Request, head: bytes, early: bytes
    ) -> bytes | None:
        """Let the WSGI application answer a request.

        Args:
            opening: how the server does opening handshakes.
            request: the request.
            head: its head.
            early: what arrived behind the head.

        Returns:
            What arrived behind the request; None once the connection is closed.
        """
        assert opening.http is not None
        self._request = request
        self._phase = Phase.EXCHANGE
        self._note_request("<", request)
        self._emit()
        rest = opening.http.exchange(self, head + early)
        if rest is None:
            self._close_opening(linger=True)
            self._wait_ended()
            return None
        self._request = None
        self._phase = Phase.IDLE
        self._set_deadline(opening.http.idle_timeout)
        return rest

    def _open_websocket(self, opening: ServerOpening, head: bytes) -> bool:
        self._phase = Phase.HANDSHAKE
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

    def _turn_away(self, opening: ServerOpening) -> None:
        """Answer the request, whatever it is, that there is no room."""
        if self._receive_request(opening) is not None:
            response = opening.unavailable("Too many connections.\n")
            response.headers["Retry-After"] = str(RETRY_AFTER)
            self._reject(response)

    def _receive_request(
        self, opening: ServerOpening, early: bytes = b""
    ) -> tuple[bytes, bytes] | None:
        """Return a request's head, and what arrived behind it.

        None if there was none, and the connection is closed.

        Args:
            opening: how the server does opening handshakes.
            early: what has arrived already.
        """
        journal = self._protocol.journal
        reader = RequestReader()
        stage, failure = "TLS handshake", "TLS handshake failed"
        try:
            if self._phase is Phase.HANDSHAKE:
                self._shake_tls()
            stage, failure = "handshake request", "no valid HTTP request"
            while not early or (head := reader.receive_data(early)) is None:
                early = self._receive_opening()
            self._set_deadline(None)
            return head, reader.leftover
        except TimeoutError:
            journal.debug_line(f"- timed out waiting for {stage}")
        except ServerShutdown:
            # Before the end of the TLS handshake nothing can be said, and between two requests
            # the answer would be taken for that to the next.
            if stage == "handshake request" and self._phase is Phase.HANDSHAKE:
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
            if self._phase is Phase.HANDSHAKE:
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
            if opening.process_response is not None and self._protocol.state is not State.CLOSED:
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
        if self._protocol.state is State.CLOSED:
            # A hook has closed the connection.
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
            over = self._broken or self.state is not State.OPEN
            if isinstance(exc, ConnectionClosed) and over:
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
        if self._protocol.state is State.CLOSED:
            # A hook has closed the connection: there is nobody to answer.
            return
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
