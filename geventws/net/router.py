"""Router: URLs to handlers, by the rules of a `werkzeug.routing.Map`."""

from __future__ import annotations

import os
import socket
import ssl as ssl_module
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote, urlsplit

from geventws.core.http11 import Request, Response
from geventws.net.serve import serve, unix_serve
from geventws.net.server import Server
from geventws.net.server_opening import ProcessRequest

if TYPE_CHECKING:
    from werkzeug.routing import Map

__all__ = ["Router", "route", "unix_route"]


def route(
    url_map: Map,
    *args: Any,
    server_name: str | None = None,
    ssl: ssl_module.SSLContext | Literal[True] | None = None,
    create_router: Callable[..., Router] | None = None,
    **kwargs: Any,
) -> Server:
    """Make a WebSocket server whose URLs have handlers of their own.

    ::

        from werkzeug.routing import Map, Rule

        def channel(ws, name):
            ws.send(f"this is {name}")

        url_map = Map([Rule("/channel/<name>", endpoint=channel)])
        with geventws.route(url_map, "127.0.0.1", 8765) as server:
            server.serve_forever()

    It needs Werkzeug: ``pip install geventws[router]``. A handler gets the connection, and
    what the rule captured as keyword arguments. Other URLs are answered with 404, and those
    of a rule with ``redirect_to`` with 302. ``process_request`` is called before.

    Args:
        url_map: handlers as the endpoints of rules, which need no ``websocket=True``: all of
            them get it.
        args: as for `serve`, from ``host`` on.
        server_name: the server's name in redirects; None takes the request's ``Host``.
        ssl: as for `serve`; True redirects to ``wss://`` where a proxy before the server
            speaks TLS.
        create_router: makes the router: a subclass of `geventws.net.router.Router`, or a
            function with the same arguments.
        kwargs: as for `serve`.

    Raises:
        ImportError: Werkzeug is not installed.
        OSError, TypeError, ValueError: as `serve`.
    """
    router, kwargs = _with_router(url_map, server_name, ssl, create_router, kwargs)
    return serve(router.handler, *args, **kwargs)


def unix_route(
    url_map: Map,
    path: str | bytes | os.PathLike[str] | None = None,
    *,
    sock: socket.socket | None = None,
    server_name: str | None = None,
    ssl: ssl_module.SSLContext | Literal[True] | None = None,
    create_router: Callable[..., Router] | None = None,
    **kwargs: Any,
) -> Server:
    """Make a server as `route` that listens on a Unix socket, as `unix_serve`.

    Args:
        url_map, server_name, ssl, create_router: as for `route`.
        path, sock, kwargs: as for `unix_serve`.

    Raises:
        ImportError: Werkzeug is not installed.
        OSError, TypeError, ValueError: as `unix_serve`.
    """
    router, kwargs = _with_router(url_map, server_name, ssl, create_router, kwargs)
    return unix_serve(router.handler, path, sock=sock, **kwargs)


class Router:
    """Finds the handler of each connection by its URL.

    Args:
        url_map: the rules.
        server_name: the server's name in redirects; None takes the request's ``Host``.
        url_scheme: the scheme in redirects, "ws" or "wss".

    Raises:
        ImportError: Werkzeug is not installed.
    """

    def __init__(
        self, url_map: Map, server_name: str | None = None, url_scheme: str = "ws"
    ) -> None:
        try:
            from werkzeug.exceptions import HTTPException
            from werkzeug.routing import RequestRedirect
        except ImportError as exc:
            raise ImportError("route() needs Werkzeug: pip install geventws[router]") from exc
        self.url_map = url_map
        self.server_name = server_name
        self.url_scheme = url_scheme
        # What says that there is no handler.
        self._redirect, self._refusal = RequestRedirect, HTTPException
        for rule in url_map.iter_rules():
            rule.websocket = True

    def get_server_name(self, ws: Any, request: Request) -> str:
        """Return the server's name as the client knows it."""
        if self.server_name is not None:
            return self.server_name
        hosts = request.headers.get_all("Host")
        # Without exactly one, the opening handshake is refused, whatever is found here.
        return hosts[0] if len(hosts) == 1 else ""

    def redirect(self, ws: Any, url: str) -> Response:
        """Return the response that sends a client to another URL."""
        response: Response = ws.respond(HTTPStatus.FOUND, f"Found at {url}")
        response.headers["Location"] = url
        return response

    def not_found(self, ws: Any) -> Response:
        """Return the response for a URL that has no handler."""
        response: Response = ws.respond(HTTPStatus.NOT_FOUND, "Not Found")
        return response

    def route_request(self, ws: Any, request: Request) -> Response | None:
        """Choose the handler, as a ``process_request``."""
        url = urlsplit(request.path)
        try:
            adapter = self.url_map.bind(
                self.get_server_name(ws, request), url_scheme=self.url_scheme
            )
            # Werkzeug compares, and quotes again in redirects, what is not quoted.
            ws.handler, ws.handler_kwargs = adapter.match(unquote(url.path), query_args=url.query)
        except self._redirect as exc:
            return self.redirect(ws, exc.new_url)
        except self._refusal:
            return self.not_found(ws)
        return None

    def handler(self, ws: Any) -> None:
        """Run the handler that was chosen."""
        ws.handler(ws, **ws.handler_kwargs)


def _with_router(
    url_map: Map,
    server_name: str | None,
    ssl: ssl_module.SSLContext | Literal[True] | None,
    create_router: Callable[..., Router] | None,
    kwargs: dict[str, Any],
) -> tuple[Router, dict[str, Any]]:
    """Make a router, and the arguments of a server that uses it."""
    url_scheme = "ws" if ssl is None else "wss"
    router = (create_router or Router)(url_map, server_name, url_scheme)
    before = kwargs.get("process_request")
    return router, {
        **kwargs,
        "ssl": None if ssl is True else ssl,
        "process_request": router.route_request if before is None else _both(before, router),
    }


def _both(before: ProcessRequest, router: Router) -> ProcessRequest:
    """Let a hook look at a request before the router does."""

    def process_request(ws: Any, request: Request) -> Response | None:
        response = before(ws, request)
        return router.route_request(ws, request) if response is None else response

    return process_request
