"""Connecting step by step: what each of them found, and how long it took."""

from __future__ import annotations

import contextlib
import socket as stdlib_socket
import ssl
from typing import Any

import gevent
from gevent import socket

from geventws.cli.advice import advise, advise_on_response, first_line
from geventws.cli.options import FAILURES
from geventws.cli.report import Report
from geventws.cli.texts import explain
from geventws.core.exceptions import ConnectionClosedOK, InvalidURI
from geventws.core.frames import Close, CloseCode
from geventws.core.proxies import Proxy, parse_proxy
from geventws.core.states import State
from geventws.core.uri import WebSocketURI, parse_uri
from geventws.net.client import connect
from geventws.net.client_connection import ClientConnection
from geventws.net.proxy import get_proxy

__all__ = ["probe"]

PINGS = 3

# Seconds to wait for a pong where the options do not say.
PONG = 10.0

NO_PONG = """Messages may pass all the same, but a keepalive ends such a connection after
ping_timeout. Something in between does not pass pings on, or the server does not answer them."""

NO_CLOSE = """The connection works, but its end is not heard of: the server, or a proxy, cuts TCP
instead of answering the close frame."""


class ProbedConnection(ClientConnection):
    """A connection that reports on its handshakes.

    Args:
        report: gets what is found.
        args, kwargs: for `ClientConnection`.
    """

    __slots__ = ("_report",)

    def __init__(self, report: Report, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._report = report

    def _shake_tls(self) -> None:
        tls = getattr(self._transport, "tls", None)
        if tls is not None:
            with self._report.step("TLS") as step:
                super()._shake_tls()
                step.text = _tls_text(tls)

    def _open(self, *args: Any) -> None:
        with self._report.step("HTTP") as step:
            super()._open(*args)
            assert self.response is not None
            step.text = f"101 {self.response.reason_phrase}"
            if server := self.response.headers.get("Server"):
                step.text += f", from {server}"


class Probe:
    """Connects, tells what happens, pings, and closes.

    Args:
        uri: where.
        options: for `connect`.
        report: gets what is found.
    """

    def __init__(self, uri: WebSocketURI, options: dict[str, Any], report: Report) -> None:
        self._uri = uri
        self._options = options
        self._report = report
        # The step that ends when there is a connection to do handshakes on.
        self._tunnel = contextlib.ExitStack()
        self._connection: ProbedConnection | None = None
        self._proxy: Proxy | None = None

    def run(self, uri: str) -> None:
        """Do it."""
        with contextlib.ExitStack() as stack:
            try:
                # So that it has a step and a time; a proxy's TCP is the proxy's business.
                sock = self._dial(stack)
                ws = connect(uri, sock=sock, create_connection=self._create, **self._options)
                stack.callback(ws.close)
                _examine(ws, self._options, self._report)
            except FAILURES as exc:
                self._explain(exc)

    def _dial(self, stack: contextlib.ExitStack) -> Any:
        """Return a connected socket, which the stack closes; None to go through a proxy."""
        proxy = self._options["proxy"]
        if proxy is True:
            proxy = get_proxy(self._uri)
        if proxy is None:
            sock = _dial(self._uri, self._options["open_timeout"], self._report)
            return stack.enter_context(contextlib.closing(sock))
        with self._report.step("proxy") as step:
            self._proxy = parse_proxy(proxy)
            step.text = f"{self._proxy.scheme}://{self._proxy.host}:{self._proxy.port}"
        tunnel = self._tunnel.enter_context(self._report.step("tunnel"))
        tunnel.text = f"open to {self._uri.host} port {self._uri.port}"
        return None

    def _create(self, *args: Any, **kwargs: Any) -> ProbedConnection:
        self._tunnel.close()
        self._connection = ProbedConnection(self._report, *args, **kwargs)
        return self._connection

    def _explain(self, exc: BaseException) -> None:
        response = None if self._connection is None else self._connection.response
        if self._report.doing != "HTTP" or response is None or response.status_code == 101:
            lost_proxy = self._report.doing == "tunnel" and isinstance(exc, OSError)
            where = self._proxy if self._proxy and lost_proxy else self._uri
            self._report.failure(explain(exc), advise(exc, where.host, where.port))
        else:
            self._report.failure(first_line(response), advise_on_response(response))


def probe(uri: str, options: dict[str, Any], report: Report) -> None:
    """Connect, tell what happens, ping, and close; see `Probe`."""
    try:
        parsed = parse_uri(uri)
    except InvalidURI as exc:
        report.problem("URI", explain(exc), advise(exc))
    else:
        Probe(parsed, options, report).run(uri)


def _dial(uri: WebSocketURI, timeout: float | None, report: Report) -> Any:
    """Connect to the first address that answers, which is what `connect` does."""
    with report.step("DNS") as step:
        with gevent.Timeout(timeout, TimeoutError("no answer in time")):
            found = socket.getaddrinfo(uri.host, uri.port, type=stdlib_socket.SOCK_STREAM)
        # An IPv6 address has four items, of which these two are enough here.
        addresses = list(dict.fromkeys((str(info[4][0]), uri.port) for info in found))
        step.text = ", ".join(host for host, _ in addresses)
    for number, address in enumerate(addresses, 1):
        with report.step("TCP") as step:
            try:
                sock = socket.create_connection(address, timeout=timeout)
            except OSError as exc:
                if number == len(addresses):
                    raise
                step.text = f"{address[0]} does not answer: {explain(exc)}"
            else:
                sock.settimeout(None)
                step.text = f"connected to {address[0]} port {address[1]}"
                return sock
    raise AssertionError("getaddrinfo() returned no address")


def _tls_text(tls: ssl.SSLObject) -> str:
    cipher = tls.cipher()
    text = f"{tls.version()}, {cipher[0] if cipher else 'no cipher'}"
    certificate = tls.getpeercert()
    if not certificate:
        return f"{text}, certificate not verified"
    return f"{text}, certificate valid until {certificate['notAfter']}"


def _examine(ws: ClientConnection, options: dict[str, Any], report: Report) -> None:
    """Tell what was negotiated; measure the latency; close."""
    assert ws.response is not None
    extensions = ", ".join(ws.response.headers.get_all("Sec-WebSocket-Extensions"))
    if not extensions and options["compression"] is not None:
        extensions = "none: the server does not compress, or a proxy lost the offer"
    report.fact("extensions", extensions or "none")
    offered = options["subprotocols"]
    without = f"none of {', '.join(offered)}" if offered else "none"
    report.fact("subprotocol", ws.subprotocol or without)
    try:
        with report.step("ping") as step:
            latencies = _ping(ws, options["ping_timeout"] or PONG)
            step.text = f"{1000 * min(latencies):.1f} ms, the best of {PINGS}"
    except TimeoutError:
        report.failure("no pong came back", NO_PONG)
    except ConnectionClosedOK as exc:
        report.fact("ping", f"the server is done already: {exc}")
    with report.step("close") as step:
        ws.close()
        assert ws.close_code is not None and ws.close_reason is not None
        step.text = str(Close(ws.close_code, ws.close_reason))
    if ws.close_code == CloseCode.ABNORMAL_CLOSURE:
        report.problem("close", "no close frame came back", NO_CLOSE)


def _ping(ws: ClientConnection, timeout: float) -> list[float]:
    """Return how long some pings took, in seconds.

    Raises:
        TimeoutError: there was no pong.
        ConnectionClosed: the connection was closed.
    """
    latencies = []
    for _ in range(PINGS):
        ping = ws.ping()
        if not ping.wait(timeout):
            if ws.state is State.OPEN:
                raise TimeoutError
            # Raises what ended it.
            ws.ping()
        assert ping.latency is not None
        latencies.append(ping.latency)
    return latencies
