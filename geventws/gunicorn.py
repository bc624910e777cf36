"""A worker for gunicorn that says goodbye to WebSockets when it stops."""

from __future__ import annotations

import _socket
import contextlib
import functools
import time
from types import FrameType
from typing import Any, ClassVar

import gevent
from gevent.event import Event
from gevent.pool import Pool
from gevent.server import StreamServer

try:
    from gunicorn.http.wsgi import base_environ
    from gunicorn.sock import ssl_context
    from gunicorn.workers.ggevent import (
        VERSION,
        GeventWorker,
        PyWSGIHandler,
        PyWSGIServer,
    )
except ImportError as exc:
    raise ImportError("geventws.gunicorn needs gunicorn: pip install 'geventws[gunicorn]'") from exc

from geventws.core.frames import CloseCode
from geventws.net.mounted import mounted_connections

__all__ = ["PyWSGIWorker", "Worker"]

# Seconds between two signs of life for gunicorn's master process, as in its own workers.
HEARTBEAT = 1.0

# The master kills the process at the graceful timeout: before that, handlers that ignore the
# close get this many seconds, or a tenth of the timeout, to clean up.
RESERVE = 1.0


class Worker(GeventWorker):
    """Gunicorn's worker ``gevent``, with an end that WebSockets survive unharmed.

    .. code-block:: console

        $ gunicorn -k geventws.gunicorn.Worker app:app

    When it has to stop, by TERM, INT, QUIT, a reload or ``max_requests``, it stops accepting,
    closes every WebSocket with 1001, and waits for all requests to end, plain ones too, within
    gunicorn's ``graceful_timeout``; then it kills those that still run. It exits as soon as
    there are none. QUIT or INT after TERM kills them at once.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Set when the worker has to stop.
        self._stop = Event()
        # Whether TERM came.
        self._terminated = False
        # When requests that still run are killed, by the clock of `time.monotonic`.
        self._due = float("inf")
        # Sockets of clients that had an answer and may make another request.
        self._idle: set[Any] = set()
        super().__init__(*args, **kwargs)

    @property
    def alive(self) -> bool:
        """Whether the worker shall go on; whoever sets it to False stops it at once."""
        return not self._stop.is_set()

    @alive.setter
    def alive(self, value: bool) -> None:
        if not value:
            self._stop.set()

    # Signal handlers; they may interrupt anything, and must not wait.

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """TERM: stop when all requests have ended."""
        self._terminated = True
        super().handle_exit(sig, frame)

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:
        """QUIT and INT: as TERM; after TERM: stop now.

        Ctrl-C in a terminal makes both, INT for all processes and QUIT from the master.
        """
        if self._terminated:
            self._due = 0
        gevent.spawn(self.cfg.worker_int, self)
        self.alive = False

    # Life.

    def run(self) -> None:
        """Serve until the worker has to stop."""
        servers = [self._serve(sock) for sock in self.sockets]
        while self.alive:
            self.notify()
            self._stop.wait(HEARTBEAT)
        for server in servers:
            server.close()
        pools = [server.pool for server in servers]
        if not self._drain(pools):
            self.log.warning("Worker graceful timeout (pid:%s)", self.pid)
            requests = [request for pool in pools for request in pool]
            gevent.killall(requests, block=True, timeout=RESERVE)

    def _serve(self, sock: Any) -> Any:
        """Start to accept connections of a listening socket."""
        sock.setblocking(True)
        options: dict[str, Any] = {"spawn": Pool(self.worker_connections)}
        if self.cfg.is_ssl:
            options["ssl_context"] = ssl_context(self.cfg)
        server = self._make_server(sock, options)
        server.start()
        return server

    def _make_server(self, sock: Any, options: dict[str, Any]) -> Any:
        """Make gevent's server, with gunicorn's parser of requests or its own."""
        server_class: Any = self.server_class
        if server_class is not None:
            environ = base_environ(self.cfg)
            environ.update({"wsgi.multithread": True, "SERVER_SOFTWARE": VERSION})
            options.update(environ=environ, handler_class=self.wsgi_handler, log=self.log)
            server = server_class(sock, application=self.wsgi, **options)
            server.idle = self._idle
            return server
        server = StreamServer(sock, functools.partial(self.handle, sock), **options)
        if self.cfg.workers > 1:
            # The other workers shall get their share.
            server.max_accept = 1
        return server

    def _drain(self, pools: list[Any]) -> bool:
        """Close the WebSockets and wait for all requests; return whether they have ended."""
        patience = self.cfg.graceful_timeout
        self._due = min(self._due, time.monotonic() + patience - min(RESERVE, patience / 10))
        while requests := [request for pool in pools for request in pool]:
            left = self._due - time.monotonic()
            if left <= 0:
                return False
            self.notify()
            # Again and again: a request that was under way may have opened a WebSocket since,
            # or its client may have kept the connection.
            for ws in mounted_connections():
                ws._begin_close(CloseCode.GOING_AWAY)
            for sock in self._idle:
                hang_up(sock)
            gevent.joinall(requests, timeout=min(left, HEARTBEAT))
        return True

    # Requests.

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Serve a connection."""
        try:
            super().handle(listener, client, addr)
        finally:
            self._idle.discard(client)

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> Any:
        """Serve a request."""
        self._idle.discard(sock)
        try:
            return super().handle_request(listener_name, req, sock, addr)
        finally:
            self._idle.add(sock)

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Log an error of a request, and answer it; that it was killed is none."""
        if not isinstance(exc, gevent.GreenletExit):
            super().handle_error(req, client, addr, exc)


def hang_up(sock: Any) -> None:
    """Let the greenlet that waits for a client's next request find the end of the stream."""
    # The C class below gevent's: gevent's own method would be an error in that greenlet.
    with contextlib.suppress(OSError):
        _socket.socket.shutdown(getattr(sock, "_sock", sock), _socket.SHUT_RD)


class IdleHandler(PyWSGIHandler):
    """Knows when it waits for another request of its client."""

    # How many requests there were.
    requests = 0

    def read_requestline(self) -> Any:
        """Wait for a request."""
        server: Any = self.server
        idle, self.requests = server.idle, self.requests + 1
        if self.requests > 1:
            idle.add(self.socket)
        try:
            return super().read_requestline()
        finally:
            idle.discard(self.socket)


class PyWSGIWorker(Worker):
    """Gunicorn's worker ``gevent_pywsgi``, with the same end as `Worker`."""

    server_class: ClassVar[type[StreamServer] | None] = PyWSGIServer
    wsgi_handler: ClassVar[type[Any] | None] = IdleHandler
