"""WebSockets on gevent's own WSGI server, as ``environ["wsgi.websocket"]``."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import gevent
from gevent.pywsgi import WSGIHandler, WSGIServer

from geventws.core.environ import asks_for_websocket
from geventws.core.exceptions import InvalidHandshake
from geventws.core.frames import Close, CloseCode
from geventws.core.http11 import Response
from geventws.core.states import State
from geventws.mount import Mount
from geventws.net.mounted import MountedConnection
from geventws.wsgi import GATE, Gate

__all__ = ["WebSocketHandler", "WebSocketServer"]


class PendingConnection:
    """What a connection is until it is used for the first time, and opens.

    From then on it is what it would have been without this: the class of the object changes,
    so that an open connection pays for nothing.
    """

    __slots__ = ()

    # What it becomes.
    ready: ClassVar[type[MountedConnection]]

    def accept(self: Any) -> Any:
        """Open the WebSocket now; otherwise the first use of the connection does.

        Returns:
            The connection.

        Raises:
            As `geventws.wsgi.accept`.
        """
        open_now, self._open_now = self._open_now, None
        self.__class__ = self.ready
        # The request may be over; then it is closed, as its methods tell.
        if open_now is not None:
            open_now(self)
        return self

    def recv(self, *args: Any, **kwargs: Any) -> str | bytes:
        return opened(self).recv(*args, **kwargs)  # type: ignore[no-any-return]

    def recv_streaming(self, *args: Any, **kwargs: Any) -> Iterator[str | bytes]:
        return opened(self).recv_streaming(*args, **kwargs)  # type: ignore[no-any-return]

    def send(self, *args: Any, **kwargs: Any) -> None:
        opened(self).send(*args, **kwargs)

    def ping(self, *args: Any, **kwargs: Any) -> Any:
        return opened(self).ping(*args, **kwargs)

    def pong(self, *args: Any, **kwargs: Any) -> None:
        opened(self).pong(*args, **kwargs)

    def close(self, *args: Any, **kwargs: Any) -> None:
        opened(self).close(*args, **kwargs)

    def wait_closed(self, *args: Any, **kwargs: Any) -> bool:
        return opened(self).wait_closed(*args, **kwargs)  # type: ignore[no-any-return]

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that was negotiated, or None."""
        return opened(self).subprotocol  # type: ignore[no-any-return]

    @property
    def response(self) -> Response | None:
        """The opening handshake's response."""
        return opened(self).response  # type: ignore[no-any-return]

    def __enter__(self) -> Any:
        return opened(self).__enter__()

    def __exit__(self, *exc_info: Any) -> None:
        # Python looks for it before it enters; the class has changed since.
        type(self).__exit__(self, *exc_info)


def opened(ws: Any) -> Any:
    """Return a connection when it is open.

    In ``ws.send(ws.recv())`` Python has looked for ``send`` before ``recv`` opens it.
    """
    return ws.accept() if isinstance(ws, PendingConnection) else ws


@functools.cache
def pending(ready: Callable[..., MountedConnection]) -> type[MountedConnection]:
    """Return the class of connections that become one of another class when they are used."""
    if not isinstance(ready, type):
        raise TypeError("create_connection must be a class where WebSockets open when first used")
    bases = (PendingConnection, ready)
    return type(f"Pending{ready.__name__}", bases, {"__slots__": (), "ready": ready})


