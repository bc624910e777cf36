"""The corpus of question e: JSON messages of 1 KiB that do not repeat, and their frames.

``python -m tests.bench.corpus`` writes ``corpus.jsonl`` again, the same as before.
"""

from __future__ import annotations

import json
import pathlib
import random
import zlib

from geventws.core.codec import encode_frame

__all__ = ["EXTENSIONS", "write_frames"]

CORPUS = pathlib.Path(__file__).with_name("corpus.jsonl")
MESSAGES = 250
SIZE = 1024

# What a browser offers, and the window that both servers then choose for the client.
EXTENSIONS = "permessage-deflate; client_max_window_bits"
WINDOW_BITS = 12
MEMORY_LEVEL = 5

NAMES = "Ada Bruno Chloé Dmitri Esra Farid Grace Hana Ines Jörg Kofi Lien María Noor".split()
WORDS = (
    "the a of order ticket server please answer again tomorrow is was delayed shipped found "
    "update station number price café über window table green seven late early message"
).split()


def make_message(dice: random.Random, number: int) -> str:
    """Make an event as chats and dashboards send them, of exactly SIZE bytes in UTF-8."""
    event: dict[str, object] = {"type": "event", "id": number, "items": [], "text": ""}
    event["time"] = round(1.7e9 + number * 7 + dice.random(), 3)
    event["user"] = {"name": NAMES[int(dice.random() * len(NAMES))], "key": random_key(dice)}
    event["items"] = [
        {"key": random_key(dice), "price": round(dice.random() * 500, 2), "sold": i % 2 == 0}
        for i in range(5)
    ]
    words = [WORDS[int(dice.random() * len(WORDS))] for _ in range(200)]
    room = SIZE - len(dump(event))
    text = " ".join(words).encode()[:room].decode(errors="ignore")
    event["text"] = text + "." * (room - len(text.encode()))
    return dump(event).decode()


def random_key(dice: random.Random) -> str:
    """Make an identifier."""
    return f"{int(dice.random() * 2**48):012x}"


def dump(event: dict[str, object]) -> bytes:
    """Write an event as JSON."""
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()


def write_frames(path: pathlib.Path) -> None:
    """Write the corpus as frames of a client, compressed with context takeover.

    A connection that has sent all of them may begin again: the first one refers to nothing
    that came before it.
    """
    compressor = zlib.compressobj(wbits=-WINDOW_BITS, memLevel=MEMORY_LEVEL)
    with path.open("wb") as file:
        for line in CORPUS.read_bytes().splitlines():
            data = compressor.compress(line) + compressor.flush(zlib.Z_SYNC_FLUSH)
            # FIN, RSV1 (compressed), text; RFC 7692 leaves out the last four bytes.
            file.write(encode_frame(0xC1, data[:-4], True))


if __name__ == "__main__":
    dice = random.Random(6455)
    lines = [make_message(dice, number) for number in range(MESSAGES)]
    CORPUS.write_text("\n".join(lines) + "\n", "utf-8")
