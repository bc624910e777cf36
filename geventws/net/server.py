"""Server: accepts connections and runs a handler for each."""

from __future__ import annotations

import _socket
import functools
import logging
import os
import socket
import ssl as ssl_module
from collections.abc import Callable, Iterable
from typing import Any, Self

import gevent
from gevent.event import Event

from geventws.core.frames import Close, CloseCode
from geventws.core.journal import Line
from geventws.core.states import Side
from geventws.net.acceptor import Acceptor, remove_socket
from geventws.net.activation import check_listening
from geventws.net.calls import HubGone, call
from geventws.net.capacity import Capacity
from geventws.net.hubs import HubState, get_hub_state
from geventws.net.logs import LoggerLike, log_safely
from geventws.net.options import ConnectionOptions
from geventws.net.roster import Roster
from geventws.net.server_connection import CRASHES, ServerConnection, ServerShutdown
from geventws.net.server_opening import Handler, ServerOpening
from geventws.net.signals import free_signals, on_signals
from geventws.net.syscalls import DirectTransport
from geventws.net.threads import get_ident
from geventws.net.tls import TLSTransport
from geventws.net.transport import Transport, set_nodelay

__all__ = ["Server"]


class Server:
    """Accepts connections and runs a handler for each in a greenlet of its own.

    Made by `serve` and `unix_serve`. As a context manager it accepts at once and shuts down
    at the end of the block.
    """

    def __init__(
        self,
        sock: socket.socket,
        handler: Handler,
        *,
        opening: ServerOpening,
        options: ConnectionOptions,
        ssl: ssl_module.SSLContext | None = None,
        open_timeout: float | None = 10,
        capacity: Capacity | None = None,
        logger: LoggerLike | None = None,
        create_connection: Callable[..., ServerConnection] | None = None,
    ) -> None:
        self.socket = sock
        # Where it listens: (host, port), for IPv6 four items, for Unix sockets a path.
        self.address: Any = sock.getsockname()
        # The path of a Unix socket that disappears with the server, in the process that made it.
        self.unix_path: str | bytes | None = None
        self._process = os.getpid()
        self.logger: LoggerLike = logger or logging.getLogger("geventws.server")
        self.handler = handler
        # Whether `shutdown` was called.
        self.closing = False
        self._opening = opening
        self._options = options
        self._ssl = ssl
        self._open_timeout = open_timeout
        self._create_connection = create_connection or ServerConnection
        self._state: HubState | None = None
        self._acceptor: Acceptor | None = None
        self._roster = Roster()
        self._capacity = capacity or Capacity(None)
        self._stopped = Event()

    # Life.

    def start(self) -> None:
        """Begin to accept connections; they are served whenever this thread waits in gevent.

        Raises:
            RuntimeError: the server was shut down.
            ValueError: its socket does not listen.
            ConcurrencyError: it was started in another thread.
        """
        if self._state is not None:
            self._state.require_thread("server", "there, only shutdown() may be called")
        if self.closing:
            raise RuntimeError("the server was shut down; make another with serve()")
        if self._acceptor is None:
            check_listening(self.socket, "sock")
            self._state = get_hub_state()
            self._acceptor = Acceptor(
                self.socket, self._state.hub, self._accepted, self._accept_failed
            )
            self._log(logging.INFO, "server listening on %s", _name(self.socket, self.address))

    @property
    def started(self) -> bool:
        """Whether connections are accepted."""
        return self._acceptor is not None

    def serve_forever(
        self, *, signals: Iterable[int] | None = None, stop_timeout: float | None = 10
    ) -> None:
        """Accept connections until `shutdown` is called, or until a signal says so.

        Args:
            signals: which signals shut the server down, so that this returns; a second one
                ends the process at once. Afterwards they do again what they did before. None
                takes SIGTERM and SIGINT, but leaves alone a signal that the program handles
                by `signal.signal`, and both if it uses `gevent.signal_handler`, or if this is
                not the main greenlet of the main thread. ``()`` takes none.
            stop_timeout: seconds that handlers have after a signal, as for `shutdown`.

        Raises:
            RuntimeError: the server was shut down.
            ValueError: signals were given outside of the main thread, or see `start`.
        """
        self.start()
        try:
            if signals is None:
                signals = free_signals()
            with on_signals(signals, lambda: self.shutdown(timeout=stop_timeout)):
                self._stopped.wait()
        finally:
            self.shutdown(timeout=stop_timeout)

    def stop(self, timeout: float | None = 10) -> None:
        """Shut down; the name that gevent's servers have for it."""
        self.shutdown(timeout=timeout)

    def shutdown(
        self,
        code: int = CloseCode.GOING_AWAY,
        reason: str = "",
        timeout: float | None = 10,
        *,
        close_connections: bool = True,
    ) -> None:
        """Stop accepting, close connections, and wait until all handlers have ended.

        Opening handshakes under way are answered with 503. It may be called again, from a
        signal handler, and in another thread than the server's.

        Args:
            code: close code for open connections.
            reason: close reason for open connections.
            timeout: seconds after which handlers that still run are killed and their TCP
                connections are closed; None waits for as long as it takes.
            close_connections: False waits for connections to be closed by others.

        Raises:
            ProtocolError: the close code may not be sent, or the reason is too long.
        """
        if self._state is not None and self._state.thread != get_ident():
            _shut_down_elsewhere(self, self._state, code, reason, timeout, close_connections)
            return
        hub = gevent.get_hub()
        if gevent.getcurrent() is hub:
            # A signal handler runs where nothing may wait.
            gevent.spawn(self.shutdown, code, reason, timeout, close_connections=close_connections)
            return
        first = not self.closing
        if not first and gevent.getcurrent() in self._roster.greenlets:
            # Two handlers that shut the server down must not wait for each other.
            return
        # A bad code or reason is an error before anything is closed.
        Close(code, reason).serialize()
        self.closing = True
        if first:
            self._log(logging.INFO, "server closing")
            self._close_listener()
        if close_connections:
            self._roster.close(code, reason)
        try:
            self._roster.join(timeout)
        finally:
            if first:
                if summary := self._roster.summary():
                    self._log(logging.INFO, "%s", summary)
                self._log(logging.INFO, "server closed")
                self._stopped.set()
        self._stopped.wait(timeout)
        if self._state is not None:
            self._state.release()

    def _close_listener(self) -> None:
        if self._acceptor is not None:
            self._acceptor.stop()
            self._acceptor = None
        self.socket.close()
        if self.unix_path is not None and self._process == os.getpid():
            remove_socket(self.unix_path)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.shutdown()

    # What is known of the server.

    @property
    def connections(self) -> set[ServerConnection]:
        """The connections that are open now; a new set at each call, in any thread."""
        return self._roster.connections

    def fileno(self) -> int:
        """Return the descriptor of the listening socket."""
        return self.socket.fileno()

    def _log(
        self, level: int, message: str, *args: object, exc: BaseException | None = None
    ) -> None:
        log_safely(self.logger, Line(level, message, args, exc))

    # Connections.

    def _accepted(self, sock: _socket.socket, address: Any) -> None:
        """Serve a connection, or refuse it; called in the hub."""
        greenlets = self._roster.greenlets
        admitted = self._capacity.admits(greenlets, len(greenlets))
        if not admitted and not self._capacity.may_refuse():
            sock.close()
            return
        greenlet = ServingGreenlet(self._serve, sock, address, admitted)
        greenlets[greenlet] = None
        if not admitted:
            self._capacity.refuses(greenlet)
        greenlet.start()

    def _accept_failed(self, exc: OSError) -> None:
        self._log(logging.ERROR, "cannot accept connections for now", exc=exc)

    def _serve(self, sock: _socket.socket, address: Any, admitted: bool) -> None:
        """Serve a connection, in its greenlet, from which no exception escapes."""
        ws = None
        code = CloseCode.INTERNAL_ERROR
        try:
            ws = self._make_connection(sock, address)
            self._roster.greenlets[gevent.getcurrent()] = ws
            if self.closing:
                ws._interrupt_opening(ServerShutdown())
            if not admitted:
                self._refuse(ws)
            elif ws._open(self._opening):
                ws._run(self.handler)
        except gevent.GreenletExit:
            # Killed: the greenlet ends at once, and the hub does the closing handshake.
            code = CloseCode.GOING_AWAY
        except CRASHES as exc:
            self._log(logging.ERROR, "unexpected internal error", exc=exc)
        finally:
            self._roster.greenlets.pop(gevent.getcurrent(), None)
            if ws is None:
                sock.close()
            else:
                self._roster.leave(ws, code)

    def _refuse(self, ws: ServerConnection) -> None:
        """Tell a client that there is no room for it."""
        if self._capacity.news():
            limit = self._capacity.limit
            self._log(logging.WARNING, "%d connections are all that is allowed", limit)
        ws._turn_away(self._opening)

    def _make_connection(self, sock: _socket.socket, address: Any) -> ServerConnection:
        set_nodelay(sock)
        transport: Transport = DirectTransport(sock)
        if self._ssl is not None:
            transport = TLSTransport(transport, self._ssl, server_side=True)
        assert self._state is not None
        ws: ServerConnection = self._options.make(
            self._create_connection, transport, Side.SERVER, self._state, self.logger
        )
        ws.server = self
        ws._remote_address = address
        ws._set_deadline(self._open_timeout)
        return ws


class ServingGreenlet(gevent.Greenlet):  # type: ignore[type-arg]
    """The greenlet of a connection."""

    # Where it was spawned is always the same; to remember that would cost 0.2 KiB each.
    spawning_stack_limit = 0

    __slots__ = ()


def _name(sock: socket.socket, address: Any) -> str:
    """Return how the log names a listening socket."""
    if sock.family == socket.AF_INET:
        return f"{address[0]}:{address[1]}"
    if sock.family == socket.AF_INET6:
        return f"[{address[0]}]:{address[1]}"
    return os.fsdecode(address)


def _shut_down_elsewhere(
    server: Server,
    state: HubState,
    code: int,
    reason: str,
    timeout: float | None,
    close_connections: bool,
) -> None:
    """Let the server's thread shut it down."""
    shutdown = functools.partial(server.shutdown, close_connections=close_connections)
    try:
        call(state.mailbox, shutdown, (code, reason, timeout))
    except HubGone:
        # All that its thread can have left is the listener. gevent's socket would wait for that
        # thread's hub to close the C object below.
        getattr(server.socket, "_sock", server.socket).close()
