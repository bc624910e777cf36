"""WebSockets in WSGI applications: `accept`, an application of one handler, a middleware."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, overload

from gevent import GreenletExit

from geventws.core.environ import asks_for_websocket
from geventws.core.exceptions import InvalidHandshake
from geventws.core.frames import CloseCode
from geventws.hosts import Host, UnsupportedServer, end_request
from geventws.mount import ANSWERED, Mount, StartResponse
from geventws.net.mounted import MountedConnection
from geventws.net.server_connection import CRASHES
from geventws.net.server_opening import Handler

__all__ = ["UnsupportedServer", "WebSocketMiddleware", "accept", "websocket_app"]

WSGIApp = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]
Routes = Mapping[Any, Handler] | Sequence[tuple[Any, Handler]]

# Where `WebSocketMiddleware` leaves the gate for views that frameworks call without
# `start_response`.
GATE = "geventws.gate"


def accept(
    environ: dict[str, Any], start_response: StartResponse | None = None, **options: Any
) -> MountedConnection:
    """Open a WebSocket inside a WSGI request.

    ::

        def app(environ, start_response):
            with accept(environ, start_response) as ws:
                for message in ws:
                    ws.send(message)
            return []

    The application may look at the request first, and answer it as plain HTTP. Once the
    WebSocket is open, it must be closed before the application returns, by ``with`` or
    `Connection.close`; what the application returns must be empty.

    Args:
        environ: the request's WSGI environ.
        start_response: what the server gave together with it; may be left out in an
            application inside of `WebSocketMiddleware`.
        options: ``origins``, ``extensions``, ``subprotocols``, ``select_subprotocol``,
            ``compression``, ``compress_threshold``, ``ping_interval``, ``ping_timeout``,
            ``close_timeout``, ``max_size``, ``max_fragments``, ``max_queue``,
            ``write_limit``, ``logger``, ``create_connection``: as for `geventws.serve`;
            ``additional_headers``: headers to add to the response, such as cookies.

    Returns:
        The open connection, in the greenlet or thread of the request.

    Raises:
        InvalidHandshake: the request opens no WebSocket. The client got a response that says
            why, 426 if it did not ask for one: return ``[]``.
        UnsupportedServer: the WSGI server does not let applications have its socket.
        RuntimeError: ``start_response`` is missing, or `accept` was called before in this request.

    A client that is gone already is no error here: the connection is closed with 1006.
    """
    mount = Mount(**options) if options else default_mount()
    gate: Gate | None = start_response if isinstance(start_response, Gate) else environ.get(GATE)
    if gate is not None:
        return gate.accept(mount, environ)
    if start_response is None:
        raise RuntimeError(
            "accept() needs start_response; where a framework hides it, wrap the application: "
            "app = geventws.wsgi.WebSocketMiddleware(app)"
        )
    return mount.accept(environ, start_response, scoped=False)


@functools.cache
def default_mount() -> Mount:
    """Return what opens WebSockets without options."""
    return Mount()


class Gate:
    """Stands between an application and `start_response`, and closes when a WebSocket opens.

    Frameworks answer each request, also one whose view has had a WebSocket: that response
    must not get into the WebSocket's bytes.
    """

    __slots__ = ("_start_response", "answered", "done", "status", "ws")

    def __init__(self, start_response: StartResponse) -> None:
        self._start_response = start_response
        # Whether `accept` answers the request, and whether it has.
        self.answered = self.done = False
        # The WebSocket, if there is one.
        self.ws: MountedConnection | None = None
        # What the application would have answered instead.
        self.status = ""

    def accept(self, mount: Mount, environ: dict[str, Any]) -> MountedConnection:
        """Open a WebSocket as the request's answer; see the function `accept`."""
        if self.answered:
            # Before the server's socket is looked for, which is not where it was.
            raise RuntimeError(ANSWERED)
        ws, host = mount.connect(environ, self._start_response)
        self.open(mount, ws, host)
        return ws

    def open(self, mount: Mount, ws: MountedConnection, host: Host) -> None:
        """Open a connection that `Mount.connect` made."""
        if self.answered:
            ws._discard()
            raise RuntimeError(ANSWERED)
        self.answered = True
        try:
            mount.open(ws, host)
        finally:
            self.done = True
        self.ws = ws

    def __call__(self, status: str, headers: Any, exc_info: Any = None) -> Callable[..., Any]:
        """Begin an HTTP response, as `start_response` of PEP 3333, unless it is too late."""
        if self.answered:
            self.status = status
            return write_nothing
        if exc_info is None:
            return self._start_response(status, headers)  # type: ignore[no-any-return]
        return self._start_response(status, headers, exc_info)  # type: ignore[no-any-return]

    def close(self) -> None:
        """End the WebSocket, if there is one: the application has returned."""
        ws, self.ws = self.ws, None
        if ws is not None:
            # Frameworks turn exceptions of a view into a response.
            crashed = self.status.startswith("5")
            try:
                ws.close(CloseCode.INTERNAL_ERROR if crashed else CloseCode.NORMAL_CLOSURE)
            finally:
                ws._leave()

    def abort(self, exc: BaseException) -> None:
        """End the WebSocket, if there is one: the application failed, or was killed."""
        ws, self.ws = self.ws, None
        if ws is not None:
            try:
                if isinstance(exc, CRASHES):
                    ws.close(CloseCode.INTERNAL_ERROR)
            finally:
                ws._leave()


