"""The client's half of the opening handshake (RFC 6455, section 4.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from geventws.core.exceptions import (
    InvalidHeader,
    InvalidHeaderValue,
    InvalidStatus,
    NegotiationError,
)
from geventws.core.grammar import (
    accept_key,
    build_authorization_basic,
    build_extension,
    build_host,
    build_subprotocol,
    check_upgrade,
    generate_key,
    parse_extension,
    parse_subprotocol,
    single_value,
    validate_subprotocols,
)
from geventws.core.headers import Headers, HeadersLike
from geventws.core.http11 import Request, Response

if TYPE_CHECKING:
    from geventws.core.extensions import ClientExtensionFactory, Extension, ExtensionParameters
    from geventws.core.uri import WebSocketURI

__all__ = ["ClientHandshake"]


class ClientHandshake:
    """Makes the request of an opening handshake and checks the response to it.

    Args:
        uri: what to connect to.
        origin: value of the ``Origin`` header; None leaves it out.
        extensions: extensions to offer, the preferred first.
        subprotocols: subprotocols to offer, the preferred first.

    Raises:
        TypeError: ``subprotocols`` is not a list.
        ValueError: a subprotocol is not a token.
    """

    __slots__ = ("_extensions", "_origin", "_subprotocols", "_uri", "key")

    def __init__(
        self,
        uri: WebSocketURI,
        *,
        origin: str | None = None,
        extensions: Sequence[ClientExtensionFactory] | None = None,
        subprotocols: Sequence[str] | None = None,
    ) -> None:
        if subprotocols is not None:
            validate_subprotocols(subprotocols)
        self._uri = uri
        self._origin = origin
        self._extensions = extensions or ()
        self._subprotocols = subprotocols or ()
        # 4.1: "The nonce MUST be selected randomly for each connection."
        self.key = generate_key()

    def request(
        self,
        additional_headers: HeadersLike | None = None,
        user_agent_header: str | None = None,
    ) -> Request:
        """Make the request.

        Args:
            additional_headers: headers to add. ``Host``, ``Authorization``, ``Origin``, and
                ``User-Agent`` replace those that the request would have otherwise.
            user_agent_header: value of the ``User-Agent`` header; None leaves it out.

        Raises:
            ValueError: a header has characters that HTTP does not allow.
            MultipleValuesError: a header that can only be there once is given twice.
        """
        additional = Headers(additional_headers or ())
        headers = Headers(self._replaceable_headers(additional))
        headers["Upgrade"] = "websocket"
        headers["Connection"] = "Upgrade"
        headers["Sec-WebSocket-Key"] = self.key
        headers["Sec-WebSocket-Version"] = "13"
        if self._extensions:
            headers["Sec-WebSocket-Extensions"] = build_extension(
                (factory.name, factory.get_request_params()) for factory in self._extensions
            )
        if self._subprotocols:
            headers["Sec-WebSocket-Protocol"] = build_subprotocol(self._subprotocols)
        headers.update(additional)
        if user_agent_header is not None:
            headers.setdefault("User-Agent", user_agent_header)
        return Request(self._uri.resource_name, headers)

    def _replaceable_headers(self, additional: Headers) -> list[tuple[str, str]]:
        """Return the headers that a user may replace; take them out of ``additional``."""
        uri = self._uri
        user_info = uri.user_info
        ours = {
            "Host": build_host(uri.host, uri.port, uri.secure),
            "Authorization": build_authorization_basic(*user_info) if user_info else None,
            "Origin": self._origin,
        }
        values = [(name, additional.pop(name, value)) for name, value in ours.items()]
        return [(name, value) for name, value in values if value is not None]

    def process_response(self, response: Response) -> tuple[list[Extension], str | None]:
        """Check the response.

        Returns:
            The extensions in use, in the order of the response, and the subprotocol or None.

        Raises:
            InvalidStatus: the server answered with another status than 101.
            InvalidHandshake: any other reason why this response must not be accepted.
        """
        if response.status_code != 101:
            raise InvalidStatus(response)
        headers = response.headers
        check_upgrade(headers)
        # 4.1: "a value other than the base64-encoded SHA-1 of the concatenation of the
        # |Sec-WebSocket-Key| [...] the client MUST _Fail the WebSocket Connection_."
        accept = single_value(headers, "Sec-WebSocket-Accept")
        if accept != accept_key(self.key):
            raise InvalidHeaderValue("Sec-WebSocket-Accept", accept)
        return self._accept_extensions(headers), self._accept_subprotocol(headers)

    def _accept_extensions(self, headers: Headers) -> list[Extension]:
        accepted: list[Extension] = []
        for value in headers.get_all("Sec-WebSocket-Extensions"):
            # 4.1: "this header field indicates the use of an extension that was not present
            # in the client's handshake [...], the client MUST _Fail the WebSocket
            # Connection_."
            if not self._extensions:
                raise NegotiationError("no extensions supported")
            for name, params in parse_extension(value):
                accepted.append(self._accept_extension(name, params, accepted))
        return accepted

    def _accept_extension(
        self, name: str, params: ExtensionParameters, accepted: list[Extension]
    ) -> Extension:
        declined: NegotiationError | None = None
        for factory in self._extensions:
            if factory.name != name:
                continue
            try:
                return factory.process_response_params(params, accepted)
            except NegotiationError as exc:
                # Another factory may offer the same extension with other parameters.
                declined = exc
        raise NegotiationError(
            f"Unsupported extension: name = {name}, params = {params}"
        ) from declined

    def _accept_subprotocol(self, headers: Headers) -> str | None:
        values = headers.get_all("Sec-WebSocket-Protocol")
        if not values:
            return None
        # 4.1: "this header field indicates the use of a subprotocol that was not present in
        # the client's handshake [...], the client MUST _Fail the WebSocket Connection_."
        if not self._subprotocols:
            raise NegotiationError("no subprotocols supported")
        chosen = [subprotocol for value in values for subprotocol in parse_subprotocol(value)]
        if len(chosen) > 1:
            raise InvalidHeader("Sec-WebSocket-Protocol", f"multiple values: {', '.join(chosen)}")
        if chosen[0] not in self._subprotocols:
            raise NegotiationError(f"unsupported subprotocol: {chosen[0]}")
        return chosen[0]
