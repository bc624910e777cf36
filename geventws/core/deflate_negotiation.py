"""How both sides agree on permessage-deflate and its parameters (RFC 7692, section 7.1)."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, Literal

from geventws.core.deflate import (
    MAX_WINDOW_BITS,
    MIN_OWN_WINDOW_BITS,
    MIN_WINDOW_BITS,
    PerMessageDeflate,
    check_window_bits,
)
from geventws.core.deflate_parameters import DeflateParameters
from geventws.core.exceptions import NegotiationError
from geventws.core.extensions import (
    ClientExtensionFactory,
    Extension,
    ExtensionParameters,
    ServerExtensionFactory,
)

__all__ = [
    "ClientPerMessageDeflateFactory",
    "ServerPerMessageDeflateFactory",
    "enable_client_permessage_deflate",
    "enable_server_permessage_deflate",
]

# With these a context costs about 28 KiB to compress and 9 KiB to decompress, instead of 260
# and 40, and still compresses messages of a few KiB nearly as well.
DEFAULT_WINDOW_BITS = 12
DEFAULT_COMPRESS_SETTINGS = {"memLevel": 5}


class _PerMessageDeflateFactory:
    """What the factories of both sides share."""

    __slots__ = ("compress_settings", "parameters", "threshold")

    name = PerMessageDeflate.name

    def __init__(
        self,
        parameters: DeflateParameters,
        compress_settings: dict[str, Any] | None,
        threshold: int,
    ) -> None:
        if compress_settings is not None:
            if "wbits" in compress_settings:
                raise ValueError(
                    "compress_settings must not include wbits, set server_max_window_bits in a "
                    "server or client_max_window_bits in a client instead"
                )
            # Settings that zlib refuses fail here, not with a connection's first message.
            zlib.compressobj(wbits=-MIN_OWN_WINDOW_BITS, **compress_settings)
        # What this side asks for.
        self.parameters = parameters
        # Passed on to each extension made.
        self.compress_settings = compress_settings
        self.threshold = threshold

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value}" for name, value in self.parameters._asdict().items())
        return (
            f"{type(self).__name__}({settings}, compress_settings={self.compress_settings}, "
            f"threshold={self.threshold})"
        )

    def _check_rsv1(self, accepted_extensions: Sequence[Extension]) -> None:
        """Check that no extension accepted before uses RSV1, this one itself included."""
        for other in accepted_extensions:
            if other.name == self.name:
                raise NegotiationError(f"duplicate {self.name}")
            if other.rsv1:
                raise NegotiationError(f"{self.name} and {other.name} both use RSV1")


class ClientPerMessageDeflateFactory(_PerMessageDeflateFactory, ClientExtensionFactory):
    """How a client negotiates permessage-deflate.

    Args:
        server_no_context_takeover: demand that the server begin each message without a
            history.
        client_no_context_takeover: begin each message without a history.
        server_max_window_bits: demand that the server's window have at most ``2 ** bits``
            bytes: 8 to 15, or None for no demand.
        client_max_window_bits: use a window of at most ``2 ** bits`` bytes: 9 to 15; True
            to let the server choose; None if the server may not choose.
        compress_settings: more keyword arguments for `zlib.compressobj`, all but ``wbits``.
        threshold: a message whose first frame has fewer bytes is sent uncompressed; 0
            compresses all.

    Raises:
        ValueError: a window size is out of its range, or a compress setting is invalid.
    """

    __slots__ = ()

    def __init__(
        self,
        server_no_context_takeover: bool = False,
        client_no_context_takeover: bool = False,
        server_max_window_bits: int | None = None,
        client_max_window_bits: int | Literal[True] | None = True,
        compress_settings: dict[str, Any] | None = None,
        threshold: int = 0,
    ) -> None:
        if server_max_window_bits is not None:
            check_window_bits("server_max_window_bits", server_max_window_bits, MIN_WINDOW_BITS)
        if client_max_window_bits is not None and client_max_window_bits is not True:
            check_window_bits("client_max_window_bits", client_max_window_bits, MIN_OWN_WINDOW_BITS)
        parameters = DeflateParameters(
            server_no_context_takeover,
            client_no_context_takeover,
            server_max_window_bits,
            client_max_window_bits,
        )
        super().__init__(parameters, compress_settings, threshold)

    def get_request_params(self) -> ExtensionParameters:
        return self.parameters.serialize()

    def process_response_params(
        self, params: ExtensionParameters, accepted_extensions: Sequence[Extension]
    ) -> PerMessageDeflate:
        self._check_rsv1(accepted_extensions)
        offer, answer = self.parameters, DeflateParameters.parse(params, is_offer=False)
        # 7.1.1.1: "A server accepts an extension negotiation offer that includes the
        # "server_no_context_takeover" extension parameter by including [it] in the [...]
        # response".
        if offer.server_no_context_takeover and not answer.server_no_context_takeover:
            raise NegotiationError("expected server_no_context_takeover")
        return PerMessageDeflate(
            answer.server_no_context_takeover,
            # 7.1.1.2: offered, it is "a hint that even if the server doesn't include [it] in
            # the [...] response [...], the client is not going to use context takeover".
            answer.client_no_context_takeover or offer.client_no_context_takeover,
            self._negotiate_server_window(offer.server_max_window_bits, answer),
            self._negotiate_client_window(offer.client_max_window_bits, answer),
            self.compress_settings,
            self.threshold,
        )

    def _negotiate_server_window(self, offered: int | None, answer: DeflateParameters) -> int:
        answered = answer.server_max_window_bits
        # 7.1.2.1: "A server accepts an extension negotiation offer with this parameter by
        # including the "server_max_window_bits" extension parameter in the [...] response
        # [...] with the same or smaller value as the offer."
        if offered is not None:
            if answered is None:
                raise NegotiationError("expected server_max_window_bits")
            if answered > offered:
                raise NegotiationError("unsupported server_max_window_bits")
        return answered or MAX_WINDOW_BITS

    def _negotiate_client_window(
        self, offered: int | Literal[True] | None, answer: DeflateParameters
    ) -> int:
        answered = answer.client_max_window_bits
        limit = MAX_WINDOW_BITS if offered is None or offered is True else offered
        if answered is None:
            # 7.1.2.2: offered with a value, it is a hint that the client keeps to it anyway.
            return limit
        # 7.1.2.2: "If a received extension negotiation offer doesn't have the
        # "client_max_window_bits" extension parameter, the corresponding [...] response [...]
        # MUST NOT include the "client_max_window_bits" extension parameter."
        if offered is None:
            raise NegotiationError("unexpected client_max_window_bits")
        if not MIN_OWN_WINDOW_BITS <= answered <= limit:
            raise NegotiationError(f"unsupported client_max_window_bits: {answered}")
        return answered


class ServerPerMessageDeflateFactory(_PerMessageDeflateFactory, ServerExtensionFactory):
    """How a server negotiates permessage-deflate.

    Args:
        server_no_context_takeover: begin each message without a history.
        client_no_context_takeover: demand that clients begin each message without a history.
        server_max_window_bits: use a window of at most ``2 ** bits`` bytes: 9 to 15, or
            None for what the client wants.
        client_max_window_bits: ask that the client's window have at most ``2 ** bits``
            bytes: 8 to 15, or None for what the client wants.
        compress_settings: more keyword arguments for `zlib.compressobj`, all but ``wbits``.
        require_client_max_window_bits: do without compression if a client does not let
            the server choose its window; by default a window of 32 KiB is accepted then.
        threshold: a message whose first frame has fewer bytes is sent uncompressed; 0
            compresses all.

    Raises:
        ValueError: a window size is out of its range, a compress setting is invalid, or
            ``client_max_window_bits`` is required and not given.
    """

    __slots__ = ("require_client_max_window_bits",)

    def __init__(
        self,
        server_no_context_takeover: bool = False,
        client_no_context_takeover: bool = False,
        server_max_window_bits: int | None = None,
        client_max_window_bits: int | None = None,
        compress_settings: dict[str, Any] | None = None,
        require_client_max_window_bits: bool = False,
        threshold: int = 0,
    ) -> None:
        if server_max_window_bits is not None:
            check_window_bits("server_max_window_bits", server_max_window_bits, MIN_OWN_WINDOW_BITS)
        if client_max_window_bits is not None:
            check_window_bits("client_max_window_bits", client_max_window_bits, MIN_WINDOW_BITS)
        elif require_client_max_window_bits:
            raise ValueError("require_client_max_window_bits needs client_max_window_bits, set it")
        parameters = DeflateParameters(
            server_no_context_takeover,
            client_no_context_takeover,
            server_max_window_bits,
            client_max_window_bits,
        )
        super().__init__(parameters, compress_settings, threshold)
        # Whether to decline an offer that does not let this side have its way.
        self.require_client_max_window_bits = require_client_max_window_bits

    def process_request_params(
        self, params: ExtensionParameters, accepted_extensions: Sequence[Extension]
    ) -> tuple[ExtensionParameters, PerMessageDeflate]:
        self._check_rsv1(accepted_extensions)
        offer = DeflateParameters.parse(params, is_offer=True)
        config = self.parameters
        answer = DeflateParameters(
            # 7.1.1: each side may demand, and the answer says what came of it.
            offer.server_no_context_takeover or config.server_no_context_takeover,
            offer.client_no_context_takeover or config.client_no_context_takeover,
            self._negotiate_server_window(offer.server_max_window_bits),
            self._negotiate_client_window(offer.client_max_window_bits),
        )
        return answer.serialize(), PerMessageDeflate(
            answer.client_no_context_takeover,
            answer.server_no_context_takeover,
            answer.client_max_window_bits or MAX_WINDOW_BITS,
            answer.server_max_window_bits or MAX_WINDOW_BITS,
            self.compress_settings,
            self.threshold,
        )

    def _negotiate_server_window(self, offered: int | None) -> int | None:
        wanted = [bits for bits in (offered, self.parameters.server_max_window_bits) if bits]
        # 7.1.2.1: "A server declines an extension negotiation offer with this parameter if
        # the server doesn't support it."
        if wanted and min(wanted) < MIN_OWN_WINDOW_BITS:
            raise NegotiationError(f"unsupported server_max_window_bits: {min(wanted)}")
        return min(wanted, default=None)

    def _negotiate_client_window(self, offered: int | Literal[True] | None) -> int | None:
        wanted = self.parameters.client_max_window_bits
        # 7.1.2.2: "If a received extension negotiation offer doesn't have the
        # "client_max_window_bits" extension parameter, the corresponding [...] response [...]
        # MUST NOT include the "client_max_window_bits" extension parameter."
        if offered is None:
            if self.require_client_max_window_bits:
                raise NegotiationError("required client_max_window_bits")
            return None
        if offered is True:
            return wanted
        return offered if wanted is None else min(offered, wanted)


def enable_client_permessage_deflate(
    extensions: Sequence[ClientExtensionFactory] | None, threshold: int = 0
) -> list[ClientExtensionFactory]:
    """Add permessage-deflate with the defaults of `geventws.connect`, unless it is there.

    Args:
        extensions: the client's extension factories, or None.
        threshold: a message whose first frame has fewer bytes is sent uncompressed; 0
            compresses all.

    Returns:
        A new list.
    """
    factories = list(extensions or ())
    if all(factory.name != PerMessageDeflate.name for factory in factories):
        settings = DEFAULT_COMPRESS_SETTINGS
        factories.append(
            ClientPerMessageDeflateFactory(compress_settings=settings, threshold=threshold)
        )
    return factories


def enable_server_permessage_deflate(
    extensions: Sequence[ServerExtensionFactory] | None, threshold: int = 0
) -> list[ServerExtensionFactory]:
    """Add permessage-deflate with the defaults of `geventws.serve`, unless it is there.

    Args:
        extensions: the server's extension factories, or None.
        threshold: a message whose first frame has fewer bytes is sent uncompressed; 0
            compresses all.

    Returns:
        A new list.
    """
    factories = list(extensions or ())
    if all(factory.name != PerMessageDeflate.name for factory in factories):
        factories.append(
            ServerPerMessageDeflateFactory(
                server_max_window_bits=DEFAULT_WINDOW_BITS,
                client_max_window_bits=DEFAULT_WINDOW_BITS,
                compress_settings=DEFAULT_COMPRESS_SETTINGS,
                threshold=threshold,
            )
        )
    return factories
