"""WSGI servers: how to take a request's socket over from each of them."""

from __future__ import annotations

import _socket
import contextlib
import dataclasses
import functools
import importlib
import io
import os
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any

from gevent.pywsgi import WSGIHandler

from geventws.core.headers import Headers
from geventws.core.http11 import Response
from geventws.net.borrowed import BorrowedTransport, DuplicateTransport, borrow_transport

__all__ = ["Host", "UnsupportedServer", "end_request", "find_host"]

INSTEAD = (
    "use gevent's pywsgi, gunicorn (worker gevent, gevent_pywsgi or gthread), or geventws.serve()"
)

# Servers that keep the socket to themselves, by how their SERVER_SOFTWARE begins.
IMPOSSIBLE = {
    "waitress": "waitress",
    "bjoern": "bjoern",
    "WSGIServer": "wsgiref",
    "mod_wsgi": "mod_wsgi",
    "Apache": "mod_wsgi",
    "CherryPy": "cheroot",
    "Cheroot": "cheroot",
    "meinheld": "meinheld",
}


class UnsupportedServer(RuntimeError):
    """The WSGI server does not let applications have its socket."""


class Host:
    """What a WSGI server lends to a request.

    Args:
        sock: the client's socket, as the server uses it.
        start_response: the server's, or a middleware's.
    """

    def __init__(self, sock: Any, start_response: Callable[..., Any]) -> None:
        self.sock = sock
        self.start_response = start_response

    def make_transport(self, scoped: bool) -> BorrowedTransport:
        """Make what moves the bytes of the WebSocket; see `borrow_transport`."""
        return borrow_transport(self.sock, scoped)

    def respond(self, response: Response) -> None:
        """Let the server send a response, and log it."""
        self._begin_response(response)(response.body)

    def _begin_response(self, response: Response) -> Callable[[bytes], object]:
        status = f"{response.status_code} {response.reason_phrase}"
        write: Callable[[bytes], object] = self.start_response(
            status, list(response.headers.raw_items())
        )
        return write

    def take_over(self) -> bytes:
        """Stop the server from reading the socket again.

        Returns:
            What it has read behind the request's head.
        """
        raise NotImplementedError

    def end_request(self) -> None:
        """Let the server close TCP after the response, as ``Connection: close`` asks for."""

    def when_done(self, callback: Callable[[], object]) -> None:
        """Call a function in the thread of the request when the application has returned.

        For requests in a thread's main greenlet, which goes on to serve the next. Where it is
        not known how, nothing is called.

        Args:
            callback: the function; it must not raise.
        """


class PywsgiHost(Host):
    """gevent.pywsgi, and gunicorn's worker gevent_pywsgi.

    It leaves the loop over the requests of a connection once its file is closed.
    """

    def __init__(self, environ: Mapping[str, Any], start_response: Callable[..., Any]) -> None:
        reader = environ["wsgi.input"]
        self._reader = getattr(reader, "rfile", reader)
        super().__init__(self._reader.raw._sock, start_response)
        # What runs the request, unless a middleware has wrapped `start_response`.
        handler = getattr(start_response, "__self__", None)
        self._handler = handler if isinstance(handler, WSGIHandler) else None

    def take_over(self) -> bytes:
        early = read_ahead(self._reader)
        # It frees the 8 KiB of its buffer, too.
        self._reader.close()
        handler_class: Any = type(self._handler)
        if self._handler is not None and logs_no_headers(handler_class):
            # Another 2 KiB that nobody asks for any more: the environ has it all.
            for name in ("headers", "response_headers"):
                vars(self._handler).pop(name, None)
        return early

    def end_request(self) -> None:
        # It heeds the application's ``Connection: close``, which may be missing.
        if self._handler is not None:
            self._handler.close_connection = True


@functools.cache
def logs_no_headers(handler_class: Any) -> bool:
    """Whether a class of handlers logs requests as gevent's does."""
    return all(
        getattr(handler_class, name) is getattr(WSGIHandler, name)
        for name in ("log_request", "format_request")
    )


class GunicornHost(Host):
    """gunicorn's workers gevent and gthread, and sync, where a WebSocket blocks the worker.

    It looks for another request in what its unreader has; that is nothing from now on.
    """

    def __init__(self, environ: Mapping[str, Any], start_response: Callable[..., Any]) -> None:
        super().__init__(environ["gunicorn.socket"], start_response)
        self._unreader = environ["wsgi.input"].reader.unreader

    def take_over(self) -> bytes:
        early: bytes = self._unreader.buf.getvalue()
        self._unreader.buf = io.BytesIO()
        self._unreader.chunk = read_nothing
        self.end_request()
        return early

    def end_request(self) -> None:
        # It drops the application's ``Connection: close``.
        response: Any = getattr(self.start_response, "__self__", None)
        if hasattr(response, "force_close"):
            response.force_close()

    def when_done(self, callback: Callable[[], object]) -> None:
        # It closes its response, but not that of an application which raised.
        response: Any = getattr(self.start_response, "__self__", None)
        if hasattr(response, "close"):
            response.close = preceded(response.close, callback)


