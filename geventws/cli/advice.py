"""What to do about a connection that fails: an answer for each way in which it does."""

from __future__ import annotations

import re
import socket
import ssl
from http import HTTPStatus

from geventws.core.exceptions import (
    ConnectionClosed,
    InvalidHeader,
    InvalidMessage,
    InvalidProxy,
    InvalidUpgrade,
    InvalidURI,
    NegotiationError,
    ProxyError,
)
from geventws.core.http11 import Response

__all__ = ["advise", "advise_on_response", "first_line"]

NGINX = """nginx needs proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade;
proxy_set_header Connection "upgrade"; other proxies have a setting for WebSockets."""

LOST = (
    f"""A proxy in between has dropped them, as HTTP lets it unless it is told otherwise. {NGINX}"""
)

# A server of ours, and those of websockets, say in the body which header they miss.
MISSING = re.compile(r"(?:missing|invalid) (Connection|Upgrade|Sec-WebSocket-[-\w]+) header")

# Advice by the answer's status.
STATUS = {
    200: f"""An ordinary page came back: either the path is not the WebSocket's, or the server did
    not see the Upgrade and Connection headers. {LOST}""",
    400: f"""The server found the request wrong. If the path is right, it probably did not see the
    Upgrade and Connection headers. {LOST}""",
    401: """The server wants credentials: ws://user:password@host/ for HTTP Basic, or --header
    'Authorization: ...', or the cookie of a session, --header 'Cookie: ...'.""",
    403: """The server refuses this client, often for its origin: try --origin with the URL of the
    site whose pages may connect, or credentials.""",
    404: """There is no such path for WebSockets. Check it, with its prefix and trailing slash;
    behind a proxy, check that it routes this path, and that the application server supports
    WebSockets: one that does not looks for an ordinary page.""",
    405: """This path takes other methods than GET: it is not the WebSocket's.""",
    407: """A proxy wants credentials.""",
    426: f"""The server wants an upgrade, and did not see that this request asks for one. {LOST}
    Where it is a proxy that speaks HTTP/1.0 or HTTP/2 to the server, let it speak HTTP/1.1.""",
    429: """The server has had too many requests from here: wait, then try again.""",
    500: """The application failed; its log says why.""",
    501: """This server, or a proxy in front of it, has no WebSockets.""",
    502: """A proxy could not talk to the server behind it: is it running, and does it support
    WebSockets? The proxy's log says more.""",
    503: """The server is overloaded, restarting, or shutting down; a proxy says so, too, if there
    is no server behind it.""",
    504: """A proxy waited in vain for the server behind it, which is overloaded, or blocked: in a
    gevent server, something that waits natively stops everything.""",
}

OTHER_STATUS = """The server answered, but not with 101 Switching Protocols. Its log, and that of
proxies in between, may say why."""

NOT_HTTP = """Whatever listens there does not speak HTTP: the port may be another service's, or
want TLS; then the URI begins with wss://."""

# Advice by the exception, the most special first. What is in braces comes from the URI.
FAILURES: dict[type[BaseException], str] = {
    InvalidURI: """Write it as ws://host:port/path, or wss:// for TLS.""",
    socket.gaierror: """Check the spelling of {host}. If it is right, this machine's DNS does not
    know it: a name that only exists in a VPN, a container or a cluster?""",
    ConnectionRefusedError: """Nothing listens on port {port} there: is the server running, and is
    it this port? One that listens on 127.0.0.1 can be reached from its own machine, or its own
    container, only.""",
    ssl.SSLCertVerificationError: """The certificate is not for {host}, has expired, or is signed
    by nobody this machine trusts. Trust its authority with --cafile; --insecure goes on without,
    to find out what else is wrong.""",
    ssl.SSLError: """The port does not speak TLS, or no version of it that both sides accept. If
    it does not, the URI begins with ws://.""",
    ConnectionResetError: """The other end hung up: a firewall, a port that speaks TLS (wss://) or
    does not (ws://), or a server that crashed; its log says more.""",
    TimeoutError: """No answer came in time: a firewall that drops packets, a wrong address, or a
    server that is blocked; in a gevent server, something that waits natively stops everything.
    --open-timeout waits longer.""",
    OSError: """Check the network between here and {host}.""",
    InvalidMessage: NOT_HTTP,
    InvalidProxy: """Write it as http://user:password@host:port, or with https, socks5h or another
    scheme of SOCKS. Without --proxy it comes from the environment: wss_proxy, ws_proxy,
    socks_proxy, https_proxy, http_proxy.""",
    ProxyError: """The proxy opens no tunnel to {host} port {port}. 407 wants credentials in its
    URL, http://user:password@host:port; 403 and 405 mean that it has no tunnels, or none to this
    port. --no-proxy connects directly, and hosts in no_proxy are never looked for behind it.""",
    ImportError: """Install what the text names.""",
    InvalidUpgrade: f"""The 101 response has lost its Upgrade or Connection header. {LOST}""",
    NegotiationError: """The server chose what was not offered. Offer it with --subprotocol; if it
    is an extension, the server is wrong, and --no-compression may help.""",
    InvalidHeader: """The response does not belong to this request: a proxy or a cache in between
    has changed it, or the server is wrong.""",
    ConnectionClosed: """The connection was opened, and closed at once. The code says why: 1008
    mostly means that credentials are missing; 1011 that the handler crashed, and 1006 that a
    proxy or the server hung up; the server's log says more.""",
}


def advise(exc: BaseException, host: str = "", port: int = 0) -> str:
    """Return what to do about an exception of `geventws.connect`.

    Args:
        exc: the exception.
        host: whom it was to connect to.
        port: and where.
    """
    for cls in type(exc).__mro__:
        if cls in FAILURES:
            return FAILURES[cls].format(host=host, port=port)
    return "Check the options of this command."


def advise_on_response(response: Response) -> str:
    """Return what to do about a response that opens no WebSocket."""
    status, headers = response.status_code, response.headers
    if 300 <= status < 400 and (location := headers.get("Location")):
        target = re.sub(r"^http", "ws", location)
        return f"It is somewhere else now. Try: geventws doctor {target}"
    version = headers.get("Sec-WebSocket-Version", "13")
    if status == 426 and "13" not in re.split(r"[\s,]+", version):
        return f"The server speaks other versions of the protocol than 13: {version}."
    body = (response.body or b"").decode(errors="replace")
    if "HTTPS port" in body or "HTTP request to an HTTPS server" in body:
        return "The port speaks TLS: the URI begins with wss://."
    advice = STATUS.get(status, OTHER_STATUS)
    if match := MISSING.search(body):
        advice = f"The server says that it did not see a good {match[1]} header. {LOST}"
    if via := headers.get("Via") or headers.get("Server"):
        advice += f" (This answer is from {via}.)"
    return advice


def first_line(response: Response) -> str:
    """Return the status of a response, and the beginning of what it says."""
    try:
        phrase = response.reason_phrase or HTTPStatus(response.status_code).phrase
    except ValueError:
        phrase = ""
    text = (response.body or b"").decode(errors="replace").strip()
    kind = response.headers.get("Content-Type", "")
    # Pages are for browsers.
    said = "" if "html" in kind or not text else f": {text.splitlines()[0][:120]}"
    return f"HTTP {response.status_code} {phrase}{said}"
