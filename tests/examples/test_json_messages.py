"""examples/json_messages.py: its messages, and an auction."""

from __future__ import annotations

import signal

import pytest

from examples.json_messages import Bid, Message, Refusal, dump, load
from geventws import ClientConnection, connect
from tests.examples.support import started


def receive(ws: ClientConnection) -> Message:
    return load(ws.recv(timeout=10, decode=True))


@pytest.mark.parametrize("message", [Bid("Ann", 5), Refusal("no")])
def test_messages(message: Message) -> None:
    assert load(dump(message)) == message


@pytest.mark.parametrize(
    "text", ["", "1", "{}", '{"kind": "Bid", "name": "Ann", "amount": "5"}', '{"kind": "Bet"}']
)
def test_what_is_no_message(text: str) -> None:
    with pytest.raises(ValueError):
        load(text)


def test_auction() -> None:
    process = started("json_messages.py", "0")
    uri = f"ws://127.0.0.1:{process.address[1]}"
    try:
        with connect(uri) as ann, connect(uri) as bob:
            assert receive(ann) == receive(bob) == Bid("nobody", 0)
            ann.send(dump(Bid("Ann", 5)))
            assert receive(ann) == receive(bob) == Bid("Ann", 5)
            bob.send(dump(Bid("Bob", 5)))
            assert receive(bob) == Refusal("more than 5, please")
            bob.send(dump(Bid("Bob", 6)))
            assert receive(ann) == receive(bob) == Bid("Bob", 6)
            ann.send("nonsense")
            ann.wait_closed(10)
            assert ann.close_code == 1003
        process.process.send_signal(signal.SIGINT)
        assert process.process.wait(timeout=10) == 0
        assert "Traceback" not in process.log
    finally:
        process.stop()
