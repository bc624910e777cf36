"""The four parameters of permessage-deflate: which are well-formed, in offers and answers."""

from __future__ import annotations

import pytest

from geventws.core.deflate_parameters import DeflateParameters
from geventws.core.exceptions import (
    DuplicateParameter,
    InvalidParameterName,
    InvalidParameterValue,
    NegotiationError,
)
from geventws.core.extensions import ExtensionParameters

SERVER_TAKEOVER, CLIENT_TAKEOVER = "server_no_context_takeover", "client_no_context_takeover"
SERVER_BITS, CLIENT_BITS = "server_max_window_bits", "client_max_window_bits"

WELL_FORMED: list[tuple[ExtensionParameters, DeflateParameters]] = [
    ([], DeflateParameters()),
    ([(SERVER_TAKEOVER, None)], DeflateParameters(server_no_context_takeover=True)),
    ([(CLIENT_TAKEOVER, None)], DeflateParameters(client_no_context_takeover=True)),
    (
        [
            (SERVER_TAKEOVER, None),
            (CLIENT_TAKEOVER, None),
            (SERVER_BITS, "9"),
            (CLIENT_BITS, "10"),
        ],
        DeflateParameters(True, True, 9, 10),
    ),
]

for bits in range(8, 16):
    WELL_FORMED += [
        ([(SERVER_BITS, str(bits))], DeflateParameters(server_max_window_bits=bits)),
        ([(CLIENT_BITS, str(bits))], DeflateParameters(client_max_window_bits=bits)),
    ]

VALUELESS: ExtensionParameters = [(CLIENT_BITS, None)]

MALFORMED: list[tuple[ExtensionParameters, NegotiationError]] = [
    ([("max_window_bits", "9")], InvalidParameterName("max_window_bits")),
    ([("Server_Max_Window_Bits", "9")], InvalidParameterName("Server_Max_Window_Bits")),
    ([("serialize", None)], InvalidParameterName("serialize")),
    ([("", None)], InvalidParameterName("")),
    ([(SERVER_TAKEOVER, None)] * 2, DuplicateParameter(SERVER_TAKEOVER)),
    ([(CLIENT_TAKEOVER, None)] * 2, DuplicateParameter(CLIENT_TAKEOVER)),
    ([(SERVER_BITS, "9"), (SERVER_BITS, "9")], DuplicateParameter(SERVER_BITS)),
    ([(CLIENT_BITS, "9"), (CLIENT_BITS, "10")], DuplicateParameter(CLIENT_BITS)),
    ([(SERVER_BITS, None)], InvalidParameterValue(SERVER_BITS, None)),
]
INVALID_VALUES = {
    SERVER_TAKEOVER: ["", "true", "8", "9"],
    CLIENT_TAKEOVER: ["", "true", "8", "9"],
    SERVER_BITS: ["", "0", "7", "16", "08", "+9", "-9", " 9", "9 ", "9.0", "\u0669", "true"],
    CLIENT_BITS: ["", "0", "7", "16", "08", "+9", "-9", " 9", "9 ", "9.0", "\u0669", "true"],
}
for name, values in INVALID_VALUES.items():
    MALFORMED += [([(name, value)], InvalidParameterValue(name, value)) for value in values]


@pytest.mark.parametrize("is_offer", [True, False])
@pytest.mark.parametrize(("params", "parameters"), WELL_FORMED)
def test_well_formed(
    params: ExtensionParameters, parameters: DeflateParameters, is_offer: bool
) -> None:
    assert DeflateParameters.parse(params, is_offer=is_offer) == parameters
    assert parameters.serialize() == params


@pytest.mark.parametrize("is_offer", [True, False])
@pytest.mark.parametrize(("params", "error"), MALFORMED)
def test_malformed(params: ExtensionParameters, error: NegotiationError, is_offer: bool) -> None:
    with pytest.raises(type(error)) as raised:
        DeflateParameters.parse(params, is_offer=is_offer)
    assert raised.value.args == error.args


def test_order_does_not_matter() -> None:
    params: ExtensionParameters = [(CLIENT_BITS, "10"), (SERVER_TAKEOVER, None)]
    parameters = DeflateParameters(server_no_context_takeover=True, client_max_window_bits=10)
    assert DeflateParameters.parse(params, is_offer=True) == parameters


def test_only_an_offer_has_client_max_window_bits_without_a_value() -> None:
    offer = DeflateParameters.parse(VALUELESS, is_offer=True)
    assert offer.client_max_window_bits is True
    assert offer.serialize() == VALUELESS
    with pytest.raises(InvalidParameterValue, match="missing value"):
        DeflateParameters.parse(VALUELESS, is_offer=False)
