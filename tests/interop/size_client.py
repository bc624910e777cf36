"""A foreign client in a process of its own: sends messages of mixed sizes, compares the echo.

    python -m tests.interop.size_client websockets|websocket-client PORT COUNT SEED COMPRESSION

It sends and receives at the same time.
"""

from __future__ import annotations

import asyncio
import random
import sys
import threading
from collections.abc import Iterator

import websocket
import websockets.asyncio.client
from websocket import ABNF

Message = str | bytes

# A largest size, and how many of a thousand messages are at most that large.
SIZES = [(125, 500), (1000, 250), (10_000, 100), (65_536, 100), (300_000, 40), (10**6, 10)]

# Sizes at which the frame's head, a buffer, or a limit changes.
EDGES = [0, 1, 2, 3, 4, 5, 125, 126, 127, 4095, 4096, 65535, 65536, 65537, 262144, 262145]

# The default of `max_size`. Compression makes noise, and the empty frame at the end of a
# fragmented message, larger, and `websockets` holds that, too, to its limit.
LARGEST, LARGEST_RANDOM = 2**20, 10**6

# Text whose characters have one to four bytes, and bytes that do and do not compress.
TEXT = "Grüße, 世界 🌍! " * (LARGEST // 16)


def messages(count: int, seed: int) -> Iterator[tuple[Message, list[Message]]]:
    """Yield messages, and the fragments to send them in; none for a single frame.

    The same arguments yield the same messages.
    """
    rng = random.Random(seed)
    noise = rng.randbytes(LARGEST)
    # The first one is neither sent nor echoed in fragments.
    edges = [*EDGES, *EDGES, LARGEST_RANDOM, LARGEST]
    for number in range(count):
        size = edges.pop() if edges else draw_size(rng)
        message = draw_message(rng, noise, size)
        fragments: list[Message] = []
        if number % 3 == 2:
            cuts = sorted(rng.randint(0, len(message)) for _ in range(rng.randint(0, 5)))
            ends = [0, *cuts, len(message)]
            fragments = [message[start:end] for start, end in zip(ends, ends[1:], strict=False)]
        yield message, fragments


def draw_size(rng: random.Random) -> int:
    largest = rng.choices([size for size, _ in SIZES], [share for _, share in SIZES])[0]
    return rng.randint(0, largest)


def draw_message(rng: random.Random, noise: bytes, size: int) -> Message:
    """Return a text, or bytes with or without order, of a size in bytes."""
    kind = rng.randrange(4)
    start = rng.randrange(1000)
    if kind < 2:
        data = TEXT[start : start + size].encode()[:size]
        text = data.decode(errors="ignore")
        return text + "." * (size - len(text.encode()))
    if kind == 2 and size <= LARGEST_RANDOM:
        return noise[start : start + size]
    return bytes([start % 256, size % 256]) * (size // 2) + b"." * (size % 2)


def check(number: int, sent: Message, echo: Message) -> None:
    if type(echo) is not type(sent) or echo != sent:
        sys.exit(f"message {number} came back changed: {len(sent)} and {len(echo)} long")


async def run_websockets(uri: str, compression: str | None, count: int, seed: int) -> None:
    """Echo with `websockets`, by asyncio: by threads it cannot read while it waits to send."""
    async with websockets.asyncio.client.connect(uri, compression=compression, proxy=None) as ws:

        async def send() -> None:
            for message, fragments in messages(count, seed):
                await ws.send(fragments or message)

        sending = asyncio.create_task(send())
        for number, (message, _) in enumerate(messages(count, seed)):
            check(number, message, await ws.recv())
        await sending


class Window:
    """Bounds how many bytes are on their way.

    Where a library cannot receive while it waits to send, not even a ping, both sides could
    wait for ever for each other to read.
    """

    # Less than the buffers of any two sockets.
    LIMIT = 65_536

    def __init__(self) -> None:
        self.size = 0
        self.changed = threading.Condition()

    def enter(self, size: int) -> None:
        """Wait until there is room, or nothing else is on its way."""
        with self.changed:
            self.changed.wait_for(lambda: self.size == 0 or self.size + size <= self.LIMIT)
            self.size += size

    def leave(self, size: int) -> None:
        with self.changed:
            self.size -= size
            self.changed.notify()


def run_websocket_client(uri: str, count: int, seed: int) -> None:
    """Echo with `websocket-client`, which has no compression."""
    ws = websocket.create_connection(uri, 60)
    window = Window()

    def send() -> None:
        for message, fragments in messages(count, seed):
            window.enter(len(message))
            opcode = ABNF.OPCODE_TEXT if isinstance(message, str) else ABNF.OPCODE_BINARY
            *parts, last = fragments or [message]
            for part in parts:
                ws.send_frame(ABNF.create_frame(encode(part), opcode, fin=0))
                opcode = ABNF.OPCODE_CONT
            ws.send_frame(ABNF.create_frame(encode(last), opcode))

    sending = threading.Thread(target=send, daemon=True)
    sending.start()
    for number, (message, _) in enumerate(messages(count, seed)):
        check(number, message, ws.recv())
        window.leave(len(message))
    sending.join()
    ws.close()


def encode(part: Message) -> bytes:
    return part.encode() if isinstance(part, str) else part


def main(library: str, port: str, count: str, seed: str, compression: str) -> None:
    uri = f"ws://127.0.0.1:{port}/"
    if library == "websockets":
        asyncio.run(run_websockets(uri, compression or None, int(count), int(seed)))
    else:
        run_websocket_client(uri, int(count), int(seed))
    total = sum(len(encode(message)) for message, _ in messages(int(count), int(seed)))
    print(f"{count} messages, {total} bytes")


if __name__ == "__main__":
    main(*sys.argv[1:])
