"""The server's half of the opening handshake (RFC 6455, section 4.2)."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

from geventws.core.exceptions import (
    HeaderLineTooLong,
    InvalidHandshake,
    InvalidHeader,
    InvalidHeaderValue,
    InvalidMessage,
    InvalidMethod,
    InvalidOrigin,
    InvalidProtocol,
    InvalidUpgrade,
    NegotiationError,
    RequestLineTooLong,
    TooManyHeaders,
)
from geventws.core.grammar import (
    accept_key,
    build_extension,
    check_upgrade,
    parse_extension,
    parse_host,
    parse_subprotocol,
    single_value,
    validate_subprotocols,
)
from geventws.core.headers import Headers
from geventws.core.http11 import Request, Response

if TYPE_CHECKING:
    from geventws.core.extensions import Extension, ExtensionParameters, ServerExtensionFactory

__all__ = ["Accepted", "ServerHandshake", "log_label", "plain_response"]

# Chooses one of the subprotocols that a client offers, or None.
SelectSubprotocol = Callable[[Sequence[str]], str | None]


class Accepted(NamedTuple):
    """A request that was accepted."""

    # The response, with status 101.
    response: Response
    # The extensions in use, in the order of the response.
    extensions: list[Extension]
    subprotocol: str | None


class ServerHandshake:
    """Checks the requests of opening handshakes and makes the responses.

    It holds the settings of a server and nothing of a connection: one serves them all.

    Args:
        origins: acceptable values of the ``Origin`` header: strings, compiled regular
            expressions that must match the whole of it, and None if the header may be
            missing. Without a list every origin is acceptable.
        extensions: extensions to accept, the preferred first.
        subprotocols: subprotocols to accept, the preferred first. With a list, a client
            that offers none of them is refused.
        select_subprotocol: chooses instead, given what the client offers; it returns one of
            them, or None to go on without, or raises `NegotiationError` to refuse. `accept`
            takes another for a single request.

    Raises:
        TypeError: ``origins`` or ``subprotocols`` is not a list.
        ValueError: a subprotocol is not a token.
    """

    __slots__ = ("_extensions", "_origins", "_select_subprotocol", "_subprotocols")

    def __init__(
        self,
        *,
        origins: Sequence[str | re.Pattern[str] | None] | None = None,
        extensions: Sequence[ServerExtensionFactory] | None = None,
        subprotocols: Sequence[str] | None = None,
        select_subprotocol: SelectSubprotocol | None = None,
    ) -> None:
        # A string is a sequence of strings, too: no origin would ever be in it.
        if isinstance(origins, str):
            raise TypeError("origins must be a list, not a str")
        if subprotocols is not None:
            validate_subprotocols(subprotocols)
        self._origins = origins
        self._extensions = extensions or ()
        self._subprotocols = subprotocols or ()
        self._select_subprotocol = select_subprotocol

    def accept(
        self,
        request: Request,
        *,
        date: str,
        server_header: str | None = None,
        select_subprotocol: SelectSubprotocol | None = None,
    ) -> Accepted:
        """Check a request and make the response that accepts it.

        Args:
            request: the request.
            date: value of the ``Date`` header.
            server_header: value of the ``Server`` header; None leaves it out.
            select_subprotocol: chooses the subprotocol of this request, see above.

        Raises:
            InvalidHandshake: the request must be refused; `refuse` makes the response.
        """
        negotiated, extensions, subprotocol = self.process_request(request, select_subprotocol)
        headers = Headers([("Date", date)])
        headers.update(negotiated)
        if server_header is not None:
            headers["Server"] = server_header
        response = Response(101, "Switching Protocols", headers)
        return Accepted(response, extensions, subprotocol)

    def process_request(
        self, request: Request, select_subprotocol: SelectSubprotocol | None = None
    ) -> tuple[Headers, list[Extension], str | None]:
        """Check a request and negotiate what it offers (RFC 6455, section 4.2.1 and 4.2.2).

        Returns:
            The headers of the response that belong to the handshake, the extensions in use,
            and the subprotocol or None.

        Raises:
            InvalidHandshake: the request must be refused.
        """
        # 4.2.1: "An HTTP/1.1 or higher GET request".
        if request.method != "GET":
            raise InvalidMethod(request.method)
        if request.protocol != "HTTP/1.1":
            raise InvalidProtocol(request.protocol)
        headers = request.headers
        # RFC 9112, section 3.2: "A server MUST respond with a 400 (Bad Request) status code
        # to any HTTP/1.1 request message that lacks a Host header field and to any request
        # message that contains more than one Host header field line or a Host header field
        # with an invalid field value."
        parse_host(single_value(headers, "Host"))
        check_upgrade(headers)
        key = _check_key(headers)
        # 4.2.1: "A |Sec-WebSocket-Version| header field, with a value of 13."
        version = single_value(headers, "Sec-WebSocket-Version")
        if version != "13":
            raise InvalidHeaderValue("Sec-WebSocket-Version", version)
        self._check_origin(headers)
        return self._negotiate(key, headers, select_subprotocol or self._select_subprotocol)

    def _negotiate(
        self, key: str, headers: Headers, select_subprotocol: SelectSubprotocol | None
    ) -> tuple[Headers, list[Extension], str | None]:
        answers, extensions = self._accept_extensions(headers)
        subprotocol = self._accept_subprotocol(headers, select_subprotocol)
        negotiated = Headers.from_valid_items(
            [
                ("Upgrade", "websocket"),
                ("Connection", "Upgrade"),
                ("Sec-WebSocket-Accept", accept_key(key)),
            ]
        )
        if answers:
            negotiated["Sec-WebSocket-Extensions"] = build_extension(answers)
        if subprotocol is not None:
            negotiated["Sec-WebSocket-Protocol"] = subprotocol
        return negotiated, extensions, subprotocol

    def _check_origin(self, headers: Headers) -> None:
        """Check the origin, which keeps other web sites' scripts away (RFC 6455, 10.2)."""
        # RFC 6454, section 7.3: "the user agent MUST NOT include more than one Origin header
        # field in any HTTP request."
        origin = single_value(headers, "Origin") if "Origin" in headers else None
        if self._origins is None:
            return
        for acceptable in self._origins:
            if isinstance(acceptable, re.Pattern):
                if origin is not None and acceptable.fullmatch(origin):
                    return
            elif origin == acceptable:
                return
        raise InvalidOrigin(origin)

    def _accept_extensions(
        self, headers: Headers
    ) -> tuple[list[tuple[str, ExtensionParameters]], list[Extension]]:
        """Return what to answer, and the extensions in use."""
        answers: list[tuple[str, ExtensionParameters]] = []
        accepted: list[Extension] = []
        for value in headers.get_all("Sec-WebSocket-Extensions"):
            # 9.1: malformed extensions fail the handshake even where none is supported.
            for name, params in parse_extension(value):
                for factory in self._extensions:
                    if factory.name != name:
                        continue
                    try:
                        answer, extension = factory.process_request_params(params, accepted)
                    except NegotiationError:
                        continue
                    answers.append((name, answer))
                    accepted.append(extension)
                    break
        return answers, accepted

    def _accept_subprotocol(
        self, headers: Headers, select_subprotocol: SelectSubprotocol | None
    ) -> str | None:
        offered = [
            subprotocol
            for value in headers.get_all("Sec-WebSocket-Protocol")
            for subprotocol in parse_subprotocol(value)
        ]
        if select_subprotocol is not None:
            selected = select_subprotocol(offered)
            # 4.2.2: "The value chosen MUST be derived from the client's handshake".
            if selected is not None and selected not in offered:
                raise ValueError(
                    f"select_subprotocol returned {selected!r}; return None or one of {offered}"
                )
            return selected
        if not self._subprotocols:
            return None
        if not offered:
            raise NegotiationError("missing subprotocol")
        for subprotocol in self._subprotocols:
            if subprotocol in offered:
                return subprotocol
        expected = ", ".join(self._subprotocols)
        raise NegotiationError(f"invalid subprotocol; expected one of {expected}")

    @staticmethod
    def refuse(exc: Exception, *, date: str, server_header: str | None = None) -> Response:
        """Make the response that refuses a request.

        Args:
            exc: why. Its text, and its causes', become the body, unless it is not an
                `InvalidHandshake`: then the client learns nothing but a 500.
            date: value of the ``Date`` header.
            server_header: value of the ``Server`` header; None leaves it out.
        """
        refusal = _refusal(exc)
        if isinstance(exc, InvalidHandshake):
            text = f"Failed to open a WebSocket connection: {_with_causes(exc)}.\n"
        else:
            text = "Failed to open a WebSocket connection.\nSee server log for more information.\n"
        response = plain_response(refusal.status, text + refusal.hint, date=date)
        response.headers.update(refusal.headers)
        if server_header is not None:
            response.headers["Server"] = server_header
        return response


