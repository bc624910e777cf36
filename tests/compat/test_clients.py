"""``server.clients``: a dictionary that may change while a loop goes over it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from geventws.compat.geventwebsocket.clients import Client, Clients


def some(*names: str) -> Clients:
    """Clients whose WebSockets are open, as far as `Clients` looks at them."""
    clients = Clients()
    for name in names:
        clients[name] = Client(name, SimpleNamespace(connected=True))
    return clients


def test_client_has_room_for_attributes() -> None:
    ws: Any = object()
    client: Any = Client(("host", 1), ws)
    client.name = "Ann"
    assert (client.address, client.ws, client.name) == (("host", 1), ws, "Ann")


def test_it_is_a_dictionary() -> None:
    clients = some("a", "b")
    assert list(clients) == list(clients.keys()) == ["a", "b"]
    assert [client.address for client in clients.values()] == ["a", "b"]
    assert [(key, client.address) for key, client in clients.items()] == [("a", "a"), ("b", "b")]
    assert len(clients) == len(clients.keys()) == len(clients.values()) == 2
    assert "a" in clients and "a" in clients.keys() and clients["a"].address == "a"  # noqa: SIM118
    assert repr(clients.keys()) == "['a', 'b']"
    assert clients.pop("a").address == "a"
    assert dict(clients) == {"b": clients["b"]}


def test_it_may_change_during_a_loop() -> None:
    clients = some("a", "b", "c")
    seen = []
    for client in clients.values():
        seen.append(client.address)
        clients.pop("a", None)
        clients["d"] = client
    assert seen == ["a", "b", "c"]


def test_who_goes_during_a_loop_is_left_out() -> None:
    clients = some("a", "b", "c")
    seen = []
    for key, client in clients.items():
        seen.append(key)
        clients["b"].ws.connected = False
        assert client.ws.connected
    assert seen == ["a", "c"]
    # It still is one of them: its handler has not returned.
    assert "b" in clients and len(clients) == 3
