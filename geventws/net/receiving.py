"""Receiving: messages from the inbox to the application."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from time import monotonic
from typing import Any, Literal, Protocol, overload

import gevent
from gevent import getcurrent
from gevent.exceptions import BlockingSwitchOutError

from geventws.core.exceptions import ConcurrencyError, ConnectionClosedOK
from geventws.net import endpoint
from geventws.net.threads import get_ident

__all__ = ["Messages", "Receiver", "decoded"]


# For how long, in seconds, receivers may go on in a turn of the loop with what was read
# already; then others get theirs.
FAIR_TIME = 0.0002


class HasRecv(Protocol):
    """What messages can be received from."""

    def recv(self) -> str | bytes:
        """Receive the next message."""


def decoded(message: str | bytes, decode: bool) -> str | bytes:
    """Return a message as ``recv(decode=True)`` or ``recv(decode=False)`` wants it."""
    if decode:
        return message if isinstance(message, str) else message.decode()
    return message.encode() if isinstance(message, str) else message


class Messages:
    """Iterates over the messages of a connection.

    A generator would keep 0.3 KiB more of the stack while it waits.
    """

    __slots__ = ("_receiver",)

    def __init__(self, receiver: HasRecv) -> None:
        self._receiver = receiver

    def __iter__(self) -> Messages:
        return self

    def __next__(self) -> str | bytes:
        try:
            return self._receiver.recv()
        except ConnectionClosedOK:
            raise StopIteration from None


class Receiver(endpoint.Endpoint):
    """What an application does to receive."""

    __slots__ = ("_streaming",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Whether a greenlet is inside `recv_streaming`.
        self._streaming = False

    @overload
    def recv(self, timeout: float | None = None, decode: None = None) -> str | bytes: ...
    @overload
    def recv(self, timeout: float | None = None, *, decode: Literal[True]) -> str: ...
    @overload
    def recv(self, timeout: float | None = None, *, decode: Literal[False]) -> bytes: ...
    @overload
    def recv(self, timeout: float | None, decode: Literal[True]) -> str: ...
    @overload
    def recv(self, timeout: float | None, decode: Literal[False]) -> bytes: ...
    @overload
    def recv(self, timeout: float | None = None, decode: bool | None = None) -> str | bytes: ...

    def recv(self, timeout: float | None = None, decode: bool | None = None) -> str | bytes:
        """Receive the next message.

        A `gevent.Timeout` or a kill during the wait loses nothing: the next call returns
        the message.

        Args:
            timeout: how long to wait, in seconds; None waits for as long as the connection
                lasts, 0 returns only what is there already.
            decode: True to get `str`, False to get `bytes`, whatever was sent; None to get
                `str` for a text and `bytes` for a binary message.

        Returns:
            The whole message, reassembled if it was fragmented.

        Raises:
            ConnectionClosedOK, ConnectionClosedError: the connection is closed, and all that
                arrived before is read.
            TimeoutError: nothing arrived in time.
            ConcurrencyError: another greenlet is receiving.
            UnicodeDecodeError: ``decode`` is True, and a binary message is not UTF-8; the
                exception's ``object`` is the message.
        """
        if get_ident() != self._state.thread:
            self._require_thread()
        if self._receiver is not None or self._streaming:
            self._refuse_receiver("recv")
        inbox = self._inbox
        if not inbox.size:
            if timeout is None:
                self._wait_for_message()
            else:
                self._wait_with_timeout(timeout)
        message = inbox.get()
        if self._stalled and inbox.size <= inbox.low:
            self._catch_up()
        return message if decode is None else decoded(message, decode)

    def _put_back(self, message: str | bytes) -> None:
        """Let a message be received again, that another thread went away from."""
        self._inbox.put_back(message)
        if self._receiver is not None:
            self._waker.add(self)

    def recv_streaming(self, decode: bool | None = None) -> Iterator[str | bytes]:
        """Receive the next message in fragments, as they arrive.

        A loop that is left early discards the rest of the message.

        Args:
            decode: as for `recv`.

        Yields:
            A `str` or `bytes` for each frame of the message.

        Raises:
            As `recv`, except for timeouts.
        """
        self._require_thread()
        if self._receiver is not None or self._streaming:
            self._refuse_receiver("recv_streaming")
        self._streaming = True
        inbox = self._inbox
        last = None
        try:
            inbox.begin_stream()
            decoder = codecs.getincrementaldecoder("utf-8")()
            while last is None or not last.fin:
                if not inbox.size:
                    self._wait_for_message()
                last = inbox.get_fragment()
                if self._stalled and inbox.size <= inbox.low:
                    self._unstall()
                if decode or (decode is None and last.text):
                    yield decoder.decode(last.data, last.fin)
                else:
                    yield last.data
        finally:
            self._streaming = False
            inbox.end_stream(last)
            # What is discarded makes room, too.
            if self._stalled and inbox.size <= inbox.low:
                self._unstall()

    def __iter__(self) -> Iterator[str | bytes]:
        """Iterate over messages until the connection closes normally.

        Raises:
            ConnectionClosedError: it did not close normally.
        """
        return Messages(self)

    def _catch_up(self) -> None:
        """Go on where `_stall` paused, for a receiver that has made room.

        At once where that is fair: a callback of the hub for every few messages would double
        the cost of a stream of small ones.
        """
        if self._debug or monotonic() - self._state.woken > FAIR_TIME:
            self._unstall()
            return
        try:
            self._go_on(receiving=True)
        except BaseException as exc:
            self._receive_bug(exc)

    def _refuse_receiver(self, name: str) -> None:
        raise ConcurrencyError(
            f"cannot call {name} while another greenlet is already running recv or recv_streaming"
        )

    def _wait_for_message(self) -> None:
        """Wait until the inbox holds something.

        It needs no lock: between the test and the switch nothing else runs.
        """
        if self._queued and not self._writing and not self._batches:
            self._flush()
        inbox, switch = self._inbox, self._state.switch_to_hub
        receiver = getcurrent()
        if receiver is self._state.hub:
            raise BlockingSwitchOutError("cannot call recv in the hub, where nothing may wait")
        try:
            while not inbox.size:
                if self._ended:
                    raise self._closed_exception()
                self._receiver = receiver
                switch()
        finally:
            # Whoever leaves, by whatever exception, must not be switched to any more; and the
            # exception, which a greenlet that dies keeps with our frame, must not refer to it.
            self._receiver = None
            del receiver

    def _wait_with_timeout(self, timeout: float) -> None:
        if self._ended:
            raise self._closed_exception()
        if timeout <= 0:
            raise TimeoutError("timed out")
        # Timers under a millisecond make libuv complain.
        timer = gevent.Timeout.start_new(max(timeout, 0.001))
        try:
            self._wait_for_message()
        except gevent.Timeout as exc:
            if exc is not timer:
                raise
            # Our frame, which its traceback refers to, refers to it.
            timer.__traceback__ = None
            raise TimeoutError(f"timed out in {timeout:.1f}s") from None
        finally:
            timer.close()
