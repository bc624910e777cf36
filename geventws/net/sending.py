"""Sending: messages from the application, whole frames at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from gevent import getcurrent

from geventws.core.exceptions import ConcurrencyError
from geventws.core.frames import CloseCode, Opcode
from geventws.core.states import State
from geventws.net import receiving
from geventws.net.pings import Ping, PingBook
from geventws.net.threads import get_ident

__all__ = ["BytesLike", "Data", "Sender", "to_bytes"]

BytesLike = bytes | bytearray | memoryview
Data = str | BytesLike

# Looking up a member of an enum costs 50 ns.
TEXT, BINARY = Opcode.TEXT, Opcode.BINARY
OPEN = State.OPEN

# Above this many bytes, a system call with two parts is cheaper than a copy.
LARGE = 16 * 1024

# How much a greenlet may send in one turn of the loop before others get theirs, in bytes...
TURN_BYTES = 256 * 1024
# ...and what a send costs beside its bytes: 128 small sends take about a millisecond.
TURN_COST = 2048


class Sender(receiving.Receiver):
    """What an application does to send."""

    __slots__ = ("_fragmenting", "_goodbye")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # The greenlet that sends a message in fragments.
        self._fragmenting: Any = None
        # The close code and reason that wait for the end of that message.
        self._goodbye: tuple[int, str] | None = None

    def send(
        self,
        message: Data | Iterable[Data],
        text: bool | None = None,
        *,
        compress: bool | None = None,
    ) -> None:
        """Send a message.

        It waits while more than ``write_limit`` bytes are queued, or while another greenlet
        sends a fragmented message. It never leaves a part of a frame: an exception other than
        `ConnectionClosed` means that the message was not sent and may be sent again.

        Args:
            message: `str` is sent as a text, bytes-like objects are sent as a binary message;
                an iterable of either is sent in fragments, each as soon as it is there.
            text: True to send bytes as a text message, False to send `str` as a binary one.
            compress: whether to compress the message, if compression was negotiated; None
                compresses messages of at least ``compress_threshold`` bytes.

        Raises:
            ConnectionClosed: the connection is closed or closing.
            ConcurrencyError: the call comes from the iterable that is being sent.
            TypeError: the message, or a fragment, is of another type. Iterables must be
                uniform; if a later fragment is not, the connection is failed with 1011.
        """
        if isinstance(message, str):
            data, is_text = message.encode(), text is not False
        elif isinstance(message, bytes):
            data, is_text = message, bool(text)
        elif isinstance(message, (bytearray, memoryview)):
            data, is_text = bytes(message), bool(text)
        else:
            self._send_fragments(message, text, compress)
            return
        self._prepare_to_send()
        opcode, encoder = TEXT if is_text else BINARY, self._protocol.encoder
        if len(data) > LARGE and not self._batches:
            header = encoder.encode_header(opcode, len(data))
            if header is not None:
                self._hand_over_large(header, data)
                return
        self._hand_over(encoder.encode_data(opcode, data, True, compress))

    def _prepare_to_send(self, between: bool = False) -> None:
        """Wait until a frame may be handed over; see `send` for what it raises.

        Args:
            between: whether it may come between the fragments of a message: as the next of
                them, or as a control frame. 5.4: they "MAY be injected in the middle of a
                fragmented message".
        """
        state = self._state
        if get_ident() != state.thread:
            self._require_thread()
        if self._debug:
            # Before, not after: an exception out of a log handler must mean "not sent".
            self._emit()
        while True:
            if self._protocol.state is not OPEN or self._broken:
                self._refuse_to_send()
            elif self._fragmenting is not None and not between:
                if self._fragmenting is getcurrent():
                    raise ConcurrencyError("cannot call send from the iterable that is being sent")
                self._wait_for_turn()
            elif self._queued + self._transport.unsent > self._high:
                if self._writing:
                    self._wait_for_turn()
                else:
                    self._flush()
            else:
                state.spent += TURN_COST
                if state.spent < TURN_BYTES or not self._give_way():
                    return

    def _wait_to_send(self) -> None:
        """Wait until a message may be sent; a `send` that follows at once waits no more."""
        self._prepare_to_send()
        # It counts itself.
        self._state.spent -= TURN_COST

    def _give_way(self) -> bool:
        """Let others run, if it is this greenlet that took the whole turn; return whether."""
        state = self._state
        state.spent = 0
        # Not the greenlet itself, which would be kept alive.
        current = id(getcurrent())
        if state.sender != current:
            # Many greenlets sent in this turn.
            state.sender = current
            return False
        state.turns.wait()
        return True

    def _refuse_to_send(self) -> None:
        if not self._broken:
            self._wait_ended()
        raise self._closed_exception()

    def _hand_over(self, frame: bytes) -> None:
        """Give a whole frame away: to the kernel or to the queue."""
        if len(frame) > TURN_COST:
            self._state.spent += len(frame)
        if self._inbox.size or self._stalled or self._batches:
            self._write_joined(frame)
        else:
            self._write(frame)
        if self._broken:
            raise self._closed_exception()
        if self._debug:
            self._emit_elsewhere()

    def _hand_over_large(self, header: bytes, payload: bytes) -> None:
        """Give a whole frame away, without copying its parts together."""
        self._state.spent += len(payload)
        self._write_large(header, payload)
        if self._broken:
            raise self._closed_exception()

    def _send_fragments(
        self, fragments: Iterable[Data], text: bool | None, compress: bool | None
    ) -> None:
        if isinstance(fragments, Mapping):
            raise TypeError("data is a dict-like object; send its values, or its JSON text")
        try:
            iterator = iter(fragments)
        except TypeError:
            raise TypeError("data must be str, bytes, or iterable") from None
        opcode: Opcode | None = None
        kind: type | tuple[type, ...] = ()
        try:
            for fragment in iterator:
                if opcode is None:
                    kind = str if isinstance(fragment, str) else (bytes, bytearray, memoryview)
                    if not isinstance(fragment, kind):
                        raise TypeError("data iterable must contain str or bytes")
                    self._prepare_to_send()
                    is_text = kind is str if text is None else text
                    opcode = Opcode.TEXT if is_text else Opcode.BINARY
                    self._fragmenting = getcurrent()
                else:
                    if not isinstance(fragment, kind):
                        raise TypeError("iterable must contain uniform types")
                    self._prepare_to_send(between=True)
                    opcode = Opcode.CONT
                data = to_bytes(fragment)
                self._hand_over(self._protocol.encoder.encode_data(opcode, data, False, compress))
            if opcode is not None:
                self._prepare_to_send(between=True)
                self._hand_over(self._protocol.encoder.encode_data(Opcode.CONT, b"", True, None))
        except BaseException:
            # A message without an end cannot be taken back, nor another one begin.
            if opcode is not None and self._protocol.state is State.OPEN and not self._broken:
                self._fail(CloseCode.INTERNAL_ERROR, "error in fragmented message")
            raise
        finally:
            if opcode is not None:
                self._fragmenting = None
                if self._goodbye is not None:
                    self._close_after_message(*self._goodbye)
                self._wake_senders()

    def _close_after_message(self, code: int, reason: str) -> None:
        """Send the close frame that has waited, unless the message ended the connection."""
        if self._protocol.state is State.OPEN and not self._broken:
            self._protocol.send_close(code, reason)
            self._settle()
            self._emit_elsewhere()

    @contextlib.contextmanager
    def batch(self) -> Iterator[None]:
        """Join what is sent inside a ``with`` block into as few writes as possible.

        Blocks nest. What is joined leaves at the end of the outermost block, however it ends,
        and whenever ``write_limit`` bytes are there. Do not wait for an answer inside the
        block: what asks for it has not left.
        """
        self._require_thread()
        self._batches += 1
        try:
            yield
        finally:
            self._batches -= 1
            if not self._batches and self._queued and not self._writing:
                self._flush()

    # Control frames.

    def ping(self, data: Data | None = None, *, ack_on_close: bool = False) -> Ping:
        """Send a ping (RFC 6455, section 5.5.2).

        Pings are sent by themselves, see ``ping_interval``; call this to measure latency, or
        to be sure that the peer received all that was sent before.

        Args:
            data: at most 125 bytes; None chooses some.
            ack_on_close: whether closing the connection counts as an answer, too.

        Returns:
            An object whose ``wait(timeout)`` waits for the pong and returns True when it
            came, and whose ``latency`` then is the time between them in seconds.

        Raises:
            ConnectionClosed: the connection is closed or closing.
            ConcurrencyError: a ping with the same data waits for its pong.
            ProtocolError: there are more than 125 bytes.
        """
        self._prepare_to_send(between=True)
        if self._pings is None:
            self._pings = PingBook()
        payload = self._pings.new_payload() if data is None else to_bytes(data)
        ping = Ping(ack_on_close)
        self._pings.add(payload, ping)
        try:
            self._protocol.send_ping(payload)
        except BaseException:
            self._pings.discard(payload)
            raise
        self._settle()
        self._emit()
        return ping

    def pong(self, data: Data = b"") -> None:
        """Send a pong that answers no ping (RFC 6455, section 5.5.3).

        Args:
            data: at most 125 bytes.

        Raises:
            ConnectionClosed: the connection is closed or closing.
            ProtocolError: there are more than 125 bytes.
        """
        self._prepare_to_send(between=True)
        self._protocol.send_pong(to_bytes(data))
        self._settle()
        self._emit()


def to_bytes(data: Data) -> bytes:
    """Return the payload of a message: UTF-8 for text, a copy of what may change."""
    return data.encode() if isinstance(data, str) else bytes(data)
