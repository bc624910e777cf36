"""Received messages that wait to be read, within bounds."""

from __future__ import annotations

import sys

from geventws.core.messages import Fragment

__all__ = ["Inbox"]


class Inbox:
    """Received messages and fragments, in order.

    An unfinished message that nobody streams does not count against the bound; ``max_size``
    and ``max_fragments`` bound it.

    Args:
        high: how many frames may wait before reading pauses; None for any number.
        low: at how many it goes on.
    """

    __slots__ = ("_arrived", "_flowing", "_next", "_skipping", "_unfinished", "high", "low", "size")

    def __init__(self, high: int | None, low: int) -> None:
        # Frames that can be read: whole messages, and fragments somebody streams.
        self.size = 0
        # At least one, or nothing would ever be read.
        self.high = sys.maxsize if high is None else max(high, 1)
        self.low = low
        # Two stacks make a queue with less memory than a deque: 0.5 KiB per connection.
        self._arrived: list[str | bytes | Fragment] = []
        self._next: list[str | bytes | Fragment] = []
        # Fragments of the message under way that do not count yet.
        self._unfinished = 0
        # Whether the message under way is being streamed.
        self._flowing = False
        # Whether the message under way is discarded, because its stream was abandoned.
        self._skipping = False

    def put(self, item: str | bytes | Fragment) -> None:
        """Add what was received."""
        if type(item) is Fragment:
            self._put_fragment(item)
        else:
            self._arrived.append(item)
            self.size += 1
            # If a stream waited for it, it is complete.
            self._flowing = False

    def _put_fragment(self, fragment: Fragment) -> None:
        if self._skipping:
            self._skipping = not fragment.fin
            return
        self._arrived.append(fragment)
        self._unfinished += 1
        if fragment.fin or self._flowing:
            self.size += self._unfinished
            self._unfinished = 0
        if fragment.fin:
            self._flowing = False

    def get(self) -> str | bytes:
        """Take the next message; `size` must not be 0."""
        if len(self._arrived) == 1 and not self._next:
            # The usual case, without another call.
            self.size -= 1
            item = self._arrived.pop()
        else:
            item = self._pop()
        if type(item) is not Fragment:
            return item  # type: ignore[return-value]
        parts = [item.data]
        text = item.text
        while not item.fin:
            item = self._pop()
            assert type(item) is Fragment
            parts.append(item.data)
        data = b"".join(parts)
        return data.decode() if text else data

    def _pop(self) -> str | bytes | Fragment:
        self.size -= 1
        if self._next:
            return self._next.pop()
        if len(self._arrived) > 1:
            # Turn the stack of what arrived around, to take the oldest first.
            self._next, self._arrived = self._arrived, self._next
            self._next.reverse()
            return self._next.pop()
        return self._arrived.pop()

    def begin_stream(self) -> None:
        """Let fragments of the next message be taken as they arrive."""
        if self.size == 0:
            self._flowing = True
            self.size, self._unfinished = self._unfinished, 0

    def get_fragment(self) -> Fragment:
        """Take the next fragment; `size` must not be 0. A whole message is one fragment."""
        item = self._pop()
        if type(item) is Fragment:
            return item
        if type(item) is str:
            return Fragment(item.encode(), True, True)
        return Fragment(item, False, True)  # type: ignore[arg-type]

    def end_stream(self, last: Fragment | None) -> None:
        """Discard what is left of the streamed message, now or when it arrives.

        Args:
            last: the last fragment taken; None if none was.
        """
        while last is not None and not last.fin:
            if self.size == 0:
                self._skipping = True
                break
            last = self.get_fragment()
        if self._flowing:
            self._flowing = False
            if not self._skipping:
                self._unfinished, self.size = self.size, 0
