"""Mounted connections: a server's end on a socket that a WSGI server accepted and owns."""

from __future__ import annotations

import logging
import sys
import weakref
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

import gevent

from geventws.core.environ import parse_environ, peer_address
from geventws.core.extensions import Extension
from geventws.core.frames import CloseCode
from geventws.core.http11 import Request, Response
from geventws.core.states import State
from geventws.net.borrowed import RETURNED, BorrowedTransport
from geventws.net.hubs import HubState, get_hub_state
from geventws.net.server_connection import REJECTED, ServerConnection
from geventws.net.stream import WRITE
from geventws.net.transport import set_nodelay

__all__ = ["MountedConnection", "end_forgotten", "mounted_connections"]


class MountedConnection(ServerConnection):
    """A connection that lives inside a request of a WSGI server, and ends with it.

    `geventws.wsgi.accept` makes them. When the WSGI application returns, the server closes
    the socket: a connection that is still open then is lost, whoever uses it.
    """

    __slots__ = ("_keeper", "_open_now", "_write_event", "environ")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # The WSGI environ of the request.
        self.environ: Mapping[str, Any] = {}
        # The greenlet that runs the request, or a weak reference to one that is not gevent's.
        # None where the connection is sure to end before it, and in a thread's main greenlet,
        # whose end cannot be watched.
        self._keeper: Any = None
        # Does the opening handshake, for a connection that opens when it is used first.
        self._open_now: Callable[[MountedConnection], None] | None = None
        # What the write watcher watches for.
        self._write_event = WRITE

    # Opening.

    def _open_mounted(
        self,
        response: Response,
        extensions: Sequence[Extension],
        subprotocol: str | None,
        early: bytes,
    ) -> None:
        """Begin to exchange frames: the server has sent the response.

        Args:
            response: what was given to the server to send.
            extensions: those that were negotiated.
            subprotocol: the one that was negotiated, if any.
            early: what the server read behind the request's head.
        """
        transport = self._transport
        assert isinstance(transport, BorrowedTransport)
        transport.begin()
        set_nodelay(transport.sock)
        if not transport.scoped:
            self._watch_keeper()
        self._response = response.serialize()
        self._note_response(">", response)
        self._protocol.open(extensions, subprotocol)
        self._protocol.journal.line(logging.INFO, "connection open")
        if early:
            self._protocol.receive_data(early)
        self._start()
        if transport.again:
            self._read_again()
        self._emit()

    def _reject_mounted(self, response: Response) -> None:
        """Note that the server sends a response which opens no WebSocket, and let go."""
        self._note_response(">", response)
        status = response.status_code, response.reason_phrase
        self._protocol.journal.line(logging.INFO, REJECTED, *status)
        self._discard()

    def _discard(self) -> None:
        """Let go of a connection that was never open; the socket stays the server's."""
        self._close_transport(abandon=True)
        self._protocol.end()
        self._ended = True
        self._emit()
        # Nobody closes what was never open. A hub that never ran must not end with its thread:
        # when another thread collects it just then, greenlet 3.5 frees its parent too early.
        self._state.release()

    # Ending.

    def _watch_keeper(self) -> None:
        """End together with the greenlet that runs the request, if not before."""
        keeper: Any = gevent.getcurrent()
        if isinstance(keeper, gevent.Greenlet):
            self._keeper = keeper
            keeper.rawlink(self._keeper_ended)
        elif keeper is not self._state.hub.parent:
            self._keeper = weakref.ref(keeper, self._keeper_ended)

    def _keeper_ended(self, _: object) -> None:
        """The request is over, and the socket was closed under us."""
        try:
            self._forget()
        except BaseException:
            # Raised in the hub, or wherever the garbage collector ran.
            self._state.hub.handle_error(self, *sys.exc_info())

    def _forget(self, cause: Exception | None = None) -> None:
        """End a connection that the application left open when it returned, or another dead one.

        Args:
            cause: why it is dead.
        """
        if self._cause is None:
            self._cause = cause or RuntimeError(RETURNED)
        self._lost()

    def _leave(self, code: int = CloseCode.GOING_AWAY) -> None:
        """End TCP now, as the request ends; with a close frame, unless one was sent."""
        if not self._ended:
            self._begin_close(code)
            self._lost()
        self._release_hub()

    def _return(self) -> None:
        """End what the application left open: it has returned, in a thread's main greenlet."""
        if self.state is not State.CLOSED:
            self._forget()
        self._release_hub()

    def _release_hub(self) -> None:
        if self._state.created_hub:
            # Nothing runs in this thread's hub once the request is over.
            self._wait_ended()
            self._state.release()

    @property
    def _knows_its_end(self) -> bool:
        """Whether it learns of the end of the request, or is sure to end before."""
        transport = self._transport
        assert isinstance(transport, BorrowedTransport)
        return transport.scoped or self._keeper is not None

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close with 1000, after an exception with 1011; then TCP has ended."""
        try:
            super().__exit__(exc_type, exc, traceback)
        finally:
            self._leave()

    def _close_transport(self, abandon: bool = False) -> None:
        keeper, self._keeper = self._keeper, None
        if isinstance(keeper, gevent.Greenlet):
            keeper.unlink(self._keeper_ended)
        super()._close_transport(abandon)

    # TLS by the server's own TLS object: reads may have to write, and writes to read.

    def _watch_writes(self) -> None:
        transport = self._transport
        assert isinstance(transport, BorrowedTransport)
        event = WRITE if transport.unsent else transport.write_event
        if event != self._write_event:
            self._write_event = event
            if self._write_watcher is not None:
                self._write_watcher.stop()
                self._write_watcher.close()
            self._write_watcher = self._state.loop.io(transport.fileno(), event)
            self._writing = False
        super()._watch_writes()

    def _on_writable(self) -> None:
        blocked = self._transport.unsent
        super()._on_writable()
        if blocked:
            self._in_hub(self._read_unless_closed)

    # What is known of the connection.

    @property
    def request(self) -> Request | None:
        """The opening handshake's request, as the WSGI environ tells it."""
        if not isinstance(self._request, Request):
            self._request = parse_environ(self.environ)
        return self._request

    @property
    def remote_address(self) -> Any:
        """The client's address as the WSGI environ tells it; ``""`` for a Unix socket."""
        return peer_address(self.environ)


def mounted_connections() -> list[MountedConnection]:
    """Return the open mounted connections of this thread's hub."""
    streams = get_hub_state().streams
    return [ws for ws in streams if isinstance(ws, MountedConnection) and ws.state is State.OPEN]


def end_forgotten(state: HubState) -> None:
    """End connections that earlier requests of this thread left open.

    Its main greenlet serves one request after another, and nothing tells when one ends.
    """
    if gevent.getcurrent() is state.hub.parent:
        for ws in list(state.streams):
            if isinstance(ws, MountedConnection) and ws._keeper is None:
                ws._forget()
