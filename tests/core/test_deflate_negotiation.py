"""Negotiation of permessage-deflate: each side alone, both together, and with websockets."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest
from websockets.exceptions import NegotiationError as PeerNegotiationError
from websockets.extensions import permessage_deflate as peer

from geventws.core.deflate import PerMessageDeflate
from geventws.core.deflate_negotiation import (
    ClientPerMessageDeflateFactory,
    ServerPerMessageDeflateFactory,
    enable_client_permessage_deflate,
    enable_server_permessage_deflate,
)
from geventws.core.deflate_parameters import DeflateParameters
from geventws.core.exceptions import (
    DuplicateParameter,
    InvalidParameterName,
    InvalidParameterValue,
    NegotiationError,
)
from geventws.core.extensions import (
    ClientExtensionFactory,
    Extension,
    ExtensionParameters,
    ServerExtensionFactory,
)

SERVER_TAKEOVER, CLIENT_TAKEOVER = "server_no_context_takeover", "client_no_context_takeover"
SERVER_BITS, CLIENT_BITS = "server_max_window_bits", "client_max_window_bits"

# The settings that a factory can have, in the order of its arguments.
Settings = tuple[bool, bool, int | None, int | bool | None]

NONE: Settings = (False, False, None, None)


class OtherWithRsv1(Extension):
    name = "x-other"
    rsv1 = True


class OtherWithRsv2(Extension):
    name = "x-other"
    rsv2 = True


class OtherClientFactory(ClientExtensionFactory):
    name = "x-other"


class OtherServerFactory(ServerExtensionFactory):
    name = "x-other"


def params(
    server_takeover: bool, client_takeover: bool, server_bits: int | None, client_bits: Any
) -> ExtensionParameters:
    """Return the parameters of a header."""
    return DeflateParameters(server_takeover, client_takeover, server_bits, client_bits).serialize()


# The client


@pytest.mark.parametrize(
    ("settings", "offer"),
    [
        ({}, [(CLIENT_BITS, None)]),
        ({CLIENT_BITS: None}, []),
        ({CLIENT_BITS: 9}, [(CLIENT_BITS, "9")]),
        ({SERVER_BITS: 8, CLIENT_BITS: None}, [(SERVER_BITS, "8")]),
        ({SERVER_TAKEOVER: True, CLIENT_BITS: None}, [(SERVER_TAKEOVER, None)]),
        ({CLIENT_TAKEOVER: True, CLIENT_BITS: None}, [(CLIENT_TAKEOVER, None)]),
        (
            {SERVER_TAKEOVER: True, CLIENT_TAKEOVER: True, SERVER_BITS: 10, CLIENT_BITS: 11},
            [
                (SERVER_TAKEOVER, None),
                (CLIENT_TAKEOVER, None),
                (SERVER_BITS, "10"),
                (CLIENT_BITS, "11"),
            ],
        ),
    ],
)
def test_client_offers(settings: dict[str, Any], offer: ExtensionParameters) -> None:
    assert ClientPerMessageDeflateFactory(**settings).get_request_params() == offer


# What the client offers, what the server answers, and what the client uses then:
# remote_no_context_takeover, local_no_context_takeover, remote window, local window.
@pytest.mark.parametrize(
    ("offered", "answered", "used"),
    [
        (NONE, NONE, (False, False, 15, 15)),
        # server_no_context_takeover
        (NONE, (True, False, None, None), (True, False, 15, 15)),
        ((True, False, None, None), NONE, "expected server_no_context_takeover"),
        ((True, False, None, None), (True, False, None, None), (True, False, 15, 15)),
        # client_no_context_takeover
        (NONE, (False, True, None, None), (False, True, 15, 15)),
        ((False, True, None, None), NONE, (False, True, 15, 15)),
        ((False, True, None, None), (False, True, None, None), (False, True, 15, 15)),
        # server_max_window_bits
        (NONE, (False, False, 8, None), (False, False, 8, 15)),
        (NONE, (False, False, 10, None), (False, False, 10, 15)),
        ((False, False, 10, None), NONE, "expected server_max_window_bits"),
        ((False, False, 15, None), NONE, "expected server_max_window_bits"),
        ((False, False, 10, None), (False, False, 10, None), (False, False, 10, 15)),
        ((False, False, 10, None), (False, False, 8, None), (False, False, 8, 15)),
        ((False, False, 10, None), (False, False, 11, None), "unsupported server_max_window_bits"),
        # client_max_window_bits
        (NONE, (False, False, None, 10), "unexpected client_max_window_bits"),
        (NONE, (False, False, None, 15), "unexpected client_max_window_bits"),
        ((False, False, None, True), NONE, (False, False, 15, 15)),
        ((False, False, None, True), (False, False, None, 9), (False, False, 15, 9)),
        ((False, False, None, True), (False, False, None, 15), (False, False, 15, 15)),
        ((False, False, None, True), (False, False, None, 8), "client_max_window_bits: 8"),
        ((False, False, None, 10), NONE, (False, False, 15, 10)),
        ((False, False, None, 10), (False, False, None, 10), (False, False, 15, 10)),
        ((False, False, None, 10), (False, False, None, 9), (False, False, 15, 9)),
        ((False, False, None, 10), (False, False, None, 8), "client_max_window_bits: 8"),
        ((False, False, None, 10), (False, False, None, 11), "client_max_window_bits: 11"),
        # all of them
        ((True, True, 12, 11), (True, True, 10, 9), (True, True, 10, 9)),
    ],
)
def test_client_processes_the_answer(
    offered: Settings, answered: Settings, used: tuple[bool, bool, int, int] | str
) -> None:
    factory = ClientPerMessageDeflateFactory(*offered)
    if isinstance(used, str):
        with pytest.raises(NegotiationError, match=used):
            factory.process_response_params(params(*answered), [])
    else:
        extension = factory.process_response_params(params(*answered), [])
        assert extension == PerMessageDeflate(*used)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ([("level", "9")], InvalidParameterName),
        ([(SERVER_TAKEOVER, None)] * 2, DuplicateParameter),
        ([(SERVER_TAKEOVER, "1")], InvalidParameterValue),
        ([(CLIENT_BITS, None)], InvalidParameterValue),
        ([(SERVER_BITS, None)], InvalidParameterValue),
    ],
)
def test_client_refuses_a_malformed_answer(
    answer: ExtensionParameters, error: type[NegotiationError]
) -> None:
    with pytest.raises(error):
        ClientPerMessageDeflateFactory().process_response_params(answer, [])


# The server


# What the server is configured for, what the client offers, what the server answers.
@pytest.mark.parametrize(
    ("config", "offered", "answered"),
    [
        (NONE, NONE, NONE),
        # server_no_context_takeover
        (NONE, (True, False, None, None), (True, False, None, None)),
        ((True, False, None, None), NONE, (True, False, None, None)),
        ((True, False, None, None), (True, False, None, None), (True, False, None, None)),
        # client_no_context_takeover
        (NONE, (False, True, None, None), (False, True, None, None)),
        ((False, True, None, None), NONE, (False, True, None, None)),
        ((False, True, None, None), (False, True, None, None), (False, True, None, None)),
        # server_max_window_bits
        (NONE, (False, False, 10, None), (False, False, 10, None)),
        (NONE, (False, False, 8, None), "unsupported server_max_window_bits: 8"),
        ((False, False, 12, None), NONE, (False, False, 12, None)),
        ((False, False, 12, None), (False, False, 12, None), (False, False, 12, None)),
        ((False, False, 12, None), (False, False, 9, None), (False, False, 9, None)),
        ((False, False, 12, None), (False, False, 8, None), "server_max_window_bits: 8"),
        ((False, False, 12, None), (False, False, 15, None), (False, False, 12, None)),
        # client_max_window_bits
        (NONE, (False, False, None, True), NONE),
        (NONE, (False, False, None, 8), (False, False, None, 8)),
        (NONE, (False, False, None, 10), (False, False, None, 10)),
        ((False, False, None, 12), NONE, NONE),
        ((False, False, None, 12), (False, False, None, True), (False, False, None, 12)),
        ((False, False, None, 12), (False, False, None, 8), (False, False, None, 8)),
        ((False, False, None, 12), (False, False, None, 12), (False, False, None, 12)),
        ((False, False, None, 12), (False, False, None, 15), (False, False, None, 12)),
        ((False, False, None, 8), (False, False, None, True), (False, False, None, 8)),
        # all of them
        ((True, True, 11, 10), (False, False, 12, True), (True, True, 11, 10)),
    ],
)
def test_server_processes_an_offer(
    config: Settings, offered: Settings, answered: Settings | str
) -> None:
    factory = ServerPerMessageDeflateFactory(*config)
    if isinstance(answered, str):
        with pytest.raises(NegotiationError, match=answered):
            factory.process_request_params(params(*offered), [])
        return
    answer, extension = factory.process_request_params(params(*offered), [])
    assert answer == params(*answered)
    server_takeover, client_takeover, server_bits, client_bits = answered
    assert extension == PerMessageDeflate(
        client_takeover, server_takeover, client_bits or 15, server_bits or 15
    )


@pytest.mark.parametrize(
    ("offer", "error"),
    [
        ([("level", "9")], InvalidParameterName),
        ([(CLIENT_BITS, None), (CLIENT_BITS, "9")], DuplicateParameter),
        ([(CLIENT_TAKEOVER, "false")], InvalidParameterValue),
        ([(SERVER_BITS, None)], InvalidParameterValue),
        ([(SERVER_BITS, "16")], InvalidParameterValue),
    ],
)
def test_server_declines_a_malformed_offer(
    offer: ExtensionParameters, error: type[NegotiationError]
) -> None:
    with pytest.raises(error):
        ServerPerMessageDeflateFactory().process_request_params(offer, [])


def test_server_can_require_client_max_window_bits() -> None:
    factory = ServerPerMessageDeflateFactory(
        client_max_window_bits=10, require_client_max_window_bits=True
    )
    with pytest.raises(NegotiationError, match="required client_max_window_bits"):
        factory.process_request_params([], [])
    answer, extension = factory.process_request_params([(CLIENT_BITS, None)], [])
    assert answer == [(CLIENT_BITS, "10")]
    assert extension.remote_max_window_bits == 10


# Both


@pytest.mark.parametrize(
    ("accepted", "error"),
    [
        ([PerMessageDeflate(False, False, 15, 15)], "duplicate permessage-deflate"),
        ([OtherWithRsv1()], "permessage-deflate and x-other both use RSV1"),
        ([OtherWithRsv2()], None),
    ],
)
def test_two_extensions_cannot_both_use_rsv1(
    accepted: Sequence[Extension], error: str | None
) -> None:
    client, server = ClientPerMessageDeflateFactory(), ServerPerMessageDeflateFactory()
    for negotiate in (client.process_response_params, server.process_request_params):
        if error is None:
            negotiate([], accepted)
        else:
            with pytest.raises(NegotiationError, match=error):
                negotiate([], accepted)


@pytest.mark.parametrize(
    ("factory", "settings", "error"),
    [
        (ClientPerMessageDeflateFactory, {SERVER_BITS: 7}, "between 8 and 15, not 7"),
        (ClientPerMessageDeflateFactory, {SERVER_BITS: 16}, "between 8 and 15"),
        (ClientPerMessageDeflateFactory, {CLIENT_BITS: 8}, "between 9 and 15, not 8"),
        (ClientPerMessageDeflateFactory, {CLIENT_BITS: 16}, "between 9 and 15"),
        (ServerPerMessageDeflateFactory, {SERVER_BITS: 8}, "between 9 and 15"),
        (ServerPerMessageDeflateFactory, {SERVER_BITS: 16}, "between 9 and 15"),
        (ServerPerMessageDeflateFactory, {CLIENT_BITS: 7}, "between 8 and 15"),
        (ServerPerMessageDeflateFactory, {CLIENT_BITS: 16}, "between 8 and 15"),
        (
            ServerPerMessageDeflateFactory,
            {"require_client_max_window_bits": True},
            "needs client_max_window_bits",
        ),
        *(
            (factory, {"compress_settings": settings}, error)
            for factory in (ClientPerMessageDeflateFactory, ServerPerMessageDeflateFactory)
            for settings, error in [
                ({"wbits": -15}, "must not include wbits"),
                ({"level": 42}, "Invalid"),
            ]
        ),
    ],
)
def test_impossible_settings_are_refused(factory: Any, settings: Any, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        factory(**settings)


@pytest.mark.parametrize(
    "factory", [ClientPerMessageDeflateFactory, ServerPerMessageDeflateFactory]
)
def test_settings_reach_the_extension(factory: Any) -> None:
    one = factory(compress_settings={"level": 1}, threshold=100)
    if isinstance(one, ServerPerMessageDeflateFactory):
        _, extension = one.process_request_params([], [])
    else:
        extension = one.process_response_params([], [])
    assert extension.compress_settings == {"level": 1}
    assert extension.threshold == 100


def test_repr() -> None:
    assert repr(ServerPerMessageDeflateFactory(True, threshold=9)) == (
        "ServerPerMessageDeflateFactory(server_no_context_takeover=True, "
        "client_no_context_takeover=False, server_max_window_bits=None, "
        "client_max_window_bits=None, compress_settings=None, threshold=9)"
    )


def test_client_default() -> None:
    other = OtherClientFactory()
    given: list[ClientExtensionFactory] = [other]
    enabled = enable_client_permessage_deflate(given, threshold=7)
    assert given == [other]
    assert enabled[0] is other
    deflate = enabled[1]
    assert isinstance(deflate, ClientPerMessageDeflateFactory)
    assert deflate.get_request_params() == [(CLIENT_BITS, None)]
    assert deflate.compress_settings == {"memLevel": 5}
    assert deflate.threshold == 7
    again = enable_client_permessage_deflate(enabled)
    assert again == enabled
    assert again is not enabled
    assert [type(one) for one in enable_client_permessage_deflate(None)] == [type(deflate)]


def test_server_default() -> None:
    other = OtherServerFactory()
    given: list[ServerExtensionFactory] = [other]
    enabled = enable_server_permessage_deflate(given, threshold=7)
    assert given == [other]
    assert enabled[0] is other
    deflate = enabled[1]
    assert isinstance(deflate, ServerPerMessageDeflateFactory)
    answer, _ = deflate.process_request_params([(CLIENT_BITS, None)], [])
    assert answer == [(SERVER_BITS, "12"), (CLIENT_BITS, "12")]
    assert deflate.compress_settings == {"memLevel": 5}
    assert deflate.threshold == 7
    again = enable_server_permessage_deflate(enabled)
    assert again == enabled
    assert again is not enabled
    assert [type(one) for one in enable_server_permessage_deflate(None)] == [type(deflate)]


# With websockets as the reference

BITS = (None, 9, 12, 15)
CLIENTS = list(itertools.product((False, True), (False, True), (8, *BITS), (True, *BITS)))
SERVERS = list(itertools.product((False, True), (False, True), BITS, (8, *BITS)))


def extension_settings(extension: Any) -> tuple[bool, bool, int, int]:
    return (
        extension.remote_no_context_takeover,
        extension.local_no_context_takeover,
        extension.remote_max_window_bits,
        extension.local_max_window_bits,
    )


def negotiate(client: Any, server: Any) -> tuple[Any, Any, Any] | None:
    """Return the answer and what both sides use, or None where there is no agreement."""
    try:
        answer, server_extension = server.process_request_params(client.get_request_params(), [])
        client_extension = client.process_response_params(answer, [])
    except (NegotiationError, PeerNegotiationError):
        return None
    return answer, extension_settings(server_extension), extension_settings(client_extension)


def test_negotiates_what_websockets_negotiates() -> None:
    agreed = 0
    for client_settings, server_settings in itertools.product(CLIENTS, SERVERS):
        ours = ClientPerMessageDeflateFactory(*client_settings)
        our_server = ServerPerMessageDeflateFactory(*server_settings)
        theirs = peer.ClientPerMessageDeflateFactory(*client_settings)
        their_server = peer.ServerPerMessageDeflateFactory(*server_settings)
        expected = negotiate(theirs, their_server)
        assert negotiate(ours, our_server) == expected
        assert negotiate(ours, their_server) == expected
        assert negotiate(theirs, our_server) == expected
        if expected is not None:
            agreed += 1
            _, server_side, client_side = expected
            assert server_side[0::2] == client_side[1::2]
    assert agreed > 1000