def _check_key(headers: Headers) -> str:
    """Return the key."""
    # 4.2.1: "A |Sec-WebSocket-Key| header field with a base64-encoded value that, when
    # decoded, is 16 bytes in length."
    key = single_value(headers, "Sec-WebSocket-Key")
    try:
        size = len(base64.b64decode(key, validate=True))
    except ValueError as exc:
        raise InvalidHeaderValue("Sec-WebSocket-Key", key) from exc
    if size != 16:
        raise InvalidHeaderValue("Sec-WebSocket-Key", key)
    return key


class _Refusal(NamedTuple):
    """How a request is refused."""

    # What the log says of it, behind "! ".
    label: str
    status: int
    headers: dict[str, str] = {}
    # What the body adds to the reason.
    hint: str = ""


_UPGRADE_HINT = (
    "\nYou cannot access a WebSocket server directly with a browser. You need a WebSocket client.\n"
)

_REFUSALS: dict[type[BaseException], _Refusal] = {
    InvalidMessage: _Refusal("no valid HTTP request", 400),
    RequestLineTooLong: _Refusal("request line too long", 414),
    HeaderLineTooLong: _Refusal("header fields too large", 431),
    TooManyHeaders: _Refusal("header fields too large", 431),
    InvalidMethod: _Refusal("invalid method", 405, {"Allow": "GET"}),
    InvalidProtocol: _Refusal("invalid protocol", 505),
    InvalidUpgrade: _Refusal("invalid upgrade", 426, {"Upgrade": "websocket"}, _UPGRADE_HINT),
    InvalidOrigin: _Refusal("invalid origin", 403),
    InvalidHandshake: _Refusal("invalid handshake", 400),
    EOFError: _Refusal("no valid HTTP request", 500),
    BaseException: _Refusal("invalid handshake", 500),
}

