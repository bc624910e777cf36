"""The four parameters of permessage-deflate, read and written (RFC 7692, section 7.1)."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from geventws.core.deflate import MAX_WINDOW_BITS, MIN_WINDOW_BITS
from geventws.core.exceptions import (
    DuplicateParameter,
    InvalidParameterName,
    InvalidParameterValue,
)
from geventws.core.extensions import ExtensionParameters

__all__ = ["DeflateParameters"]

# 7.1.2: "a decimal integer value without leading zeroes between 8 to 15, inclusive".
WINDOW_BITS = {str(bits): bits for bits in range(MIN_WINDOW_BITS, MAX_WINDOW_BITS + 1)}


class DeflateParameters(NamedTuple):
    """The four parameters: of an offer, of an answer, or what a factory asks for.

    A window size of None stands for an absent parameter; ``client_max_window_bits`` is True
    where an offer has it without a value.
    """

    server_no_context_takeover: bool = False
    client_no_context_takeover: bool = False
    server_max_window_bits: int | None = None
    client_max_window_bits: int | Literal[True] | None = None

    @classmethod
    def parse(cls, params: ExtensionParameters, *, is_offer: bool) -> DeflateParameters:
        """Read the parameters of an offer or of an answer.

        7: an offer must be declined, and the connection failed for an answer, that has a
        parameter "not defined", one "with an invalid value", or several "with the same name".

        Raises:
            InvalidParameterName: a parameter is none of the four.
            DuplicateParameter: a parameter is there twice.
            InvalidParameterValue: a value is missing, wrong, or where none may be.
        """
        found: dict[str, Any] = {}
        for name, value in params:
            if name not in cls._fields:
                raise InvalidParameterName(name)
            if name in found:
                raise DuplicateParameter(name)
            found[name] = _parse_value(name, value, is_offer)
        return cls(**found)

    def serialize(self) -> ExtensionParameters:
        """Return the parameters as the ``Sec-WebSocket-Extensions`` header has them."""
        return [
            (name, None if value is True else str(value))
            for name, value in zip(self._fields, self, strict=True)
            if value
        ]


def _parse_value(name: str, value: str | None, is_offer: bool) -> int:
    """Return a window size, or True where there is no value and need be none."""
    if name.endswith("_no_context_takeover"):
        if value is None:
            return True
    # 7.1.2.2: in an offer, "this parameter has no value or a decimal integer value".
    elif value is None and name == "client_max_window_bits" and is_offer:
        return True
    elif value in WINDOW_BITS:
        return WINDOW_BITS[value]
    raise InvalidParameterValue(name, value)
