"""A WSGI server with WebSockets."""

from __future__ import annotations

import logging
from typing import Any

from gevent.pywsgi import WSGIServer

from geventws.compat.geventwebsocket.clients import Clients
from geventws.compat.geventwebsocket.handler import WebSocketHandler
from geventws.compat.geventwebsocket.logging import create_logger
from geventws.core.frames import CloseCode

__all__ = ["WebSocketServer"]


class WebSocketServer(WSGIServer):
    """A WSGI server whose applications get WebSockets; see `WebSocketHandler`.

    Args:
        args, kwargs: for `gevent.pywsgi.WSGIServer`.
        debug: whether to print all that happens to standard error.
        pre_start_hook: called with the handler of each request; if it returns something true,
            the request is plain HTTP.
    """

    handler_class = WebSocketHandler

    debug_log_format = (
        f"{'-' * 80}\n%(levelname)s in %(module)s [%(pathname)s:%(lineno)d]:\n"
        f"%(message)s\n{'-' * 80}"
    )

    def __init__(
        self, *args: Any, debug: bool = False, pre_start_hook: Any = None, **kwargs: Any
    ) -> None:
        self.debug = debug
        self.pre_start_hook = pre_start_hook
        # The clients with an open WebSocket, by address.
        self.clients = Clients()
        super().__init__(*args, **kwargs)

    def stop(self, timeout: float | None = None) -> None:
        """Stop accepting, and close all WebSockets with 1001.

        Args:
            timeout: how long to wait for requests, as for `gevent.pywsgi.WSGIServer`.
        """
        self.close()
        for client in self.clients.values():
            client.ws.connection._begin_close(CloseCode.GOING_AWAY)
        super().stop(timeout)

    @property
    def logger(self) -> logging.Logger:
        """Where the WebSockets are logged if ``debug`` is true."""
        return create_logger("geventwebsocket.server", self.debug, self.debug_log_format)
