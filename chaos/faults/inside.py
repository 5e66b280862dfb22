"""Faults inside the line's processes: the clock, the camera, the load, damaged messages, memory."""

from __future__ import annotations

import contextlib
import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

from chaos import inside
from chaos.fault import Fault, Hall, Kind
from chaos.switches import CAMERA, CLOCK, DAMAGE, LOAD, OBEYED
from pipeline.errors import LineError
from pipeline.line import TABLE

HOUR_NS = 3_600_000_000_000
IN_FLIGHT_S = 0.5
"""A part may be captured so long before or after the moment at which a switch was set."""
OBEY_S = 5.0
OVERLOAD_PERCENT = 250
"""Of the usual rate, which is 80 % of what the line carries: twice as much as that."""
DAMAGING = ("acquisition", "preprocessing", "reconstruction", "segmentation", "decision")
SQUEEZED = ("preprocessing", "reconstruction", "segmentation", "decision", "recorder")
CAMERAS = {
    "stops": inside.STOPPED,
    "stutters": inside.STUTTERING,
    "repeats frames": inside.REPEATING,
    "reorders frames": inside.REORDERING,
}
PAGE_BYTES = resource.getpagesize()
MEGABYTE = 1 << 20


@dataclass
class Switched(Fault):
    """A number that the line's processes obey while the fault lasts, and until one of them has."""

    switch: str = ""
    value: int = 0
    _began_s: float = 0.0

    def inflict(self, hall: Hall) -> None:
        self._began_s = time.monotonic()
        hall.line.switches[OBEYED] = 0
        hall.line.switches[self.switch] = self.value

    def end(self, hall: Hall) -> None:
        obeyed = hall.view.wait(lambda: hall.line.switches[OBEYED] > 0, OBEY_S)
        hall.line.switches[self.switch] = 0
        self.note(hall, self._began_s - IN_FLIGHT_S, time.monotonic() + IN_FLIGHT_S)
        if not obeyed:
            raise LineError(f"no process has obeyed the switch {self.switch}")

    def note(self, hall: Hall, from_s: float, to_s: float) -> None:
        """Tell the checks what they must know of this time; of most faults nothing."""


@dataclass
class Overloaded(Switched):
    """Parts come too fast, which the PLC must see where it is known how fast that is."""

    def inflict(self, hall: Hall) -> None:
        self.shows = hall.measured
        super().inflict(hall)


@dataclass
class CameraDisturbed(Switched):
    """The camera does not show each part once, in order, when it passes."""

    def note(self, hall: Hall, from_s: float, to_s: float) -> None:
        hall.unusual.add(from_s, to_s)


@dataclass
class Squeezed(Fault):
    """A process gets hardly any memory beyond what it has."""

    stage: str = ""
    headroom_mb: int = 0
    _pid: int = 0

    def inflict(self, hall: Hall) -> None:
        self._pid = hall.strike(self.stage)
        with contextlib.suppress(OSError):  # it has just died: then another fault struck first
            pages = int(Path(f"/proc/{self._pid}/statm").read_text(encoding="ascii").split()[0])
            self._allow(pages * PAGE_BYTES + self.headroom_mb * MEGABYTE)

    def end(self, hall: Hall) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._allow(resource.RLIM_INFINITY)

    def _allow(self, limit: int) -> None:
        resource.prlimit(self._pid, resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))


def kinds() -> Iterator[Kind]:
    """The kinds of this module."""
    yield Kind("clock forwards", partial(_clock, step_ns=HOUR_NS))
    yield Kind("clock backwards", partial(_clock, step_ns=-HOUR_NS))
    for name, mode in CAMERAS.items():
        yield Kind(f"camera {name}", partial(_camera, mode=mode))
    yield Kind("overload 200 %", _overload)
    for stage in DAMAGING:
        yield Kind(f"damaged messages of {stage}", partial(_damage, stage=stage))
    yield Kind("memory short", _squeeze)


def _clock(drawn: Random, step_ns: int) -> Fault:
    return Switched(drawn.uniform(1, 5), switch=CLOCK, value=step_ns)


def _camera(drawn: Random, mode: int) -> Fault:
    return CameraDisturbed(drawn.uniform(1, 4), switch=CAMERA, value=mode)


def _overload(drawn: Random) -> Fault:
    return Overloaded(drawn.uniform(3, 8), switch=LOAD, value=OVERLOAD_PERCENT)


def _damage(drawn: Random, stage: str) -> Fault:
    number = 1 + [row.name for row in TABLE].index(stage)
    return Switched(drawn.uniform(0.5, 2), switch=DAMAGE, value=number)


def _squeeze(drawn: Random) -> Fault:
    stage, headroom_mb = drawn.choice(SQUEEZED), drawn.choice((0, 1, 4, 16))
    detail = f"{stage}, {headroom_mb} MB"
    return Squeezed(
        drawn.uniform(1, 4),
        hinders=stage == "decision",
        stage=stage,
        headroom_mb=headroom_mb,
        detail=detail,
    )
