"""Opening a client's connection: dial, shake hands, follow redirects, within one deadline."""

from __future__ import annotations

import functools
import ssl as ssl_module
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from geventws.core.client_handshake import ClientHandshake
from geventws.core.exceptions import InvalidStatus, SecurityError
from geventws.core.redirects import MAX_REDIRECTS, Target, location_of
from geventws.core.states import Side
from geventws.core.uri import WebSocketURI
from geventws.net.background import connect_in_background
from geventws.net.client_connection import ClientConnection
from geventws.net.dialing import Dialer, Stage
from geventws.net.hubs import get_hub_state
from geventws.net.logs import LoggerLike
from geventws.net.options import ConnectionOptions
from geventws.net.tls import TLSTransport
from geventws.net.transport import Transport

__all__ = ["Opener"]


@dataclass(kw_only=True, slots=True)
class Opener:
    """Opens connections as `geventws.connect` was told to."""

    # Connects TCP.
    dialer: Dialer
    # The TLS configuration, and whom the certificate must name, where the defaults won't do.
    ssl: ssl_module.SSLContext | None
    server_hostname: str | None
    # Makes what negotiates an opening handshake for a URI.
    make_handshake: Callable[[WebSocketURI], ClientHandshake]
    user_agent_header: str | None
    options: ConnectionOptions
    create_connection: Callable[..., ClientConnection]
    logger: LoggerLike
    # Whether the connection's hub runs in a native thread, not in this one.
    background: bool

    def open(self, target: Target, timeout: float | None) -> ClientConnection:
        """Open a connection within ``timeout`` seconds; raises as `geventws.connect` does."""
        opening = functools.partial(self._open_here, target, timeout)
        if self.background:
            # No subclass, since it does nothing by itself, but it has the same methods.
            return cast(ClientConnection, connect_in_background(opening))
        return opening()

    def _open_here(self, target: Target, timeout: float | None) -> ClientConnection:
        # Before anything else makes this thread's hub: who makes it destroys it.
        state = get_hub_state()
        try:
            with Stage(timeout) as stage:
                return self._follow(target, stage)
        except Stage as exc:
            state.release()
            if exc is not stage:
                raise
            # The frames of its traceback refer to it: only the garbage collector would free them.
            stage.__traceback__ = None
            raise TimeoutError(f"timed out while {stage.doing}") from None
        except BaseException:
            state.release()
            raise

    def _follow(self, target: Target, stage: Stage) -> ClientConnection:
        """Open a connection to a target, or to where that redirects to."""
        redirects = 0
        while True:
            try:
                return self._open(target, stage)
            except InvalidStatus as refusal:
                # In no other frame that it passes through: only the garbage collector would
                # free the two, and the connection with them.
                location = location_of(refusal.response)
                if location is None:
                    raise
                redirects += 1
                try:
                    target = self._redirected(target, location, redirects)
                except Exception as exc:
                    raise exc from refusal

    def _redirected(self, target: Target, location: str, redirects: int) -> Target:
        """Return the target to which another redirects."""
        if redirects >= MAX_REDIRECTS:
            raise SecurityError(f"more than {MAX_REDIRECTS} redirects")
        redirected = target.redirect(location)
        self.dialer.check_redirect(target, redirected)
        return redirected

    def _open(self, target: Target, stage: Stage) -> ClientConnection:
        handshake = self.make_handshake(target.uri)
        ws = self._make_connection(target.uri, self.dialer.dial(target.uri, stage))
        ws._open_within(stage, handshake, target.headers, self.user_agent_header)
        return ws

    def _make_connection(self, uri: WebSocketURI, transport: Transport) -> ClientConnection:
        try:
            remote_address = transport.sock.getpeername()
            if uri.secure:
                context = self.ssl or ssl_module.create_default_context()
                hostname = self.server_hostname or uri.host
                transport = TLSTransport(transport, context, False, hostname)
            ws: ClientConnection = self.options.make(
                self.create_connection, transport, Side.CLIENT, get_hub_state(), self.logger
            )
        except BaseException:
            transport.close()
            raise
        ws._remote_address = remote_address
        return ws
