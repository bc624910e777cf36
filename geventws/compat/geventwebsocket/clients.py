"""Who is connected to a server: `Client`, and the dictionary ``server.clients``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["Client", "Clients"]


class Client:
    """Who is connected; applications set attributes of their own on it.

    Args:
        address: its key in ``server.clients``: the client's address.
        ws: its WebSocket.
    """

    def __init__(self, address: Any, ws: Any) -> None:
        self.address = address
        self.ws = ws


class Clients(dict[Any, Client]):
    """The clients of a server by address.

    Clients come and go while a loop sends to all of them. So it goes over those that were
    there at its beginning, and leaves out whoever has gone when it gets there.
    """

    def __iter__(self) -> Iterator[Any]:
        return (key for key, _ in self._present())

    def keys(self) -> Any:
        """Return the addresses."""
        return Present(self, 0)

    def values(self) -> Any:
        """Return the clients."""
        return Present(self, 1)

    def items(self) -> Any:
        """Return pairs of addresses and clients."""
        return Present(self, None)

    def _present(self) -> Iterator[tuple[Any, Client]]:
        for key, client in list(super().items()):
            if client.ws.connected:
                yield key, client


class Present:
    """What `Clients.keys`, `values` and `items` return.

    Args:
        clients: of whom.
        index: which part of the pairs; None for both.
    """

    def __init__(self, clients: Clients, index: int | None) -> None:
        self._clients = clients
        self._index = index

    def __iter__(self) -> Iterator[Any]:
        for pair in self._clients._present():
            yield pair if self._index is None else pair[self._index]

    def __len__(self) -> int:
        return len(self._clients)

    def __repr__(self) -> str:
        return repr(list(self))
