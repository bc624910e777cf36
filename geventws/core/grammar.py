"""The grammar of the opening handshake's headers (RFC 6455, sections 4 and 9.1; RFC 9110)."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

from geventws.core.exceptions import (
    InvalidHeader,
    InvalidHeaderFormat,
    InvalidHeaderValue,
    InvalidUpgrade,
)
from geventws.core.headers import Headers, is_token

if TYPE_CHECKING:
    from geventws.core.extensions import ExtensionParameters

__all__ = [
    "accept_key",
    "build_authorization_basic",
    "build_extension",
    "build_host",
    "build_subprotocol",
    "build_www_authenticate_basic",
    "check_upgrade",
    "generate_key",
    "parse_authorization_basic",
    "parse_connection",
    "parse_extension",
    "parse_host",
    "parse_subprotocol",
    "parse_upgrade",
    "single_value",
    "validate_subprotocols",
]

T = TypeVar("T")

# RFC 6455, section 1.3: the key is concatenated with this string.
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

# RFC 9110, sections 5.6.2, 5.6.3, 5.6.4, 7.8, and 11.2.
_TOKEN = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+")
_WHITESPACE = re.compile(r"[ \t]*")
_QUOTED_STRING = re.compile(r'"((?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*)"')
_PROTOCOL = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+(?:/[-!#$%&'*+.^_`|~0-9A-Za-z]+)?")
_TOKEN68 = re.compile(r"[-A-Za-z0-9._~+/]+=*")

# RFC 9110, section 7.2: "Host = uri-host [ ":" port ]".
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[-A-Za-z0-9._~%!$&'()*+,;=]*)(?::([0-9]{0,5}))?")


class _Scanner:
    """Reads a header's value from left to right."""

    __slots__ = ("name", "pos", "value")

    def __init__(self, name: str, value: str) -> None:
        # The header's name, for errors.
        self.name = name
        self.value = value
        # Where the next character to read is.
        self.pos = 0

    def take(self, pattern: re.Pattern[str], what: str) -> re.Match[str]:
        """Read what matches a pattern, and the whitespace after it."""
        match = pattern.match(self.value, self.pos)
        if match is None:
            raise self.error(f"expected {what}")
        self._skip_whitespace(match.end())
        return match

    def accept(self, char: str) -> bool:
        """Read a character, and the whitespace after it, if it comes next."""
        if not self.value.startswith(char, self.pos):
            return False
        self._skip_whitespace(self.pos + 1)
        return True

    def _skip_whitespace(self, pos: int) -> None:
        whitespace = _WHITESPACE.match(self.value, pos)
        self.pos = whitespace.end() if whitespace else pos

    def at_end(self) -> bool:
        return self.pos == len(self.value)

    def error(self, message: str, pos: int | None = None) -> InvalidHeaderFormat:
        pos = self.pos if pos is None else pos
        return InvalidHeaderFormat(self.name, message, self.value, pos)

    def items(self, read: Callable[[], T]) -> list[T]:
        """Read a comma-separated list that has at least one item."""
        items: list[T] = []
        while True:
            # RFC 9110, section 5.6.1.2: "A recipient MUST parse and ignore a reasonable
            # number of empty list elements".
            while self.accept(","):
                pass
            if items and self.at_end():
                return items
            items.append(read())
            if not self.at_end() and not self.value.startswith(",", self.pos):
                raise self.error("expected comma")

    def token(self) -> str:
        return self.take(_TOKEN, "token").group()

    def protocol(self) -> str:
        return self.take(_PROTOCOL, "protocol").group()

    def extension(self) -> tuple[str, ExtensionParameters]:
        name = self.token()
        params: ExtensionParameters = []
        while self.accept(";"):
            param = self.token()
            params.append((param, self._parameter_value() if self.accept("=") else None))
        return name, params

    def _parameter_value(self) -> str:
        start = self.pos
        if not self.value.startswith('"', start):
            return self.token()
        value = re.sub(r"\\(.)", r"\1", self.take(_QUOTED_STRING, "quoted string").group(1))
        # 9.1: "the value after quoted-string unescaping MUST conform to the 'token' ABNF."
        if not is_token(value):
            raise self.error("invalid quoted header content", start)
        return value


