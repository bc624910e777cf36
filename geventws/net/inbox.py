"""Received messages that wait to be read, within bounds."""

from __future__ import annotations

import sys
from collections import deque

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

    __slots__ = ("_first", "_flowing", "_rest", "_skipping", "_unfinished", "high", "low", "size")

    def __init__(self, high: int | None, low: int) -> None:
        # Frames that can be read: whole messages, and fragments somebody streams.
        self.size = 0
        # At least one, or nothing would ever be read.
        self.high = sys.maxsize if high is None else max(high, 1)
        self.low = low
        # The oldest, and a queue of the others only while there are any: mostly one message
        # waits, or none, and a list costs 0.1 us to fill and empty, a deque 0.6 KiB to keep.
        self._first: str | bytes | Fragment | None = None
        self._rest: deque[str | bytes | Fragment] | None = None
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
            if self._first is None:
                self._first = item
            else:
                self._append(item)
            self.size += 1
            # If a stream waited for it, it is complete.
            self._flowing = False

    def _put_fragment(self, fragment: Fragment) -> None:
        if self._skipping:
            self._skipping = not fragment.fin
            return
        self._append(fragment)
        self._unfinished += 1
        if fragment.fin or self._flowing:
            self.size += self._unfinished
            self._unfinished = 0
        if fragment.fin:
            self._flowing = False

    def get(self) -> str | bytes:
        """Take the next message; `size` must not be 0."""
        if self._rest is None:
            # The usual case, without another call.
            item, self._first = self._first, None
            self.size -= 1
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

    def put_back(self, message: str | bytes) -> None:
        """Let the message that was taken last be taken again."""
        if self._first is not None:
            if self._rest is None:
                self._rest = deque()
            self._rest.appendleft(self._first)
        self._first = message
        self.size += 1

    def _append(self, item: str | bytes | Fragment) -> None:
        if self._first is None:
            self._first = item
        elif self._rest is None:
            self._rest = deque((item,))
        else:
            self._rest.append(item)

    def _pop(self) -> str | bytes | Fragment:
        self.size -= 1
        item, rest = self._first, self._rest
        assert item is not None
        if rest is None:
            self._first = None
        else:
            self._first = rest.popleft()
            if not rest:
                self._rest = None
        return item

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
