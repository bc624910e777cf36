"""WAMP, version 1: remote procedure calls and publish/subscribe in JSON arrays."""

from __future__ import annotations

import inspect
import json
import secrets
from collections.abc import Callable, Collection
from typing import Any

from geventws.compat.geventwebsocket.exceptions import WebSocketError
from geventws.compat.geventwebsocket.protocols.base import BaseProtocol
from geventws.compat.geventwebsocket.utils import get_version
from geventws.core.frames import CloseCode

__all__ = [
    "Channels",
    "Prefixes",
    "RemoteProcedures",
    "WampProtocol",
    "export_rpc",
    "serialize",
]

# Abbreviations that one client may define: far more than an application has use for.
MAX_PREFIXES = 1000

GENERIC_ERROR = "urn:geventws:error:generic"


def export_rpc(arg: Any = None) -> Any:
    """Let clients call a method of an object that is registered: a decorator.

    Args:
        arg: the method; or, as in ``@export_rpc("name")``, the name that clients use.
    """
    if callable(arg):
        arg._rpc = arg.__name__
        return arg

    def decorate(method: Callable[..., Any]) -> Callable[..., Any]:
        method._rpc = arg or method.__name__  # type: ignore[attr-defined]
        return method

    return decorate


def serialize(data: Any) -> str:
    """Return a WAMP message as text."""
    return json.dumps(data)


class Prefixes:
    """Abbreviations of URIs that a client has defined."""

    def __init__(self) -> None:
        self.prefixes: dict[str, str] = {}

    def add(self, prefix: str, uri: str) -> None:
        """Define one.

        Raises:
            ValueError: there are too many.
        """
        if len(self.prefixes) >= MAX_PREFIXES and prefix not in self.prefixes:
            raise ValueError(f"a client may define {MAX_PREFIXES} prefixes")
        self.prefixes[prefix] = uri

    def resolve(self, curie_or_uri: str) -> str:
        """Return the URI that an abbreviation, or a URI, stands for.

        Raises:
            ValueError: it is neither.
        """
        prefix, colon, rest = curie_or_uri.partition(":")
        if prefix in self.prefixes:
            return self.prefixes[prefix] + rest
        if not colon:
            raise ValueError(f"{curie_or_uri!r} is neither a URI nor begins with a known prefix")
        return curie_or_uri


class RemoteProcedures:
    """What clients may call, by URI."""

    def __init__(self) -> None:
        self.calls: dict[str, Callable[..., Any]] = {}

    def register_procedure(self, uri: str, proc: Callable[..., Any]) -> None:
        """Let clients call a function."""
        self.calls[uri] = proc

    def register_object(self, uri: str, obj: Any) -> None:
        """Let clients call the methods of an object that `export_rpc` has marked.

        Args:
            uri: what the methods' names are appended to.
            obj: the object; or a class, of which each call makes one.
        """
        for name, method in inspect.getmembers(obj, lambda member: hasattr(member, "_rpc")):
            call = call_new(obj, name) if isinstance(obj, type) else method
            self.calls[uri + method._rpc] = call

    def call(self, uri: str, args: Collection[Any]) -> Any:
        """Call a procedure.

        Raises:
            LookupError: there is none.
        """
        if uri not in self.calls:
            raise LookupError(f"there is no procedure {uri!r}")
        return self.calls[uri](*args)


def call_new(kind: type, name: str) -> Callable[..., Any]:
    """Return a function that calls a method of a new object."""
    return lambda *args: getattr(kind(), name)(*args)


class Channels:
    """Who gets which events. Only the server makes channels, so clients cannot make many."""

    def __init__(self) -> None:
        self.channels: dict[str, list[Any]] = {}

    def create(self, uri: str, prefix_matching: bool = False) -> None:
        """Make a channel, if it does not exist.

        Args:
            uri: of the channel.
            prefix_matching: ignored, as ever.
        """
        self.channels.setdefault(uri, [])

    def subscribe(self, uri: str, client: Any) -> None:
        """Send events of a channel, if it exists, to a client."""
        clients = self.channels.get(uri)
        if clients is not None and client not in clients:
            clients.append(client)

    def unsubscribe(self, uri: str, client: Any) -> None:
        """Stop sending events of a channel to a client."""
        clients = self.channels.get(uri, [])
        if client in clients:
            clients.remove(client)

    def publish(
        self,
        uri: str,
        event: Any,
        exclude: Collection[str] | None = None,
        eligible: Collection[str] | None = None,
    ) -> None:
        """Send an event to the clients of a channel.

        Args:
            uri: of the channel.
            event: anything that JSON can express.
            exclude: ids of sessions that do not get it.
            eligible: ids of the sessions that may get it; None for all.
        """
        message = serialize([WampProtocol.MSG_EVENT, uri, event])
        for client in list(self.channels.get(uri, ())):
            session = getattr(client, "session_id", None)
            if session in (exclude or ()) or (eligible is not None and session not in eligible):
                continue
            try:
                client.ws.send(message)
            except WebSocketError:
                self.unsubscribe(uri, client)