def write_nothing(data: bytes) -> None:
    """Drop what an application writes behind a WebSocket."""


def run(
    mount: Mount, environ: dict[str, Any], start_response: StartResponse, handler: Handler
) -> list[bytes]:
    """Answer a request with a WebSocket that lasts as long as its handler.

    The handler's end closes the connection as that of `geventws.serve` does: 1000 when it
    returned, 1011 when it crashed, 1001 when its greenlet was killed.
    """
    try:
        ws = mount.accept(environ, start_response)
    except InvalidHandshake:
        # The client was told why, and the log, too.
        return []
    code = CloseCode.INTERNAL_ERROR
    try:
        ws._run(handler)
    except GreenletExit:
        # The server's greenlet ends with this request anyway, and now it logs the request.
        code = CloseCode.GOING_AWAY
    finally:
        ws._leave(code)
    return []


@overload
def websocket_app(handler: Handler, /) -> WSGIApp: ...
@overload
def websocket_app(**options: Any) -> Callable[[Handler], WSGIApp]: ...


def websocket_app(
    handler: Handler | None = None, /, **options: Any
) -> WSGIApp | Callable[[Handler], WSGIApp]:
    """Turn a handler into a WSGI application.

    ::

        @websocket_app
        def echo(ws):
            for message in ws:
                ws.send(message)

    The connection is closed when the handler returns, with 1011 when it raises; requests
    that open no WebSocket get 426.

    Args:
        handler: called with each connection.
        options: as for `accept`; then write ``@websocket_app(max_size=2**16)``.
    """
    mount = Mount(**options)
    if handler is None:
        return functools.partial(_make_app, mount)
    return _make_app(mount, handler)


def _make_app(mount: Mount, handler: Handler) -> WSGIApp:
    # A function: the call of an object would add half a KiB of C stack to each connection.
    @functools.wraps(handler)
    def app(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
        return run(mount, environ, start_response, handler)

    return app


class WebSocketMiddleware:
    """A WSGI application that answers WebSockets by itself and leaves the rest to another.

    ::

        app = WebSocketMiddleware(app, {"/echo": echo, re.compile("/room/(?P<name>.+)"): room})

    Views of the application inside may call `accept` without ``start_response``: whatever
    their framework makes of what they return is not sent.

    Args:
        app: the application inside.
        routes_or_handler: a handler for all WebSockets; or handlers by path, a mapping or
            pairs, the first match wins. A path is a string, equal to ``PATH_INFO``, or a
            compiled regular expression that matches all of it, whose named groups become
            arguments of the handler. None leaves all to the application inside.
        options: as for `accept`; for the handlers given here.
    """

    def __init__(
        self,
        app: WSGIApp,
        routes_or_handler: Routes | Handler | None = None,
        **options: Any,
    ) -> None:
        self.app = app
        self._mount = Mount(**options)
        routes: Any = routes_or_handler
        if routes is None:
            routes = ()
        elif callable(routes):
            routes = ((re.compile(".*", re.DOTALL), routes),)
        elif isinstance(routes, Mapping):
            routes = routes.items()
        self._routes: list[tuple[Any, Handler]] = list(routes)

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        asked = asks_for_websocket(environ)
        handler = self._find(environ) if asked else None
        if handler is not None:
            return run(self._mount, environ, start_response, handler)
        gate = environ[GATE] = Gate(start_response)
        try:
            result = self.app(environ, gate)
        except BaseException as exc:
            gate.abort(exc)
            if gate.answered and isinstance(exc, InvalidHandshake):
                return []
            raise
        finally:
            # It refers to the environ, by way of the server's request.
            environ.pop(GATE, None)
        if not gate.answered:
            if asked:
                end_request(environ, start_response)
            return result
        try:
            if hasattr(result, "close"):
                result.close()
        finally:
            gate.close()
        return []

    def _find(self, environ: Mapping[str, Any]) -> Handler | None:
        """Return the handler of a request, its arguments bound."""
        # PEP 3333: strings of environ hold bytes, as ISO-8859-1.
        path = environ.get("PATH_INFO", "").encode("iso-8859-1").decode("utf-8", "replace")
        for pattern, handler in self._routes:
            if isinstance(pattern, re.Pattern):
                if match := pattern.fullmatch(path):
                    return functools.partial(handler, **match.groupdict())
            elif pattern == path:
                return handler
        return None