def parse_connection(value: str) -> list[str]:
    """Return the options of a ``Connection`` header.

    Raises:
        InvalidHeaderFormat: it is not a list of tokens.
    """
    # What most clients send. Without a scanner here and below, checking and answering a request
    # takes 22 us instead of 26.
    if is_token(value):
        return [value]
    scanner = _Scanner("Connection", value)
    return scanner.items(scanner.token)


def parse_upgrade(value: str) -> list[str]:
    """Return the protocols of an ``Upgrade`` header, such as ``websocket`` or ``h2c``.

    Raises:
        InvalidHeaderFormat: it is not a list of protocols.
    """
    if is_token(value):
        return [value]
    scanner = _Scanner("Upgrade", value)
    return scanner.items(scanner.protocol)


def parse_extension(value: str) -> list[tuple[str, ExtensionParameters]]:
    """Return the extensions of a ``Sec-WebSocket-Extensions`` header with their parameters.

    Returns:
        Names with lists of parameters, which are pairs of a name and a value or None.

    Raises:
        InvalidHeaderFormat: it does not follow RFC 6455, section 9.1.
    """
    scanner = _Scanner("Sec-WebSocket-Extensions", value)
    return scanner.items(scanner.extension)


def build_extension(extensions: Iterable[tuple[str, ExtensionParameters]]) -> str:
    """Return a ``Sec-WebSocket-Extensions`` header; the reverse of `parse_extension`."""
    return ", ".join(
        "; ".join([name, *(p if value is None else f"{p}={value}" for p, value in params)])
        for name, params in extensions
    )


def parse_subprotocol(value: str) -> list[str]:
    """Return the subprotocols of a ``Sec-WebSocket-Protocol`` header.

    Raises:
        InvalidHeaderFormat: it is not a list of tokens.
    """
    scanner = _Scanner("Sec-WebSocket-Protocol", value)
    return scanner.items(scanner.token)


def build_subprotocol(subprotocols: Sequence[str]) -> str:
    """Return a ``Sec-WebSocket-Protocol`` header; the reverse of `parse_subprotocol`."""
    return ", ".join(subprotocols)


def validate_subprotocols(subprotocols: Sequence[str]) -> None:
    """Check a list of subprotocols that a user gave.

    Raises:
        TypeError: it is one string, or not a list at all.
        ValueError: a subprotocol is not a token.
    """
    # A string is a sequence of strings, too: "chat" would offer "c", "h", "a", "t".
    if isinstance(subprotocols, str):
        raise TypeError("subprotocols must be a list, not a str")
    if not isinstance(subprotocols, Sequence):
        raise TypeError("subprotocols must be a list")
    for subprotocol in subprotocols:
        if not is_token(subprotocol):
            raise ValueError(f"invalid subprotocol: {subprotocol}")


def parse_host(value: str) -> tuple[str, int | None]:
    """Return the host and the port of a ``Host`` header, the port None if it has none.

    Raises:
        InvalidHeaderFormat: it does not follow RFC 9110, section 7.2.
    """
    match = _HOST.match(value)
    if match is None or match.end() != len(value):
        raise InvalidHeaderFormat("Host", "expected host", value, match.end() if match else 0)
    return match[1].strip("[]"), int(match[2]) if match[2] else None


def build_host(host: str, port: int, secure: bool, *, always_include_port: bool = False) -> str:
    """Return a ``Host`` header: IPv6 in brackets, the port unless it is the default.

    Args:
        host: a host name or an IP address.
        port: the port, a number.
        secure: whether 443 is the default port; else 80 is.
        always_include_port: write the default port, too, as a proxy's CONNECT needs it.
    """
    if ":" in host:
        # RFC 6874, section 4: a zone identifier has a meaning on this machine only.
        host = f"[{host.partition('%')[0]}]"
    if port == (443 if secure else 80) and not always_include_port:
        return host
    return f"{host}:{port}"