class WerkzeugHost(Host):
    """Werkzeug's development server, which closes each connection after one request."""

    def __init__(self, environ: Mapping[str, Any], start_response: Callable[..., Any]) -> None:
        super().__init__(environ["werkzeug.socket"], start_response)
        self._reader = environ["wsgi.input"]
        # What runs the request, unless a middleware has wrapped `start_response`.
        self._handler: Any = None

    def respond(self, response: Response) -> None:
        opens = response.status_code == HTTPStatus.SWITCHING_PROTOCOLS
        if not opens:
            # It says ``Connection: close`` in all responses by itself.
            headers = Headers(response.headers.raw_items())
            headers.pop("Connection", None)
            response = dataclasses.replace(response, headers=headers)
        write = self._begin_response(response)
        cells = getattr(write, "__closure__", None) or ()
        for cell in cells:
            if isinstance(cell.cell_contents, BaseHTTPRequestHandler):
                self._handler = cell.cell_contents
        handler = self._handler
        if handler is not None:
            handler.close_connection = True
        if handler is None or not opens:
            write(response.body)
            return
        # Some clients take a second Connection header for the only one, and then a WebSocket for
        # none.
        handler.send_header = functools.partial(send_header_but_close, handler.send_header)
        try:
            write(response.body)
        finally:
            del handler.send_header

    def take_over(self) -> bytes:
        early = read_ahead(self._reader)
        if self._handler is not None:
            # It reads to the end of a request's body, after the response.
            self._handler.rfile = io.BytesIO()
            self._reader.close()
        return early

    def when_done(self, callback: Callable[[], object]) -> None:
        if self._handler is not None:
            # It closes its files, whatever the application did.
            rfile: Any = self._handler.rfile
            rfile.close = preceded(rfile.close, callback)


class UwsgiHost(Host):
    """uWSGI with its gevent loop. What arrives together with the request is lost there."""

    def __init__(self, environ: Mapping[str, Any], start_response: Callable[..., Any]) -> None:
        # Only inside of uWSGI there is such a module.
        uwsgi = importlib.import_module("uwsgi")
        own_tls = any(str(name).startswith("https-socket") for name in uwsgi.opt)
        if own_tls and environ.get("HTTPS") == "on":
            raise UnsupportedServer(
                "uWSGI's https-socket keeps its TLS to itself, so it cannot serve WebSockets; use "
                f"http-socket behind a proxy that speaks TLS, or {INSTEAD.removeprefix('use ')}"
            )
        super().__init__(uwsgi.connection_fd(), start_response)

    def make_transport(self, scoped: bool) -> BorrowedTransport:
        # There is no socket object, and the bare number may not be relied on.
        return DuplicateTransport(_socket.socket(fileno=os.dup(self.sock)))

    def take_over(self) -> bytes:
        return b""


def find_host(environ: Mapping[str, Any], start_response: Callable[..., Any]) -> Host:
    """Find out which server runs a request.

    Raises:
        UnsupportedServer: it does not let applications have its socket.
    """
    software = environ.get("SERVER_SOFTWARE", "")
    if environ.get("SERVER_PROTOCOL", "").startswith(("HTTP/2", "HTTP/3")):
        raise UnsupportedServer(
            f"this request came over {environ['SERVER_PROTOCOL']}, whose streams share one socket; "
            f"let the server ({software or 'unknown'}) offer HTTP/1.1 for WebSockets"
        )
    host_class = _host_class(environ, start_response, software)
    if host_class is None:
        raise UnsupportedServer(
            f"{_name(environ, software)} does not let applications have its socket, so it cannot "
            f"serve WebSockets; {INSTEAD}"
        )
    try:
        return host_class(environ, start_response)
    except AttributeError as exc:
        raise UnsupportedServer(
            f"{software or 'the WSGI server'} is known, but its wsgi.input is not: a middleware "
            f"or another version replaced it; accept the WebSocket outside of that middleware"
        ) from exc


def _host_class(
    environ: Mapping[str, Any], start_response: Callable[..., Any], software: str
) -> Callable[..., Host] | None:
    if "gunicorn.socket" in environ:
        # Its sockets would wait in another event loop.
        alien = type(environ["gunicorn.socket"]).__module__.startswith("eventlet.")
        return None if alien else GunicornHost
    if "werkzeug.socket" in environ:
        return WerkzeugHost
    if "uwsgi.version" in environ:
        return UwsgiHost
    handler = getattr(start_response, "__self__", None)
    if isinstance(handler, WSGIHandler) or software.startswith("gevent/"):
        return PywsgiHost
    return None


def _name(environ: Mapping[str, Any], software: str) -> str:
    """Return how an error names a server."""
    if "mod_wsgi.version" in environ:
        return "mod_wsgi"
    if "gunicorn.socket" in environ:
        return "gunicorn's worker eventlet"
    known = (name for start, name in IMPOSSIBLE.items() if software.startswith(start))
    return next(known, software or "this WSGI server")


def end_request(environ: Mapping[str, Any], start_response: Callable[..., Any]) -> None:
    """Let the server close TCP after the response, if it is known how.

    Where a request for a WebSocket is answered in plain HTTP, what may follow it are frames,
    not another request.
    """
    with contextlib.suppress(UnsupportedServer):
        find_host(environ, start_response).end_request()


def read_ahead(reader: Any) -> bytes:
    """Take what a buffered reader has, and what it can get without waiting."""
    sock = reader.raw._sock
    timeout = sock.gettimeout()
    sock.settimeout(0)
    try:
        # It reads from the socket once, if its buffer is empty.
        size = len(reader.peek())
    except OSError:
        # Nothing yet; or the client is gone, as whoever reads next will find.
        return b""
    finally:
        sock.settimeout(timeout)
    return bytes(reader.read1(size)) if size else b""


def send_header_but_close(send_header: Callable[[str, str], object], name: str, value: str) -> None:
    """Stand in for a server's way to send a header: not this one."""
    if (name, value) != ("Connection", "close"):
        send_header(name, value)


def preceded(function: Callable[[], object], first: Callable[[], object]) -> Callable[[], None]:
    """Return a function that calls another one before."""

    def call() -> None:
        try:
            first()
        finally:
            function()

    return call


def read_nothing(size: int | None = None) -> bytes:
    """Stand in for a server's way to read: this is the end."""
    return b""
