"""The client's end of a connection."""

from __future__ import annotations

from typing import Any

from geventws.core.client_handshake import ClientHandshake
from geventws.core.exceptions import InvalidMessage
from geventws.core.headers import HeadersLike
from geventws.core.http11 import Response, ResponseReader
from geventws.net.dialing import Stage
from geventws.net.opening import OpeningConnection

__all__ = ["ClientConnection"]


class ClientConnection(OpeningConnection):
    """A WebSocket connection of a client; made by `geventws.connect`."""

    __slots__ = ()

    def _open(
        self,
        handshake: ClientHandshake,
        additional_headers: HeadersLike | None,
        user_agent_header: str | None,
    ) -> None:
        """Do the opening handshake (RFC 6455, section 4.1).

        Raises:
            InvalidHandshake: the server did not accept.
            OSError: the connection is lost.
        """
        request = handshake.request(additional_headers, user_agent_header)
        data = request.serialize()
        self._request = data
        self._note_request(">", request)
        self._write_head(data)
        self._emit()
        response, reader = self._receive_response()
        self._response = reader.head if response.status_code == 101 else response
        self._note_response("<", response)
        extensions, subprotocol = handshake.process_response(response)
        self._protocol.receive_data(reader.leftover)
        self._protocol.open(extensions, subprotocol)
        self._start()
        self._emit()

    def _open_within(self, stage: Stage, *args: Any) -> None:
        """Do the TLS and the opening handshake, telling the deadline which it is."""
        try:
            stage.doing = "waiting for TLS handshake"
            self._shake_tls()
            stage.doing = "waiting for handshake response"
            self._open(*args)
        except BaseException:
            self._close_opening(linger=False)
            raise

    def _receive_response(self) -> tuple[Response, ResponseReader]:
        reader = ResponseReader()
        response = None
        try:
            while response is None:
                response = reader.receive_data(self._receive_opening())
        except EOFError:
            try:
                response = reader.receive_eof()
            except EOFError as exc:
                raise InvalidMessage("did not receive a valid HTTP response") from exc
        return response, reader
