"""Reconnecting: connect again and again, after delays that grow (RFC 6455, section 7.2.3)."""

from __future__ import annotations

import functools
import logging
import os
import random
import traceback
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any

import gevent

from geventws.core.exceptions import InvalidMessage, InvalidStatus
from geventws.core.journal import Line
from geventws.core.uri import parse_uri
from geventws.net.client import connect, unix_address
from geventws.net.client_connection import ClientConnection
from geventws.net.hubs import get_hub_state
from geventws.net.logs import LoggerLike, log_safely

__all__ = ["backoff", "process_exception", "reconnect", "unix_reconnect"]

# Seconds. The first delay is random, up to this: the clients of a server that restarts must
# not come back all at once.
INITIAL_DELAY = float(os.environ.get("GEVENTWS_BACKOFF_INITIAL_DELAY", "5"))

# The second delay, how much longer each of the next ones is, and the longest.
MIN_DELAY = float(os.environ.get("GEVENTWS_BACKOFF_MIN_DELAY", "3.1"))
FACTOR = float(os.environ.get("GEVENTWS_BACKOFF_FACTOR", "1.618"))
MAX_DELAY = float(os.environ.get("GEVENTWS_BACKOFF_MAX_DELAY", "90"))

# The server, or a proxy in front of it, will perhaps work in a moment.
TRANSIENT_STATUS = frozenset({500, 502, 503, 504})


def backoff(
    initial_delay: float = INITIAL_DELAY,
    min_delay: float = MIN_DELAY,
    max_delay: float = MAX_DELAY,
    factor: float = FACTOR,
) -> Iterator[float]:
    """Yield delays that grow, in seconds; the last one for ever.

    Args:
        initial_delay: the first delay is random, between 0 and this.
        min_delay: the second delay.
        max_delay: no delay but the first is longer.
        factor: how much longer each delay is than the one before.
    """
    yield random.random() * initial_delay
    delay = min_delay
    while delay < max_delay:
        yield delay
        delay *= factor
    while True:
        yield max_delay


def process_exception(exc: Exception) -> Exception | None:
    """Tell whether to try again after an error.

    Errors of the network are transient: `OSError`, of which `TimeoutError` is one, and a
    connection that ends before the server answered. So are the HTTP status codes 500, 502,
    503 and 504. Everything else is fatal.

    Args:
        exc: what `connect` raised.

    Returns:
        None if the error is transient, else the exception to raise.
    """
    if isinstance(exc, OSError):
        return None
    if isinstance(exc, InvalidMessage) and isinstance(exc.__cause__, EOFError):
        return None
    if isinstance(exc, InvalidStatus) and exc.response.status_code in TRANSIENT_STATUS:
        return None
    return exc


class reconnect:
    """Connect to a WebSocket server, again and again.

    ::

        for ws in geventws.reconnect("ws://localhost:8765"):
            try:
                ws.send("Hello")
                print(ws.recv())
                break
            except geventws.ConnectionClosed:
                continue

    Each turn of the loop gets a connection; it is closed, with code 1000, at the turn's end,
    by ``break``, and when an exception leaves the loop. If connecting fails with a transient
    error, it is tried again after a delay, and the log says so; if with a fatal error, that
    is raised. Once a connection is open, the delays start over.

    ``with geventws.reconnect(...) as ws:`` connects once, as `connect` does.

    Args:
        uri: as for `connect`.
        process_exception: gets the exception that connecting raised; returns None to try
            again, or the exception to raise.
        reconnect_delays: returns delays in seconds, as `backoff` does; where they end, the
            exception is raised.
        kwargs: as for `connect`, and so are the exceptions; ``sock`` for ``with`` only.

    Raises:
        ValueError: there is a ``sock``, and a loop: it would not outlive the first connection.
    """

    def __init__(
        self,
        uri: str,
        *,
        process_exception: Callable[[Exception], Exception | None] = process_exception,
        reconnect_delays: Callable[[], Iterable[float]] = backoff,
        **kwargs: Any,
    ) -> None:
        # An error now, whatever `process_exception` will say to it.
        parse_uri(uri)
        self._connect = functools.partial(connect, uri, **kwargs)
        self._logger: LoggerLike = kwargs.get("logger") or logging.getLogger("geventws.client")
        self._process_exception = process_exception
        self._reconnect_delays = reconnect_delays
        # The connection of the ``with`` block, or of the loop's turn.
        self._ws: ClientConnection | None = None
        # Whether there is one, or will be soon.
        self._used = False

    def __enter__(self) -> ClientConnection:
        self._use()
        try:
            self._ws = self._connect()
        finally:
            self._used = self._ws is not None
        return self._ws

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close with 1000, after an exception with 1011."""
        ws, self._ws = self._ws, None
        self._used = False
        if ws is not None:
            ws.__exit__(exc_type, exc, traceback)

    def __iter__(self) -> Iterator[ClientConnection]:
        if self._connect.keywords.get("sock") is not None:
            raise ValueError(
                "a preexisting socket cannot be connected again: leave out sock, and say "
                "address where it isn't the URI's"
            )
        self._use()
        try:
            delays: Iterator[float] | None = None
            while True:
                try:
                    ws = self._connect()
                except Exception as exc:
                    self._raise_if_fatal(exc)
                    if delays is None:
                        delays = iter(self._reconnect_delays())
                    delay = next(delays, None)
                    if delay is None:
                        raise
                    self._log(delay, exc)
                else:
                    delays = None
                    with ws:
                        yield ws
                    continue
                # Here, where the exception is gone with all it refers to. Where this makes the
                # thread's hub, the next connection uses it, and destroys it.
                get_hub_state()
                gevent.sleep(delay)
        finally:
            self._used = False

    def _use(self) -> None:
        """Refuse to be used twice at the same time."""
        if self._used:
            raise RuntimeError("reconnect() isn't reentrant; call it again for another connection")
        self._used = True

    def _raise_if_fatal(self, exc: Exception) -> None:
        fatal = self._process_exception(exc)
        if fatal is exc:
            raise exc
        if fatal is not None:
            raise fatal from exc

    def _log(self, delay: float, exc: Exception) -> None:
        message = "connect failed; reconnecting in %.1f seconds: %s"
        reason = traceback.format_exception_only(exc)[0].strip()
        log_safely(self._logger, Line(logging.INFO, message, (delay, reason), None))


def unix_reconnect(
    path: str | bytes | os.PathLike[str] | None = None,
    uri: str | None = None,
    **kwargs: Any,
) -> reconnect:
    """Connect to a WebSocket server on a Unix socket, again and again.

    Args:
        path: the socket's path.
        uri: as for `unix_connect`.
        kwargs: as for `reconnect`.
    """
    return reconnect(unix_address(path, uri, kwargs), **kwargs)