class WebSocketHandler(WSGIHandler):
    """Runs the requests of a `gevent.pywsgi.WSGIServer`, WebSockets among them.

    ::

        def app(environ, start_response):
            ws = environ["wsgi.websocket"]
            for message in ws:
                ws.send(message)
            return []

        WSGIServer(("", 8000), app, handler_class=WebSocketHandler).serve_forever()

    A request that asks for a WebSocket has it in ``environ["wsgi.websocket"]``, as a
    `ServerConnection`. It opens when it is used for the first time; until then the
    application may answer in plain HTTP. It closes when the application returns, with 1011
    when that raises.
    """

    # Options as for `geventws.wsgi.accept`, for servers that do not have their own.
    websocket_options: ClassVar[Mapping[str, Any]] = {}

    # The request's environ; None before there is a request.
    environ: dict[str, Any]

    # What keeps HTTP out of the WebSocket of this request.
    _gate: Gate | None = None

    def run_application(self) -> None:
        """Run the application, with a WebSocket if the request asks for one."""
        if not asks_for_websocket(self.environ):
            super().run_application()
            return
        environ, mount, start_response = self.environ, self._mount(), super().start_response
        gate = self._gate = environ[GATE] = Gate(start_response)
        ws, host = mount.connect(environ, start_response, pending(mount.create_connection))
        ws.server = self.server
        ws._open_now = functools.partial(gate.open, mount, host=host)
        environ["wsgi.websocket"] = ws
        requests: dict[Any, MountedConnection] = getattr(self.server, "_requests", {})
        requests[gevent.getcurrent()] = ws
        try:
            self._run_websocket(gate)
        finally:
            if not gate.answered:
                ws._discard()
                # What may follow are frames, not another request.
                self.close_connection = True
            ws._open_now = self._gate = None
            # They refer to the environ, each in its own way.
            environ.pop(GATE, None)
            environ.pop("wsgi.websocket", None)
            requests.pop(gevent.getcurrent(), None)

    def _run_websocket(self, gate: Gate) -> None:
        """Run the application; end the WebSocket, if it came to that, as the application did."""
        try:
            super().run_application()
        except BaseException as exc:
            gate.abort(exc)
            # The client was told already.
            if not (gate.answered and isinstance(exc, InvalidHandshake)):
                raise
        else:
            gate.close()

    def start_response(
        self, status: str, headers: Any, exc_info: Any = None
    ) -> Callable[[bytes], None]:
        """Begin an HTTP response; in vain once the WebSocket is open."""
        if self._gate is not None:
            return self._gate(status, headers, exc_info)
        return super().start_response(status, headers, exc_info)

    def write(self, data: bytes) -> None:
        """Send a part of an HTTP response; in vain once the WebSocket is open."""
        if self._gate is None or not self._gate.done:
            super().write(data)

    def _mount(self) -> Mount:
        """Return what opens the WebSockets of the server; made once for all of them."""
        server: Any = self.server
        mount: Mount | None = getattr(server, "geventws_mount", None)
        if mount is None:
            mount = server.geventws_mount = Mount(**self.websocket_options)
        return mount


class WebSocketServer(WSGIServer):
    """A WSGI server that serves WebSockets, and says goodbye to them when it stops.

    Args:
        listener: where to listen, as for `gevent.pywsgi.WSGIServer`.
        application: the WSGI application; see `WebSocketHandler`.
        args, kwargs: for `gevent.pywsgi.WSGIServer`.
        websocket_options: options as for `geventws.wsgi.accept`.
    """

    handler_class = WebSocketHandler

    # Seconds that `stop` waits for handlers unless told otherwise.
    stop_timeout = 10

    def __init__(
        self,
        listener: Any,
        application: Any = None,
        *args: Any,
        websocket_options: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(listener, application, *args, **kwargs)
        options = self.handler_class.websocket_options
        self.geventws_mount = Mount(**(options if websocket_options is None else websocket_options))
        # The greenlets that run requests with a WebSocket, and their connections.
        self._requests: dict[Any, MountedConnection] = {}

    @property
    def connections(self) -> set[MountedConnection]:
        """The connections that are open now; a new set at each call."""
        return {ws for ws in self._requests.values() if ws.state is State.OPEN}

    def stop(
        self,
        timeout: float | None = None,
        code: int = CloseCode.GOING_AWAY,
        reason: str = "",
    ) -> None:
        """Stop accepting, close WebSockets, and wait until their requests have ended.

        Args:
            timeout: seconds after which requests that still run are killed; None waits
                ``stop_timeout`` seconds.
            code: close code for open connections.
            reason: close reason for open connections.

        Raises:
            ProtocolError: the close code may not be sent, or the reason is too long.
        """
        Close(code, reason).serialize()
        self.close()
        for ws in self.connections:
            ws._begin_close(code, reason)
        timeout = self.stop_timeout if timeout is None else timeout
        greenlets = [greenlet for greenlet in self._requests if greenlet is not gevent.getcurrent()]
        gevent.joinall(greenlets, timeout)
        gevent.killall(greenlets, block=True, timeout=1)
        super().stop(timeout=timeout)
