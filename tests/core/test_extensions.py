"""Extensions: the documented example, and what the base classes promise."""

from __future__ import annotations

import doctest
from typing import Any

import pytest

from geventws.core import extensions
from geventws.core.extensions import ClientExtensionFactory, Extension, ServerExtensionFactory
from geventws.core.frames import Frame, Opcode

FRAME = Frame(Opcode.TEXT, b"Hello")


def run_example() -> dict[str, Any]:
    """Run the module's example and return the names that it defines."""
    [example] = [test for test in doctest.DocTestFinder().find(extensions) if test.examples]
    results = doctest.DocTestRunner().run(example, clear_globs=False)
    assert results.attempted and not results.failed
    return example.globs


def test_example_of_the_documentation_works() -> None:
    names = run_example()
    client_factory, server_factory = names["ClientMirrorFactory"](), names["ServerMirrorFactory"]()
    answer, server = server_factory.process_request_params(client_factory.get_request_params(), [])
    client = client_factory.process_response_params(answer, [])
    encoded = client.encode(FRAME)
    assert encoded.data == b"olleH"
    assert server.decode(encoded) == FRAME
    ping = Frame(Opcode.PING, b"Hello")
    assert client.encode(ping) is ping


def test_example_of_the_documentation_refuses_parameters() -> None:
    names = run_example()
    for negotiate in (
        names["ClientMirrorFactory"]().process_response_params,
        names["ServerMirrorFactory"]().process_request_params,
    ):
        with pytest.raises(names["NegotiationError"], match="x-mirror has no parameters"):
            negotiate([("speed", "1")], [])


def test_base_classes_leave_everything_to_subclasses() -> None:
    calls: list[tuple[Any, tuple[Any, ...]]] = [
        (Extension().decode, (FRAME,)),
        (Extension().encode, (FRAME,)),
        (ClientExtensionFactory().get_request_params, ()),
        (ClientExtensionFactory().process_response_params, ([], [])),
        (ServerExtensionFactory().process_request_params, ([], [])),
    ]
    for method, args in calls:
        with pytest.raises(NotImplementedError):
            method(*args)


def test_an_extension_uses_no_reserved_bit_unless_it_says_so() -> None:
    assert (Extension.rsv1, Extension.rsv2, Extension.rsv3) == (False, False, False)


def test_base_classes_let_subclasses_have_slots() -> None:
    for base in (Extension, ClientExtensionFactory, ServerExtensionFactory):
        subclass: Any = type("Slotted", (base,), {"__slots__": ("state",)})
        with pytest.raises(AttributeError):
            subclass().other = 1
