"""Redirects of the opening handshake, and what they must not give away (RFC 9110, 15.4)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Self
from urllib.parse import urljoin

from geventws.core.escaping import escape
from geventws.core.exceptions import InvalidURI, SecurityError
from geventws.core.headers import Headers, HeadersLike
from geventws.core.http11 import Response
from geventws.core.uri import WebSocketURI, parse_uri

__all__ = ["MAX_REDIRECTS", "Target", "location_of"]

# Connections for one `connect`: more than any sane chain of redirects, and the end of a loop.
MAX_REDIRECTS = int(os.environ.get("GEVENTWS_MAX_REDIRECTS", "10"))

REDIRECTS = frozenset({300, 301, 302, 303, 307, 308})

# What the user meant for one origin only.
_PRIVATE_HEADERS = frozenset({"authorization", "cookie", "host", "proxy-authorization"})


def location_of(response: Response) -> str | None:
    """Return where a response redirects to; None if it does not."""
    if response.status_code not in REDIRECTS:
        return None
    locations = response.headers.get_all("Location")
    return locations[0] if len(locations) == 1 else None


@dataclass(frozen=True, slots=True)
class Target:
    """Where an opening handshake goes, and what it takes along; make one with `parse`.

    Attributes:
        text: the URI as it was written.
        uri: the URI in parts.
        headers: headers to add to the request.
    """

    text: str
    uri: WebSocketURI
    headers: Headers

    @classmethod
    def parse(cls, text: str, headers: HeadersLike = ()) -> Self:
        """Make a target.

        Raises:
            InvalidURI: this is not a WebSocket URI.
            ValueError: a header has characters that HTTP does not allow.
        """
        return cls(text, parse_uri(text), Headers(headers))

    def same_origin(self, other: Target) -> bool:
        """Whether both lead to the same server (RFC 6454, section 4)."""
        return self._origin == other._origin

    @property
    def _origin(self) -> tuple[bool, str, int]:
        return self.uri.secure, self.uri.host, self.uri.port

    def redirect(self, location: str) -> Target:
        """Return the target that a ``Location`` header leads to.

        Raises:
            InvalidURI: it is not a WebSocket URI.
            SecurityError: it would give up TLS.
        """
        try:
            text = urljoin(self.text, location)
        except ValueError as exc:
            raise InvalidURI(location, str(exc)) from exc
        target = Target.parse(text, self.headers)
        if self.uri.secure and not target.uri.secure:
            raise SecurityError(f"cannot follow redirect to non-secure URI {escape(text)}")
        if not self.same_origin(target):
            # Who redirects chooses who gets the request: not with what this origin is owed.
            for name in _PRIVATE_HEADERS:
                target.headers.pop(name, None)
        return target
