"""Interrupts a greenlet at one of the points where it lets others run."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Self

import gevent
import greenlet

# Where the functions are in which victims wait.
PACKAGE = "geventws.net."

# More switch points than any operation here has.
MANY = 500


class Interruption(gevent.Timeout):
    """A timeout of somebody else."""

    def __init__(self) -> None:
        super().__init__(None)


class Interrupter:
    """While it is entered, counts the switches away from a greenlet, and interrupts one of them.

    Args:
        exc: what is raised there: `GreenletExit` is a kill.
        at: at which of its switches, from 1; 0 only counts.
        late: how many turns of the loop later: what the greenlet waited for may have happened.
    """

    def __init__(self, exc: type[BaseException], at: int, late: int) -> None:
        self.exc, self.at, self.late = exc, at, late
        # Tells the victim from other greenlets; it may have begun before.
        self.is_victim: Callable[[Any], bool] = lambda glet: False
        self.victim: Any = None
        self.count = 0
        # Whether it arrived in the victim, and whether it came out of what the victim called.
        self.thrown = self.caught = False
        # The functions that the victim was in, as module.function.
        self.places: set[str] = set()
        self._loop = gevent.get_hub().loop

    @property
    def struck(self) -> bool:
        """Whether the victim came to that point."""
        return self.count >= self.at > 0

    def _trace(self, event: str, args: Any) -> None:
        if event not in ("switch", "throw"):
            return
        origin, target = args
        if event == "throw" and target is self.victim:
            self.thrown = True
        if origin.dead or (origin is not self.victim and not self._choose(origin)):
            return
        self.count += 1
        self.places.update(_places(origin.gr_frame))
        if self.count == self.at:
            self._strike(self.late)

    def _choose(self, origin: Any) -> bool:
        if self.victim is None and self.is_victim(origin):
            self.victim = origin
        return self.victim is origin

    def _strike(self, late: int) -> None:
        if late:
            self._loop.run_callback(self._strike, late - 1)
        else:
            self.victim.kill(self.exc, block=False)

    @contextlib.contextmanager
    def catching(self) -> Iterator[None]:
        """Catch the interruption, and nothing else."""
        try:
            yield
        except self.exc:
            self.caught = True

    def __enter__(self) -> Self:
        self._tracer = greenlet.settrace(self._trace)
        return self

    def __exit__(self, *exc_info: object) -> None:
        greenlet.settrace(self._tracer)


def _places(frame: FrameType | None) -> set[str]:
    """The functions of the package on a stack."""
    places = set()
    while frame is not None:
        if (module := frame.f_globals["__name__"]).startswith(PACKAGE):
            places.add(f"{module.removeprefix(PACKAGE)}.{frame.f_code.co_name}")
        frame = frame.f_back
    return places


def at_every_switch(
    run: Callable[[Interrupter], None], exc: type[BaseException], late: int
) -> set[str]:
    """Run something once for each switch point of its victim, and interrupt it there.

    Args:
        run: gets an `Interrupter`, tells it the victim, and enters it.
        exc: what is raised.
        late: how late.

    Returns:
        The functions in which the victim was interrupted, or on the way, as module.function;
        those of compiled modules leave no trace.
    """
    places: set[str] = set()
    thrown = False
    for at in range(1, MANY):
        interrupter = Interrupter(exc, at, late)
        run(interrupter)
        places |= interrupter.places
        thrown |= interrupter.thrown
        if not interrupter.struck:
            assert thrown, "it was never interrupted"
            return places
    raise AssertionError("it never ends")


def check_places(places: set[str], *expected: str) -> None:
    """Check that a victim was interrupted in these functions, as far as they are not compiled."""
    missing = {place for place in expected if place not in places and not _is_compiled(place)}
    assert not missing, f"not interrupted in {missing}"


def _is_compiled(place: str) -> bool:
    file = sys.modules[PACKAGE + place.partition(".")[0]].__file__
    return file is not None and not file.endswith(".py")
