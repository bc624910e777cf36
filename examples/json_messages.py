"""Messages with types: an auction whose clients and server say dataclasses, as JSON."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass

import geventws


@dataclass(frozen=True)
class Bid:
    """A client offers an amount; the server tells everybody of the highest offer."""

    name: str
    amount: int


@dataclass(frozen=True)
class Refusal:
    """The server does not take an offer."""

    reason: str


Message = Bid | Refusal


def dump(message: Message) -> str:
    """Write a message: ``{"kind": "Bid", "name": "Ann", "amount": 5}``."""
    return json.dumps({"kind": type(message).__name__, **asdict(message)})


def load(text: str) -> Message:
    """Read a message; raise ValueError if it is none."""
    match json.loads(text):
        case {"kind": "Bid", "name": str(name), "amount": int(amount)}:
            return Bid(name, amount)
        case {"kind": "Refusal", "reason": str(reason)}:
            return Refusal(reason)
    raise ValueError("not a message of the auction")


class Auction:
    """One thing to be sold, to whom offers most."""

    highest = Bid("nobody", 0)

    def handler(self, ws: geventws.ServerConnection) -> None:
        """Serve one client; who sends something else than messages is sent away."""
        ws.send(dump(self.highest))
        for text in ws:
            try:
                bid = load(str(text))
            except ValueError:
                return ws.close(geventws.CloseCode.UNSUPPORTED_DATA, "send bids")
            if isinstance(bid, Bid) and bid.amount > self.highest.amount:
                self.highest = bid
                geventws.broadcast(ws.server.connections, dump(bid))
            else:
                ws.send(dump(Refusal(f"more than {self.highest.amount}, please")))


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8765
    with geventws.serve(Auction().handler, "127.0.0.1", port) as server:
        print(f"Auction at ws://127.0.0.1:{server.address[1]}", flush=True)
        server.serve_forever()
