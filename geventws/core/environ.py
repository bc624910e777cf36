"""The opening handshake's request, as a WSGI server tells it (PEP 3333)."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from geventws.core.exceptions import InvalidMessage
from geventws.core.grammar import check_upgrade
from geventws.core.headers import Headers
from geventws.core.http11 import Request

__all__ = ["asks_for_websocket", "parse_environ", "peer_address"]

# What `quote` leaves alone in a path beside letters, digits and "_.-~" (RFC 3986, section
# 3.3: "pchar = unreserved / pct-encoded / sub-delims / ":" / "@"").
_PATH_CHARACTERS = "/!$&'()*+,;=:@"


def parse_environ(environ: Mapping[str, Any]) -> Request:
    """Make the request of a WSGI environ.

    WSGI joins headers of the same name by commas, and loses their spelling.

    Raises:
        InvalidMessage: no header may look like this, or the request has a body.
    """
    try:
        return _parse(environ)
    except ValueError as exc:
        raise InvalidMessage("did not receive a valid HTTP request") from exc


def _parse(environ: Mapping[str, Any]) -> Request:
    # What follows the head would be taken for frames.
    if environ.get("HTTP_TRANSFER_ENCODING"):
        raise ValueError("transfer codings aren't supported")
    if environ.get("CONTENT_LENGTH") not in (None, "", "0"):
        raise ValueError("unsupported request body")
    headers = Headers()
    for key, value in environ.items():
        if key.startswith("HTTP_"):
            headers[_header_name(key)] = value
    return Request(
        _path(environ), headers, environ["REQUEST_METHOD"], environ.get("SERVER_PROTOCOL", "")
    )


@functools.lru_cache(256)
def _header_name(key: str) -> str:
    name = key[len("HTTP_") :].replace("_", "-").title()
    return name.replace("Sec-Websocket", "Sec-WebSocket")


def _path(environ: Mapping[str, Any]) -> str:
    """Return the path and the query as they were on the wire, as far as they are known."""
    for name in ("RAW_URI", "REQUEST_URI"):
        raw = environ.get(name, "")
        if raw.startswith("/"):
            return str(raw)
    path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    query = environ.get("QUERY_STRING", "")
    # PEP 3333: strings of environ hold bytes, as ISO-8859-1.
    encoded = quote(path.encode("iso-8859-1"), _PATH_CHARACTERS) or "/"
    return f"{encoded}?{query}" if query else encoded


def asks_for_websocket(environ: Mapping[str, Any]) -> bool:
    """Whether a request asks to become a WebSocket, correctly or not (RFC 6455, 4.2.1)."""
    headers = Headers.from_valid_items(
        [
            (name, environ[key])
            for name, key in (("Connection", "HTTP_CONNECTION"), ("Upgrade", "HTTP_UPGRADE"))
            if key in environ
        ]
    )
    try:
        check_upgrade(headers)
    except Exception:
        return False
    return True


def peer_address(environ: Mapping[str, Any]) -> Any:
    """Return the client's address: ``(host, port)``, for a Unix socket ``""``."""
    host, port = environ.get("REMOTE_ADDR", ""), str(environ.get("REMOTE_PORT", ""))
    return (host, int(port) if port.isdigit() else 0) if host else ""
