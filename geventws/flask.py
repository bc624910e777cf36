"""WebSockets in Flask applications: `Sock`, with the interface of flask-sock."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

try:
    from flask import Blueprint, Flask, current_app, has_request_context, request, session
    from flask.sansio.app import App
    from werkzeug.exceptions import HTTPException
    from werkzeug.routing import WebsocketMismatch
except ImportError as exc:
    raise ImportError("geventws.flask needs Flask: pip install 'geventws[flask]'") from exc

from geventws.core.environ import asks_for_websocket
from geventws.core.exceptions import ConnectionClosed, InvalidHandshake
from geventws.core.frames import CloseCode
from geventws.core.headers import Headers
from geventws.core.states import State
from geventws.hosts import Host, UnsupportedServer
from geventws.mount import Mount
from geventws.net.mounted import MountedConnection
from geventws.pywsgi import PendingConnection
from geventws.wsgi import GATE, Gate, WebSocketMiddleware, default_mount

__all__ = ["ConnectionClosed", "Sock", "SockConnection"]

View = TypeVar("View", bound=Callable[..., Any])

# Options of flask-sock that choose how its reading thread works; here is none.
WITHOUT_MEANING = {"receive_bytes", "thread_class", "event_class", "selector_class"}

NOT_INSTALLED = (
    "geventws.flask does not know this application: call init_app(app) on the Sock, and let no "
    "middleware hide the environ"
)

TEST_CLIENT = (
    "Flask's test client has no socket, so it cannot open a WebSocket; let the test run the "
    "application on a server, such as gevent.pywsgi.WSGIServer(('127.0.0.1', 0), app), and use "
    "geventws.connect()"
)


class SockConnection(MountedConnection):
    """The connection that a view gets, with the names of flask-sock's beside the usual ones."""

    __slots__ = ()

    def accept(self) -> Any:
        """Open the WebSocket now, where nothing else has opened it.

        Returns:
            The connection.

        Raises:
            InvalidHandshake: the request was refused, and the client told why. The view need
                not handle that.
        """
        return self

    @property
    def connected(self) -> bool:
        """Whether the connection is open."""
        return self.state is State.OPEN

    def receive(self, timeout: float | None = None) -> str | bytes | None:
        """Receive the next message, as `recv`; return None if there is none in time.

        Args:
            timeout: how long to wait, in seconds; None waits for as long as the connection
                lasts.

        Raises:
            ConnectionClosed: the connection is closed.
        """
        try:
            return self.recv(timeout)
        except TimeoutError:
            return None

    def close(
        self,
        code: int = CloseCode.NORMAL_CLOSURE,
        reason: str | int | None = "",
        message: str | None = None,
    ) -> None:
        """Close the connection, as `Connection.close`.

        Args:
            code: the close code.
            reason: the close reason; or, as flask-sock calls it, the close code.
            message: what flask-sock calls the close reason.
        """
        if isinstance(reason, int):
            code, reason = reason, None
        super().close(code or CloseCode.NORMAL_CLOSURE, message or reason or "")


class PendingSockConnection(PendingConnection, SockConnection):  # type: ignore[misc]
    """A connection whose view may still answer in plain HTTP; the first use opens it."""

    __slots__ = ()

    ready = SockConnection

    def accept(self) -> Any:
        self._require_thread()
        return super().accept()

    def discard(self) -> None:
        """Leave the request to Flask."""
        self._open_now = None
        # Whoever kept it finds it closed.
        self.__class__ = self.ready  # type: ignore[assignment]
        self._discard()

    @property
    def connected(self) -> bool:
        return bool(self.accept().connected)


