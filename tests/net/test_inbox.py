"""Tests of geventws.net.inbox."""

from __future__ import annotations

import sys

import pytest

from geventws.core.messages import Fragment
from geventws.net.inbox import Inbox

HE = Fragment(b"he", True, False)
LL = Fragment(b"ll", True, False)
O = Fragment(b"o", True, True)  # noqa: E741


def filled(*items: str | bytes | Fragment) -> Inbox:
    inbox = Inbox(16, 4)
    for item in items:
        inbox.put(item)
    return inbox


def drain(inbox: Inbox) -> list[str | bytes]:
    messages = []
    while inbox.size:
        messages.append(inbox.get())
    return messages


@pytest.mark.parametrize(
    "items, messages",
    [
        ((), []),
        (("a",), ["a"]),
        (("a", b"b", "c"), ["a", b"b", "c"]),
        (("", b""), ["", b""]),
        ((HE, LL, O), ["hello"]),
        (("a", HE, O, b"b", HE, LL, O, "c"), ["a", "heo", b"b", "hello", "c"]),
        ((Fragment(b"\xff", False, False), Fragment(b"\xfe", False, True)), [b"\xff\xfe"]),
        ((Fragment("é".encode()[:1], True, False), Fragment("é".encode()[1:], True, True)), ["é"]),
        ((Fragment(b"", True, False), Fragment(b"", True, True)), [""]),
        ((HE, LL), []),
        (("a", HE), ["a"]),
    ],
)
def test_messages_come_out_whole_and_in_order(
    items: tuple[str | bytes | Fragment, ...], messages: list[str | bytes]
) -> None:
    assert drain(filled(*items)) == messages


def test_put_and_get_alternate() -> None:
    inbox = filled("0", "1")
    got = []
    for number in range(2, 100):
        got.append(inbox.get())
        inbox.put(str(number))
    got += drain(inbox)
    assert got == [str(number) for number in range(100)]


@pytest.mark.parametrize("behind", [(), ("next",), ("next", "last"), (HE, LL, O, "last")])
@pytest.mark.parametrize("message", ["taken", b"taken"])
def test_message_that_is_put_back_comes_first(
    message: str | bytes, behind: tuple[str | bytes | Fragment, ...]
) -> None:
    inbox = filled(message, *behind)
    assert inbox.get() == message
    inbox.put_back(message)
    assert inbox.size == 1 + len(behind)
    assert inbox.get() == message
    assert drain(inbox) == drain(filled(*behind))


def test_message_that_is_put_back_before_an_unfinished_one() -> None:
    inbox = filled("taken", HE)
    inbox.put_back(inbox.get())
    assert inbox.size == 1
    inbox.put(O)
    assert drain(inbox) == ["taken", "heo"]


def test_unfinished_message_does_not_count() -> None:
    inbox = filled(HE, LL)
    assert inbox.size == 0
    inbox.put(O)
    assert inbox.size == 3
    assert inbox.get() == "hello"
    assert inbox.size == 0


def test_no_bound() -> None:
    assert Inbox(None, 0).high == sys.maxsize


def test_bound_of_zero_lets_one_frame_in() -> None:
    # Else no frame would ever be read.
    assert Inbox(0, 0).high == 1


def test_stream_of_a_message_under_way() -> None:
    inbox = filled(HE)
    inbox.begin_stream()
    assert inbox.size == 1
    assert inbox.get_fragment() == HE
    assert inbox.size == 0
    inbox.put(LL)
    assert inbox.size == 1
    assert inbox.get_fragment() == LL
    inbox.put(O)
    inbox.put(HE)
    assert inbox.size == 1
    last = inbox.get_fragment()
    assert last == O
    inbox.end_stream(last)
    # What follows is not streamed.
    assert inbox.size == 0
    inbox.put(O)
    assert drain(inbox) == ["heo"]


@pytest.mark.parametrize(
    "message, fragment",
    [("é", Fragment("é".encode(), True, True)), (b"\xff", Fragment(b"\xff", False, True))],
)
def test_stream_of_a_whole_message(message: str | bytes, fragment: Fragment) -> None:
    inbox = filled(message, "next")
    inbox.begin_stream()
    assert inbox.get_fragment() == fragment
    inbox.end_stream(fragment)
    assert drain(inbox) == ["next"]


def test_stream_of_an_old_message_while_another_is_under_way() -> None:
    inbox = filled(HE, O, HE)
    inbox.begin_stream()
    assert [inbox.get_fragment(), inbox.get_fragment()] == [HE, O]
    inbox.end_stream(O)
    assert inbox.size == 0
    inbox.put(O)
    assert drain(inbox) == ["heo"]


@pytest.mark.parametrize("there", range(1, 4))
def test_abandoned_stream_discards_the_rest_of_its_message(there: int) -> None:
    fragments = [HE, LL, O]
    inbox = filled(*fragments[:there])
    inbox.begin_stream()
    last = inbox.get_fragment()
    inbox.end_stream(last)
    assert inbox.size == 0
    for item in (*fragments[there:], "next", HE, O):
        inbox.put(item)
    assert drain(inbox) == ["next", "heo"]


@pytest.mark.parametrize("before", [(), (HE,), (HE, LL)])
@pytest.mark.parametrize("meanwhile", [(), (LL,), (LL, LL)])
def test_stream_abandoned_before_its_first_fragment_discards_nothing(
    before: tuple[Fragment, ...], meanwhile: tuple[Fragment, ...]
) -> None:
    inbox = filled(*before)
    inbox.begin_stream()
    for item in meanwhile:
        inbox.put(item)
    inbox.end_stream(None)
    assert inbox.size == 0
    inbox.put(O)
    expected = b"".join(item.data for item in (*before, *meanwhile, O)).decode()
    assert drain(inbox) == [expected]


def test_stream_abandoned_before_the_first_fragment_of_a_whole_message() -> None:
    inbox = filled(HE, O, "next")
    inbox.begin_stream()
    inbox.end_stream(None)
    assert drain(inbox) == ["heo", "next"]


def test_stream_whose_message_ended_meanwhile() -> None:
    inbox = filled()
    inbox.begin_stream()
    for item in (HE, LL, O, "next"):
        inbox.put(item)
    inbox.end_stream(inbox.get_fragment())
    assert drain(inbox) == ["next"]


@pytest.mark.parametrize("behind", ["next", HE])
def test_stream_that_waits_for_a_whole_message(behind: str | Fragment) -> None:
    """What arrives behind it is not part of the stream, and can be read after it."""
    inbox = filled()
    inbox.begin_stream()
    inbox.put("whole")
    inbox.put(behind)
    whole = inbox.get_fragment()
    assert whole == Fragment(b"whole", True, True)
    inbox.end_stream(whole)
    assert inbox.size == (behind == "next")
    if behind is HE:
        inbox.put(O)
    assert drain(inbox) == ["next" if behind == "next" else "heo"]