class WampProtocol(BaseProtocol):
    """Speaks WAMP with a client; ``protocol_class`` of a `WebSocketApplication`."""

    MSG_WELCOME, MSG_PREFIX, MSG_CALL, MSG_CALL_RESULT, MSG_CALL_ERROR = range(5)
    MSG_SUBSCRIBE, MSG_UNSUBSCRIBE, MSG_PUBLISH, MSG_EVENT = range(5, 9)

    PROTOCOL_NAME = "wamp"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.procedures = RemoteProcedures()
        self.prefixes = Prefixes()
        self.session_id = secrets.token_hex(8)

    def register_procedure(self, *args: Any, **kwargs: Any) -> None:
        """Let the client call a function; arguments as for `RemoteProcedures`."""
        self.procedures.register_procedure(*args, **kwargs)

    def register_object(self, *args: Any, **kwargs: Any) -> None:
        """Let the client call methods of an object; arguments as for `RemoteProcedures`."""
        self.procedures.register_object(*args, **kwargs)

    def register_pubsub(self, *args: Any, **kwargs: Any) -> None:
        """Make a channel of the server; arguments as for `Channels.create`."""
        if not hasattr(self.server, "channels"):
            self.server.channels = Channels()
        self.server.channels.create(*args, **kwargs)

    # Events of the WebSocket.

    def on_open(self) -> None:
        """Begin the session."""
        self.app.on_open()
        self.do_handshake()

    def do_handshake(self) -> None:
        """Tell the client its session's id."""
        # By it, `Channels.publish` finds out who is meant.
        self.handler.active_client.session_id = self.session_id
        agent = f"gevent-websocket/{get_version()}"
        self.app.ws.send(serialize([self.MSG_WELCOME, self.session_id, 1, agent]))

    def on_message(self, message: Any) -> None:
        """React to a message; who sends what is no WAMP is disconnected, with 1002."""
        if message is None:
            return
        try:
            data = parse(message)
            if data[0] == self.MSG_PREFIX:
                self.prefixes.add(str(data[1]), str(data[2]))
            elif data[0] != self.MSG_CALL:
                data[1] = self.prefixes.resolve(str(data[1]))
        except (ValueError, RecursionError) as exc:
            self.app.ws.close(CloseCode.PROTOCOL_ERROR, f"not WAMP: {exc}")
            return
        if data[0] == self.MSG_CALL:
            self.rpc_call(data)
        elif data[0] != self.MSG_PREFIX:
            self.pubsub_action(data)

    def on_close(self, reason: Any = None) -> None:
        """End the session, and its subscriptions."""
        channels = getattr(self.server, "channels", Channels())
        for uri in channels.channels:
            channels.unsubscribe(uri, self.handler.active_client)
        super().on_close(reason)

    def rpc_call(self, data: list[Any]) -> None:
        """Call a procedure; the application's `on_message` gets, and sends, the answer."""
        call_id, uri = str(data[1]), str(data[2])
        try:
            result = self.procedures.call(self.prefixes.resolve(uri), data[3:])
            answer = serialize([self.MSG_CALL_RESULT, call_id, result])
        except Exception as exc:
            error = [GENERIC_ERROR, type(exc).__name__, str(exc)]
            answer = serialize([self.MSG_CALL_ERROR, call_id, *error])
        self.app.on_message(answer)

    def pubsub_action(self, data: list[Any]) -> None:
        """Subscribe or unsubscribe the client, or publish what it sends."""
        action, uri = data[:2]
        client, channels = self.handler.active_client, getattr(self.server, "channels", Channels())
        if action == self.MSG_SUBSCRIBE:
            channels.subscribe(uri, client)
        elif action == self.MSG_UNSUBSCRIBE:
            channels.unsubscribe(uri, client)
        else:
            # What follows the event is whether to leave out the sender, or lists of sessions.
            event, exclude, eligible = (*data[2:5], None, None)[:3]
            if isinstance(exclude, bool):
                exclude = [self.session_id] if exclude else None
            channels.publish(uri, event, exclude, eligible)


# How many items a client's message has at least.
SIZES = {
    WampProtocol.MSG_PREFIX: 3,
    WampProtocol.MSG_CALL: 3,
    WampProtocol.MSG_SUBSCRIBE: 2,
    WampProtocol.MSG_UNSUBSCRIBE: 2,
    WampProtocol.MSG_PUBLISH: 3,
}


def parse(message: Any) -> list[Any]:
    """Return a client's message.

    Raises:
        ValueError, RecursionError: it is no WAMP.
    """
    data = json.loads(message)
    if not isinstance(data, list) or not data or not isinstance(data[0], int):
        raise ValueError("expected an array that begins with a number")
    if data[0] not in SIZES:
        raise ValueError(f"unknown kind of message: {data[0]}")
    if len(data) < SIZES[data[0]]:
        raise ValueError(f"expected {SIZES[data[0]]} items")
    return data