class Sock:
    """WebSocket routes for a Flask application.

    ::

        app = Flask(__name__)
        sock = Sock(app)

        @sock.route("/echo")
        def echo(ws):
            for message in ws:
                ws.send(message)

    Args:
        app: the application; or give it to `init_app` later.
        options: options as for `geventws.wsgi.accept`; those in the application's
            configuration, as ``SOCK_SERVER_OPTIONS``, come before them.
    """

    def __init__(self, app: Flask | None = None, **options: Any) -> None:
        self.app: Flask | None = None
        # For routes that are there before the application is.
        self.bp: Blueprint | None = None
        self._options = options
        # Errors in options now, not at the first request.
        self._make_mount({})
        # What opens the WebSockets of an application, and the configuration it was made of.
        self._mounts: weakref.WeakKeyDictionary[Flask, tuple[dict[str, Any], Mount]]
        self._mounts = weakref.WeakKeyDictionary()
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Serve the routes in an application, and those that follow.

        Args:
            app: the application.
        """
        self._install(app)
        if self.bp is not None:
            app.register_blueprint(self.bp)
        self.app = app

    def route(
        self, path: str, bp: Blueprint | None = None, **options: Any
    ) -> Callable[[View], View]:
        """Make a function the view of a path, for requests that ask for a WebSocket.

        The view gets the connection before its arguments from the path. It may answer in
        plain HTTP, by `flask.abort` or by returning a response, until it uses the connection
        for the first time: that opens the WebSocket, or ``ws.accept()`` does. It closes when
        the view returns, with 1011 when it raises.

        Args:
            path: the path, as for `Flask.route`.
            bp: a blueprint to which the route belongs.
            options: more options of `Flask.route`.
        """

        def decorate(view: View) -> View:
            @functools.wraps(view)
            def answer(*args: Any, **kwargs: Any) -> Any:
                return self._answer(view, args, kwargs)

            self._home(bp).route(path, websocket=True, **options)(answer)
            return view

        return decorate

    # Setting up.

    def _home(self, bp: Blueprint | None) -> Flask | Blueprint:
        """Return where a route belongs: to its blueprint, the application, or one of ours."""
        if bp is not None:
            # Its application may never be given to `init_app`.
            bp.record(lambda state: self._install(state.app))
            return bp
        if self.app is not None:
            return self.app
        if self.bp is None:
            self.bp = Blueprint("geventws", __name__)
        return self.bp

    def _install(self, app: App) -> None:
        """Put the middleware around an application, once."""
        if "geventws" not in app.extensions:
            app.extensions["geventws"] = self
            assert isinstance(app, Flask)
            app.wsgi_app = WebSocketMiddleware(app.wsgi_app)  # type: ignore[method-assign]
            app.register_error_handler(WebsocketMismatch, refuse)

    def _mount(self) -> Mount:
        """Return what opens the WebSockets of the application, made once for its options."""
        app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
        options = app.config.get("SOCK_SERVER_OPTIONS") or {}
        known, mount = self._mounts.get(app, (None, None))
        if mount is None or known != options:
            mount = self._make_mount(options)
            self._mounts[app] = dict(options), mount
        return mount

    def _make_mount(self, options: Mapping[str, Any]) -> Mount:
        return Mount(**translate({**self._options, **options}))

    # Requests.

    def _answer(self, view: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Run a view; return what Flask shall answer, which is not sent once it is too late."""
        gate: Gate | None = request.environ.get(GATE)
        if gate is None:
            raise RuntimeError(NOT_INSTALLED)
        ws = self._connect(gate)
        result = None
        try:
            result = view(ws, *args, **kwargs)
            if result is None and not gate.answered:
                ws.accept()
        except ConnectionClosed:
            # Another connection's, or the end of this one?
            if ws.state in (State.OPEN, State.CONNECTING):
                raise
        except InvalidHandshake:
            # Another connection's, or was this one refused?
            if gate.ws is not None or not gate.answered:
                raise
        except HTTPException as exc:
            if not gate.answered:
                raise
            close_with(ws, exc)
        finally:
            if not gate.answered:
                ws.discard()
        return current_app.response_class(status=204) if gate.answered else result

    def _connect(self, gate: Gate) -> Any:
        """Make the connection, which is not open yet."""
        mount = self._mount()
        try:
            ws, host = mount.connect(request.environ, gate._start_response, PendingSockConnection)
        except UnsupportedServer as exc:
            agent = request.environ.get("HTTP_USER_AGENT", "")
            if "SERVER_SOFTWARE" in request.environ or not agent.startswith("Werkzeug/"):
                raise
            raise UnsupportedServer(TEST_CLIENT) from exc
        ws._open_now = functools.partial(self._open, gate, mount, host)
        return ws

    def _open(self, gate: Gate, mount: Mount, host: Host, ws: MountedConnection) -> None:
        """Open the WebSocket, and save the session as it is now."""
        # Not in a greenlet of the view's, which has no request.
        if has_request_context() and (cookies := session_cookies()):
            options = current_app.config.get("SOCK_SERVER_OPTIONS") or {}
            headers = Headers({**self._options, **options}.get("additional_headers", ()))
            for cookie in cookies:
                headers["Set-Cookie"] = cookie
            mount = self._make_mount({**options, "additional_headers": headers})
        gate.open(mount, ws, host)


def translate(options: Mapping[str, Any]) -> dict[str, Any]:
    """Give options of flask-sock the names that they have here."""
    translated = {name: value for name, value in options.items() if name not in WITHOUT_MEANING}
    if "max_message_size" in translated:
        translated["max_size"] = translated.pop("max_message_size")
    if isinstance(translated.get("subprotocols"), str):
        translated["subprotocols"] = [translated["subprotocols"]]
    return translated


def session_cookies() -> list[str]:
    """Return the cookies that save the session of this request, if it has changed."""
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
    current: Any = session._get_current_object()  # type: ignore[attr-defined]
    if app.session_interface.is_null_session(current):
        return []
    response = app.response_class()
    app.session_interface.save_session(app, current, response)
    return response.headers.getlist("Set-Cookie")


def close_with(ws: SockConnection, exc: HTTPException) -> None:
    """Close an open WebSocket for what would be an error of HTTP."""
    status = exc.get_response().status_code
    code = CloseCode.INTERNAL_ERROR if status >= 500 else CloseCode.POLICY_VIOLATION
    ws.close(code, f"{status} {exc.name}")


def refuse(exc: Exception) -> Any:
    """Answer a request for a WebSocket's path that does not ask for a WebSocket."""
    environ = request.environ
    if asks_for_websocket(environ):
        # The other way round: it is an ordinary path.
        return exc
    gate: Gate | None = environ.get(GATE)
    try:
        if gate is not None:
            gate.accept(default_mount(), environ)
    except InvalidHandshake:
        return current_app.response_class(status=204)
    except UnsupportedServer:
        pass
    return current_app.response_class(
        "This path is a WebSocket.\n", 426, {"Upgrade": "websocket", "Connection": "Upgrade"}
    )