# 4.2.2: "If this version does not match a version understood by the server, the server MUST
# abort the WebSocket handshake described in this section and instead send an appropriate
# HTTP error code (such as 426 Upgrade Required) and a |Sec-WebSocket-Version| header field
# indicating the version(s) the server is capable of understanding." RFC 9110, section
# 15.5.22 wants an Upgrade header with each 426.
_WRONG_VERSION = _Refusal(
    "invalid handshake", 426, {"Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
)


def _refusal(exc: BaseException) -> _Refusal:
    if isinstance(exc, InvalidHeader) and exc.name == "Sec-WebSocket-Version":
        return _WRONG_VERSION
    return next(_REFUSALS[cls] for cls in type(exc).__mro__ if cls in _REFUSALS)


def _with_causes(exc: BaseException) -> str:
    """Return the text of an exception, and those of its causes."""
    texts = [str(exc)]
    while exc.__cause__ is not None:
        exc = exc.__cause__
        texts.append(str(exc))
    return "; ".join(texts)


def log_label(exc: BaseException) -> str:
    """Return what the log says, behind ``!``, of why a request was not accepted."""
    return _refusal(exc).label


def plain_response(
    status: int | HTTPStatus, text: str, *, date: str, server_header: str | None = None
) -> Response:
    """Make a response with a plain text, after which the connection is closed.

    Args:
        status: HTTP status code.
        text: the body, sent as UTF-8.
        date: value of the ``Date`` header.
        server_header: value of the ``Server`` header; None leaves it out.

    Raises:
        ValueError: the status code is not registered.
    """
    status = HTTPStatus(status)
    body = text.encode()
    headers = Headers(
        [
            ("Date", date),
            ("Connection", "close"),
            ("Content-Length", str(len(body))),
            ("Content-Type", "text/plain; charset=utf-8"),
        ]
    )
    if server_header is not None:
        headers["Server"] = server_header
    return Response(status.value, status.phrase, headers, body)