def build_www_authenticate_basic(realm: str) -> str:
    """Return a ``WWW-Authenticate`` header that asks for Basic credentials (RFC 7617).

    Args:
        realm: what the credentials are for, shown to the user.
    """
    quoted = re.sub(r'(["\\])', r"\\\1", realm)
    return f'Basic realm="{quoted}", charset="UTF-8"'


def parse_authorization_basic(value: str) -> tuple[str, str]:
    """Return the username and the password of an ``Authorization`` header (RFC 7617).

    Bytes that are not UTF-8 become surrogate escapes.

    Raises:
        InvalidHeaderFormat: it does not follow the grammar.
        InvalidHeaderValue: it is another scheme, or not base64 of ``username:password``.
    """
    scanner = _Scanner("Authorization", value)
    scheme = scanner.token()
    if scheme.lower() != "basic":
        raise InvalidHeaderValue("Authorization", f"unsupported scheme: {scheme}")
    if not scanner.value.startswith(" ", len(scheme)):
        raise scanner.error("expected space after scheme", len(scheme))
    credentials = scanner.take(_TOKEN68, "token68").group()
    if not scanner.at_end():
        raise scanner.error("trailing data")
    try:
        decoded = base64.b64decode(credentials, validate=True).decode(errors="surrogateescape")
    except ValueError as exc:
        expected = "expected base64-encoded credentials"
        raise InvalidHeaderValue("Authorization", expected) from exc
    username, colon, password = decoded.partition(":")
    if not colon:
        raise InvalidHeaderValue("Authorization", "expected username:password credentials")
    return username, password


def build_authorization_basic(username: str, password: str) -> str:
    """Return an ``Authorization`` header; the reverse of `parse_authorization_basic`.

    Raises:
        ValueError: the username contains a colon, which would end it.
    """
    if ":" in username:
        raise ValueError("a username for HTTP Basic authentication cannot contain a colon")
    credentials = f"{username}:{password}".encode(errors="surrogateescape")
    return f"Basic {base64.b64encode(credentials).decode()}"


def generate_key() -> str:
    """Return a new ``Sec-WebSocket-Key``."""
    # 4.1: "a nonce consisting of a randomly selected 16-byte value that has been
    # base64-encoded".
    return base64.b64encode(os.urandom(16)).decode()


def accept_key(key: str) -> str:
    """Return the ``Sec-WebSocket-Accept`` that answers a key (RFC 6455, section 4.2.2)."""
    digest = hashlib.sha1(key.encode() + GUID, usedforsecurity=False).digest()
    return base64.b64encode(digest).decode()


def single_value(headers: Headers, name: str) -> str:
    """Return the value of a header that must be there exactly once.

    Raises:
        InvalidHeader: it is missing, or there several times.
    """
    values = headers.get_all(name)
    if not values:
        raise InvalidHeader(name)
    if len(values) > 1:
        raise InvalidHeader(name, "multiple values")
    return values[0]


def check_upgrade(headers: Headers) -> None:
    """Check that headers say ``Connection: Upgrade`` and ``Upgrade: websocket``.

    Raises:
        InvalidUpgrade: they do not.
        InvalidHeaderFormat: one of them does not follow its grammar.
    """
    # 4.1 and 4.2.1: "a |Connection| header field that includes the token "Upgrade", treated
    # as an ASCII case-insensitive value".
    options = [
        option for value in headers.get_all("Connection") for option in parse_connection(value)
    ]
    if "upgrade" not in map(str.lower, options):
        raise InvalidUpgrade("Connection", ", ".join(options) or None)
    # 4.2.1: "An |Upgrade| header field containing the value "websocket", treated as an ASCII
    # case-insensitive value."
    protocols = [
        protocol for value in headers.get_all("Upgrade") for protocol in parse_upgrade(value)
    ]
    if [protocol.lower() for protocol in protocols] != ["websocket"]:
        raise InvalidUpgrade("Upgrade", ", ".join(protocols) or None)
