"""What does a compressed message cost?"""

from __future__ import annotations

from tests.bench.candidates import GEVENTWS, PLAIN, WEBSOCKETS
from tests.bench.corpus import EXTENSIONS, write_frames
from tests.bench.measures import Bench, Load, Measured, echo
from tests.bench.scenario import CPU, LOAD_COLUMNS, RATE, Bar, Metric, Scenario


def measure(bench: Bench, name: str) -> Measured:
    """Echo the corpus, compressed beforehand, so that compressing does not load the load."""
    frames = bench.programs / "corpus.frames"
    if not frames.exists():
        write_frames(frames)
    load = Load(connections=8, text=True, frames=frames, extensions=EXTENSIONS)
    return echo(load, "deflate")(bench, name)


SCENARIOS = [
    Scenario(
        letter="e",
        question="echo JSON of 1 KiB, compressed, 8 connections, one message in flight each",
        candidates=[GEVENTWS, PLAIN, WEBSOCKETS],
        measure=measure,
        metrics=[CPU, RATE, Metric("bytes", "bytes/echo"), *LOAD_COLUMNS],
        bars=[Bar(CPU, 0.80, WEBSOCKETS)],
        note="permessage-deflate as both servers negotiate it by default, with context takeover.",
    )
]
