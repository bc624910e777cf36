"""WebSocket URIs: ``ws://`` and ``wss://`` (RFC 6455, section 3)."""

from __future__ import annotations

import ipaddress
import re
import urllib.parse
from dataclasses import dataclass, field

from geventws.core.exceptions import InvalidURI

__all__ = ["WebSocketURI", "host_of", "parse_uri", "split_uri", "user_info_of"]

DEFAULT_PORTS = {"ws": 80, "wss": 443}

# Python's URL parser drops tabs and line ends in silence: what is checked would not be what
# the user wrote, and what they copied from a hostile page would reach the request line.
_FORBIDDEN = re.compile(r"[\s\x00-\x20\x7f-\x9f]")

# What a host name may hold in RFC 3986, section 3.2.2, without percent-encoding, which DNS
# does not know.
_HOST_NAME = re.compile(r"[-a-z0-9._~!$&'()*+,;=]+")

# RFC 6874, section 2: "ZoneID = 1*( unreserved / pct-encoded )". Percent-encoding is not for
# operating systems.
_ZONE = re.compile(r"[-A-Za-z0-9._~]+")

# RFC 3987, section 3.1 converts the non-ASCII characters and nothing else, so that what is
# percent-encoded already stays as it is.
_PRINTABLE_ASCII = "".join(map(chr, range(0x21, 0x7F)))


@dataclass(frozen=True, slots=True)
class WebSocketURI:
    """A WebSocket URI in parts; make one with `parse_uri`.

    Attributes:
        secure: True for ``wss``, False for ``ws``.
        host: in lower case and ASCII; an IPv6 address has no brackets.
        port: the default port where the URI names none.
        path: percent-encoded; may be empty.
        query: percent-encoded, without the question mark; may be empty.
        username: percent-decoded, or None.
        password: percent-decoded, or None; there is one if there is a username.
    """

    secure: bool
    host: str
    port: int
    path: str
    query: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    @property
    def resource_name(self) -> str:
        """What the request line asks for: the path, "/" if it is empty, and the query."""
        # 3: "/resource name/ = "/" if the path component is empty, the path component, "?"
        # if the query component is non-empty, the query component".
        path = self.path or "/"
        return f"{path}?{self.query}" if self.query else path

    @property
    def user_info(self) -> tuple[str, str] | None:
        """The username and the password, or None if the URI has none."""
        if self.username is None or self.password is None:
            return None
        return self.username, self.password


def parse_uri(uri: str) -> WebSocketURI:
    """Take a WebSocket URI apart (RFC 6455, section 3).

    Characters outside ASCII are accepted: a host is encoded with IDNA, a path and a query
    are percent-encoded.

    Args:
        uri: for instance ``wss://user:password@example.com:8443/chat?room=1``.

    Raises:
        InvalidURI: it is not a WebSocket URI; the message says why.
    """
    # 3: "Fragment identifiers are meaningless in the context of WebSocket URIs and MUST NOT
    # be used on these URIs."
    if "#" in uri:
        raise InvalidURI(uri, "fragment identifier is meaningless")
    try:
        return _parse(uri)
    except ValueError as exc:
        # Bad ports, brackets, IP addresses, percent-encodings and IDNA labels all end here.
        raise InvalidURI(uri, str(exc)) from exc


def _parse(uri: str) -> WebSocketURI:
    parts = split_uri(uri)
    if parts.scheme not in DEFAULT_PORTS:
        raise ValueError("scheme isn't ws or wss")
    username, password = user_info_of(parts)
    return WebSocketURI(
        secure=parts.scheme == "wss",
        host=host_of(parts),
        port=parts.port or DEFAULT_PORTS[parts.scheme],
        path=urllib.parse.quote(parts.path, safe=_PRINTABLE_ASCII),
        query=urllib.parse.quote(parts.query, safe=_PRINTABLE_ASCII),
        username=username,
        password=password,
    )


def split_uri(uri: str) -> urllib.parse.SplitResult:
    """Split a URI as `urllib.parse.urlsplit` does, and refuse what that drops in silence.

    Raises:
        ValueError: it has characters that must be percent-encoded, or is no URI at all.
    """
    if _FORBIDDEN.search(uri):
        raise ValueError("spaces and control characters must be percent-encoded")
    return urllib.parse.urlsplit(uri)


def host_of(parts: urllib.parse.SplitResult) -> str:
    """Return the host name or IP address of a URI as DNS and sockets want it.

    Raises:
        ValueError: there is none, or nothing can be connected to it.
    """
    if not parts.hostname:
        raise ValueError("hostname isn't provided")
    if parts.port == 0:
        raise ValueError("port 0 cannot be connected to")
    host = parts.hostname
    if "[" in parts.netloc:
        # RFC 6874, section 2: the percent sign before a zone identifier is itself encoded.
        address, percent, zone = host.replace("%25", "%", 1).partition("%")
        if percent and not _ZONE.fullmatch(zone):
            raise ValueError(f"invalid zone identifier: {ascii(zone)[1:-1]}")
        return str(ipaddress.IPv6Address(address)) + percent + zone
    if not host.isascii():
        host = host.encode("idna").decode().lower()
    if not _HOST_NAME.fullmatch(host):
        raise ValueError(f"invalid hostname: {host}")
    return host


def user_info_of(parts: urllib.parse.SplitResult) -> tuple[str, str] | tuple[None, None]:
    """Return the username and the password of a URI, percent-decoded.

    Raises:
        ValueError: HTTP Basic authentication cannot transport them.
    """
    if parts.username is None:
        return None, None
    # User information becomes HTTP Basic credentials, which have both.
    if parts.password is None:
        raise ValueError("username provided without password")
    username = urllib.parse.unquote(parts.username, errors="strict")
    password = urllib.parse.unquote(parts.password, errors="strict")
    # RFC 7617, section 2: "a user-id containing a colon character is invalid"; "The user-id
    # and password MUST NOT contain any control characters".
    if ":" in username:
        raise ValueError("username contains a colon")
    if re.search(r"[\x00-\x1f\x7f]", username + password):
        raise ValueError("username or password contains control characters")
    return username, password
