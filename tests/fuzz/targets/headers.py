"""Values of headers, the grammar of each, and the negotiation that follows from them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from geventws.core.deflate_negotiation import (
    ClientPerMessageDeflateFactory,
    ServerPerMessageDeflateFactory,
)
from geventws.core.deflate_parameters import DeflateParameters
from geventws.core.exceptions import InvalidHandshake, InvalidHeader, NegotiationError
from geventws.core.grammar import (
    build_authorization_basic,
    build_extension,
    build_subprotocol,
    build_www_authenticate_basic,
    check_upgrade,
    parse_authorization_basic,
    parse_connection,
    parse_extension,
    parse_host,
    parse_subprotocol,
    parse_upgrade,
    validate_subprotocols,
)
from geventws.core.head import parse_head
from geventws.core.headers import Headers, is_value
from tests.errors import check_error

# What of the core is tried.
MODULES = ["grammar", "headers", "deflate_parameters", "deflate_negotiation"]

TOKENS = [
    b"permessage-deflate",
    b"; server_no_context_takeover",
    b"; client_no_context_takeover",
    b"; server_max_window_bits=8",
    b"; client_max_window_bits",
    b'; client_max_window_bits="15"',
    b"keep-alive, Upgrade",
    b"websocket",
    b"Basic dXNlcjpwYXNz",
    b"[::1]:8765",
    b"HTTP/2.0, h2c",
    b'"\\a"',
]


def check(data: bytes) -> None:
    """Parse a header: the first byte chooses which."""
    if not data:
        return
    value = data[1:].decode("iso-8859-1")
    CHECKS[data[0] % len(CHECKS)](value)


def parse(function: Callable[[str], Any], value: str) -> Any:
    """Parse a value; return None if it is malformed, which must be said in one line."""
    try:
        return function(value)
    except InvalidHeader as exc:
        assert exc.name
        check_error(exc)
        return None


def check_lists(value: str) -> None:
    """Lists of tokens."""
    for function in (parse_connection, parse_upgrade, parse_subprotocol):
        items = parse(function, value)
        assert items is None or (items and function(", ".join(items)) == items)
    if subprotocols := parse(parse_subprotocol, value):
        validate_subprotocols(subprotocols)
        assert is_value(build_subprotocol(subprotocols))


def check_host(value: str) -> None:
    """The host and the port that a client asked for."""
    if parsed := parse(parse_host, value):
        host, port = parsed
        assert host in value and (port is None or 0 <= port <= 99999)


def check_basic(value: str) -> None:
    """Credentials."""
    if parsed := parse(parse_authorization_basic, value):
        assert parse_authorization_basic(build_authorization_basic(*parsed)) == parsed
        return
    if is_value(value):
        assert is_value(build_www_authenticate_basic(value))


def check_upgrade_headers(value: str) -> None:
    """Both headers of an upgrade, one per line."""
    connection, _, upgrade = value.partition("\n")
    headers = Headers()
    try:
        headers["Connection"] = connection
        headers["Upgrade"] = upgrade
    except ValueError as exc:
        check_error(exc)
        return
    try:
        check_upgrade(headers)
    except InvalidHandshake as exc:
        check_error(exc)


def check_head(value: str) -> None:
    """All headers of a head, one per line."""
    headers = Headers()
    for line in value.split("\n"):
        name, _, text = line.partition(":")
        try:
            headers[name] = text.strip(" \t")
        except ValueError as exc:
            check_error(exc)
            continue
    first_line, read = parse_head(b"first line\r\n" + headers.serialize())
    assert first_line == "first line"
    assert list(read.raw_items()) == list(headers.raw_items())
    assert read == headers
    for name in headers:
        assert len(headers.get_all(name)) == len(read.get_all(name.upper())) > 0


def check_extensions(value: str) -> None:
    """Extensions, offered and answered."""
    offers = parse(parse_extension, value)
    if offers is None:
        return
    assert parse_extension(build_extension(offers)) == offers
    for is_offer in (True, False):
        for _, params in offers:
            try:
                parameters = DeflateParameters.parse(params, is_offer=is_offer)
            except NegotiationError as exc:
                check_error(exc)
                continue
            again = DeflateParameters.parse(parameters.serialize(), is_offer=is_offer)
            assert again == parameters


def check_negotiation(value: str) -> None:
    """What our client offers and our server answers is what both then do."""
    settings = [ord(char) for char in value[:8].ljust(8, "\0")]
    client = ClientPerMessageDeflateFactory(
        bool(settings[0] & 1),
        bool(settings[0] & 2),
        [None, 8, 9, 10, 12, 15][settings[1] % 6],
        [None, True, 9, 11, 15][settings[2] % 5],
    )
    server = ServerPerMessageDeflateFactory(
        bool(settings[0] & 4),
        bool(settings[0] & 8),
        [None, 9, 10, 12, 15][settings[3] % 5],
        [None, 8, 9, 11, 15][settings[4] % 5],
    )
    offer = client.get_request_params()
    for extra in parse(parse_extension, value[8:]) or [("", [])]:
        try:
            answer, theirs = server.process_request_params([*offer, *extra[1]], [])
            ours = client.process_response_params(answer, [])
        except NegotiationError as exc:
            check_error(exc)
            continue
        assert ours.local_max_window_bits <= theirs.remote_max_window_bits
        assert theirs.local_max_window_bits <= ours.remote_max_window_bits
        # Whoever forgets its history must be one whose peer knows, or need not know.
        assert theirs.local_no_context_takeover >= ours.remote_no_context_takeover
        assert ours.local_no_context_takeover >= theirs.remote_no_context_takeover


CHECKS = [
    check_lists,
    check_host,
    check_basic,
    check_upgrade_headers,
    check_head,
    check_extensions,
    check_negotiation,
]
