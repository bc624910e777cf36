"""What an extension is, and how one is negotiated (RFC 6455, section 9).

An extension changes frames on their way out and back on their way in. Three classes make
one: an `Extension`, of which each connection has its own, and two factories that negotiate
it in the opening handshake. The client's factory offers parameters; the server's factory
answers with parameters of its own or declines; then each side has an `Extension`.

Here is one that turns the bytes of a message around, fragment by fragment:

>>> from geventws.core.exceptions import NegotiationError
>>> from geventws.core.frames import Opcode
>>> class Mirror(Extension):
...     name = "x-mirror"
...
...     def encode(self, frame, *, compress=None):
...         # 5.5: control frames belong to the protocol.
...         if frame.opcode >= Opcode.CLOSE:
...             return frame
...         return frame._replace(data=frame.data[::-1])
...
...     def decode(self, frame, *, max_size=None):
...         return self.encode(frame)
>>> class ClientMirrorFactory(ClientExtensionFactory):
...     name = "x-mirror"
...
...     def get_request_params(self):
...         return []
...
...     def process_response_params(self, params, accepted_extensions):
...         if params:
...             raise NegotiationError("x-mirror has no parameters")
...         return Mirror()
>>> class ServerMirrorFactory(ServerExtensionFactory):
...     name = "x-mirror"
...
...     def process_request_params(self, params, accepted_extensions):
...         if params:
...             raise NegotiationError("x-mirror has no parameters")
...         return [], Mirror()

Give the factories to both sides, ``connect(uri, extensions=[ClientMirrorFactory()])`` and
``serve(handler, host, port, extensions=[ServerMirrorFactory()])``.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from geventws.core.frames import Frame

__all__ = ["ClientExtensionFactory", "Extension", "ExtensionParameters", "ServerExtensionFactory"]

# An extension's parameters in the order of the header: a name, and a value or None.
ExtensionParameters = list[tuple[str, str | None]]


class Extension:
    """One extension in use on one connection; make a subclass to write your own.

    On the way out frames pass through the extensions in the order in which the response's
    ``Sec-WebSocket-Extensions`` header lists them, on the way in they pass in the reverse
    order (RFC 6455, section 9.1). Frames come in the order of the wire; control frames may
    come between the fragments of a message.
    """

    __slots__ = ()

    # The name registered for the extension, as both sides' headers spell it.
    name: str

    # 5.2: the reserved bits "MUST be 0 unless an extension is negotiated that defines
    # meanings for non-zero values": set True what yours defines; other bits are refused.
    rsv1 = False
    rsv2 = False
    rsv3 = False

    def decode(self, frame: Frame, *, max_size: int | None = None) -> Frame:
        """Turn a frame that arrived into what the sender's extension was given.

        Args:
            frame: the frame, its payload unmasked. Do not change it: return it, or another.
            max_size: how many bytes the returned frame's payload may have; None for any.
                For a fragment that is what the fragments before it have left.

        Returns:
            The decoded frame, with the reserved bits of this extension cleared.

        Raises:
            ProtocolError: the payload is not what the extension writes; the connection
                is failed with code 1002.
            PayloadTooBig: the decoded payload would be over ``max_size``; the connection
                is failed with code 1009.
        """
        raise NotImplementedError

    def encode(self, frame: Frame, *, compress: bool | None = None) -> Frame:
        """Turn a frame that is to be sent into what goes on the wire.

        Args:
            frame: the frame, its payload not yet masked. Do not change it: return it, or
                another.
            compress: what the caller asks of extensions that compress: True or False, or
                None to leave the choice to the extension. It has a meaning only with the
                first frame of a message. Other extensions ignore it.

        Returns:
            The encoded frame, with the reserved bits that this extension sets.
        """
        raise NotImplementedError

    def begin_shared(self) -> Hashable | None:
        """Prepare for a message that is encoded once and sent over several connections.

        After this call, `encode` must make of a message something that depends on nothing
        that was sent before, and that every connection whose extension returns an equal value
        may send in place of its own.

        Returns:
            What the encoding depends on; None, as here, if it cannot be shared.
        """
        return None


class ClientExtensionFactory:
    """How a client negotiates an extension; make a subclass to write your own.

    One factory serves many connections, so keep nothing of a connection in it.
    """

    __slots__ = ()

    # The name registered for the extension, as the headers spell it.
    name: str

    def get_request_params(self) -> ExtensionParameters:
        """Return the parameters to offer, with None where one has no value."""
        raise NotImplementedError

    def process_response_params(
        self, params: ExtensionParameters, accepted_extensions: Sequence[Extension]
    ) -> Extension:
        """Make the extension from the server's answer.

        Args:
            params: the parameters in the response, in its order and unchecked.
            accepted_extensions: the extensions listed before this one in the response.

        Returns:
            An extension for this connection.

        Raises:
            NegotiationError: the answer does not fit the offer; the opening handshake fails.
        """
        raise NotImplementedError


class ServerExtensionFactory:
    """How a server negotiates an extension; make a subclass to write your own.

    One factory serves many connections, so keep nothing of a connection in it.
    """

    __slots__ = ()

    # The name registered for the extension, as the headers spell it.
    name: str

    def process_request_params(
        self, params: ExtensionParameters, accepted_extensions: Sequence[Extension]
    ) -> tuple[ExtensionParameters, Extension]:
        """Accept or decline one offer of the client.

        A client may offer an extension several times, in the order of its preference (RFC
        6455, section 9.1): this is called for one offer after the other.

        Args:
            params: the parameters in the request, in its order and unchecked.
            accepted_extensions: the extensions accepted so far.

        Returns:
            The parameters to answer, and an extension for this connection.

        Raises:
            NegotiationError: the offer is declined; the opening handshake goes on without.
        """
        raise NotImplementedError
