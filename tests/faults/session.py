"""Sessions that together have a bit of everything, and what their two ends have seen of them."""

from __future__ import annotations

import logging
from typing import Any, Self

from gevent.event import Event

from geventws import (
    ClientConnection,
    ConnectionClosed,
    ConnectionClosedOK,
    ServerConnection,
    connect,
)
from geventws.net.hubs import get_hub_state
from tests.faults.relay import Relay
from tests.net.support import PATIENCE, client_tls, server_tls, serving, until

Message = str | bytes | list[str] | list[bytes]

OPEN, CLOSED, FAILED = "connection open", "connection closed", "connection handler failed"


def whole(message: Message) -> str | bytes:
    """A message as `recv` returns it."""
    if isinstance(message, list):
        return type(message[0])().join(message)  # type: ignore[arg-type]
    return message


class End:
    """What one end of a session has seen."""

    def __init__(self) -> None:
        # The messages that its application has received.
        self.received: list[str | bytes] = []
        # Its connection, once it was open.
        self.ws: Any = None
        # The exception with which it ended.
        self.exc: BaseException | None = None
        # What was logged about it, and when that was the last of it.
        self.records: list[logging.LogRecord] = []
        self.closed = Event()
        self.failed = Event()
        # Whether its application is done.
        self.done = Event()

    def log(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        self.records.append(record)
        if message == CLOSED:
            self.closed.set()
        elif message == FAILED:
            self.failed.set()

    def lines(self, level: int) -> list[str]:
        """What was logged at a level or above."""
        return [record.getMessage() for record in self.records if record.levelno >= level]

    def __str__(self) -> str:
        lines = "".join(f"\n    {line}" for line in self.lines(logging.DEBUG))
        return (
            f"{self.ws} {self.received} {self.exc!r} <- {self.exc and self.exc.__cause__!r}{lines}"
        )


class Session:
    """A client, a relay, and a server's end: the client pings, and closes."""

    # What the client sends; the server answers each in the same form.
    messages: list[Message] = [
        "message",
        b"\x00\xff",
        ["fra", "gment", "s"],
        [b"\x00", b"\xff\xfe"],
    ]
    compression: str | None = None

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.client, self.server = End(), End()
        self.sent = [whole(message) for message in self.messages]
        self.answers = [whole(self.answer(message)) for message in self.sent]
        # How many bytes the opening handshake took.
        self.opening: dict[str, int] = {}
        # Whether the ping was answered.
        self.ponged = False

    def answer(self, message: str | bytes) -> Message:
        """What the server answers: to messages that came in fragments, in fragments."""
        prefix = "re:" if isinstance(message, str) else b"re:"
        if message in self.messages:
            return prefix + message  # type: ignore[operator, no-any-return]
        return [prefix, message]  # type: ignore[return-value]

    def end_client(self, ws: ClientConnection) -> None:
        """Do what the client does when its last message was answered, and before it closes."""
        self.ponged = ws.ping("heart").wait(PATIENCE)

    def end_server(self, ws: ServerConnection) -> None:
        """Do what the server does when it has answered the last message."""

    def play_client(self, **options: Any) -> None:
        """Send each message when the one before was answered."""
        end = self.client
        scheme = "wss" if "ssl" in options else "ws"
        uri = f"{scheme}://{self.relay.host}:{self.relay.port}/"
        try:
            with connect(uri, compression=self.compression, **options) as ws:
                end.ws = ws
                self.opening = {way: len(data) for way, data in self.relay.passed.items()}
                for message in self.messages:
                    ws.send(message)
                    end.received.append(ws.recv())
                self.end_client(ws)
            # From now on this is what the application is told.
            ws.recv(timeout=PATIENCE)
            raise AssertionError("there was another message")
        except Exception as exc:
            end.exc = exc

    def play_server(self, ws: ServerConnection) -> None:
        """Answer each message."""
        end = self.server
        end.ws = ws
        try:
            while True:
                message = ws.recv()
                end.received.append(message)
                ws.send(self.answer(message))
                if len(end.received) == len(self.messages):
                    self.end_server(ws)
        except ConnectionClosed as exc:
            end.exc = exc
            if not isinstance(exc, ConnectionClosedOK):
                raise
        finally:
            end.done.set()

    def wait(self) -> None:
        """Wait until the server's end is over, its log included."""
        end = self.server
        assert end.closed.wait(PATIENCE), "the server did not close the connection"
        if end.ws is not None:
            assert end.done.wait(PATIENCE), "the handler was not told"
            if not isinstance(end.exc, ConnectionClosedOK):
                assert end.failed.wait(PATIENCE), "the handler's exception was not logged"

    def check_undisturbed(self) -> None:
        """Check that both ends have seen all there is."""
        assert self.server.received == self.sent
        assert self.client.received == self.answers
        assert self.ponged
        accepted = "Sec-WebSocket-Extensions" in self.client.ws.response.headers
        assert accepted is (self.compression is not None)
        for end in (self.client, self.server):
            assert isinstance(end.exc, ConnectionClosedOK)
            assert end.ws.close_code == 1000
        assert self.client.lines(logging.INFO) == []
        assert self.server.lines(logging.INFO) == [OPEN, CLOSED]


class OtherSession(Session):
    """Messages are compressed, the server pings, and closes."""

    messages = ["deflated " * 4, ["deflated ", "again"]]
    compression = "deflate"

    def end_client(self, ws: ClientConnection) -> None:
        ws.wait_closed(PATIENCE)

    def end_server(self, ws: ServerConnection) -> None:
        self.ponged = ws.ping("heart").wait(PATIENCE)
        ws.close()


class House(logging.Handler):
    """A server, and what both ends of each of its sessions saw.

    Args:
        tls: whether they speak TLS.
        level: of the log.
    """

    def __init__(self, tls: bool, level: int = logging.INFO, **options: Any) -> None:
        super().__init__(level)
        # Options for `serve` and for `connect`.
        self.options: dict[str, Any] = {"ping_interval": None, **options}
        # What only one of the two needs; a client says whether it compresses.
        self.serving: dict[str, Any] = {"compression": "deflate"}
        self.secure: dict[str, Any] = {}
        if tls:
            self.serving["ssl"] = server_tls()
            self.secure = {"ssl": client_tls(), "server_hostname": "localhost"}
        self._sessions: dict[str, Session] = {}
        self._loggers = [logging.getLogger(f"geventws.{side}") for side in ("client", "server")]
        # Log lines of no session.
        self.others: list[str] = []

    def __enter__(self) -> Self:
        for logger in self._loggers:
            logger.addHandler(self)
            logger.setLevel(self.level)
            logger.propagate = False
        self.server = serving(self._serve, **self.options, **self.serving)
        self.server.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.server.shutdown()
        for logger in self._loggers:
            logger.removeHandler(self)
            logger.setLevel(logging.NOTSET)
            logger.propagate = True
        if exc_info[0] is None:
            assert not self.server._roster.greenlets
            until(lambda: not get_hub_state().streams)

    def _serve(self, ws: ServerConnection) -> None:
        self._sessions[ws.remote_address[0]].play_server(ws)

    def emit(self, record: logging.LogRecord) -> None:
        ws = getattr(record, "websocket", None)
        session = None if ws is None else self._sessions.get(ws.remote_address[0])
        if session is None:
            self.others.append(record.getMessage())
        elif isinstance(ws, ServerConnection):
            session.server.log(record)
        else:
            session.client.log(record)

    def play(self, session: Session) -> Session:
        """Play a session; return it once both ends are over."""
        relay = session.relay
        self._sessions[relay.host] = session
        with relay:
            session.play_client(**self.options, **self.secure)
            session.wait()
        del self._sessions[relay.host]
        return session
