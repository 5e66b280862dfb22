"""Faults that can only happen inside a process of the line, installed before its program begins.

The campaign puts a folder on the line's PYTHONPATH whose `sitecustomize.py` calls `enter`. The
project's own files stay as they are; what is replaced, and only while a switch says so: the wall
clock, what the simulated camera shows, the bytes of a message on their way to the socket. And
SIGUSR1 makes a stage compute without end.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from chaos.switches import CAMERA, CLOCK, DAMAGE, ENVIRONMENT, LOAD, Switches

STOPPED, STUTTERING, REPEATING, REORDERING = 1, 2, 3, 4
"""What the camera may do, as the switch says it."""
LONGEST_STUTTER_S = 0.6
DAMAGED_SHARE = 0.5
MOST_LATE_NS = 100_000_000
Frames = list[Any]
Shows = Callable[[Any, int, float], Any]
"""The `read` of a camera, as `stages.acquisition.camera` declares it."""


def enter() -> None:
    """Called by every Python process of the line at its start."""
    name = os.environ.get(ENVIRONMENT)
    if name is None:
        return
    switches = Switches(Path(name))
    _shift_clock(switches)
    arguments = sys.orig_argv
    if "--stage" in arguments:
        stage = arguments[arguments.index("--stage") + 1]
        signal.signal(signal.SIGUSR1, _compute_for_ever)
        _damage_messages(switches, stage)
        if stage == "acquisition":
            _disturb_camera(switches)
            _hurry(switches)


def _compute_for_ever(_number: int, _frame: FrameType | None) -> None:
    """The stage's own thread is busy and never returns; its other threads go on."""
    number = 0
    while True:
        number = (number * 1_103_515_245 + 12_345) % 2**31


def _shift_clock(switches: Switches) -> None:
    seconds, nanoseconds = time.time, time.time_ns
    time.time = lambda: seconds() + switches.obeyed(CLOCK) / 1e9
    time.time_ns = lambda: nanoseconds() + switches.obeyed(CLOCK)


def _disturb_camera(switches: Switches) -> None:
    from stages.acquisition.simulated import SimulatedCamera  # noqa: PLC0415 - only this stage's

    SimulatedCamera.read = disturbed(  # type: ignore[method-assign,assignment]  # what this is for
        SimulatedCamera.read, lambda: switches.obeyed(CAMERA), random.Random(0)
    )


def _hurry(switches: Switches) -> None:
    """Parts come in so many per cent of the configured rate, and nobody waits for the line."""
    from stages.acquisition.source import PartSource  # noqa: PLC0415 - only this stage's

    advance = PartSource._advance

    def hurried(source: PartSource, now_ns: int) -> None:
        due_ns, period_ns, percent = source._due_ns, source._period_ns, switches.obeyed(LOAD)
        advance(source, now_ns)
        if percent and period_ns is not None:
            since_ns = max(now_ns if due_ns is None else due_ns, now_ns - MOST_LATE_NS)
            source._due_ns = since_ns + period_ns * 100 // percent

    PartSource._advance = hurried  # type: ignore[method-assign,assignment]  # what this module is for


def disturbed(read: Shows, how: Callable[[], int], drawn: random.Random) -> Shows:
    """A camera's `read` that obeys the switch."""

    def shows(camera: Any, sequence: int, timeout_s: float) -> Any:
        match how():
            case 1:  # STOPPED
                return None
            case 2:  # STUTTERING
                time.sleep(drawn.uniform(0, LONGEST_STUTTER_S))
            case 3:  # REPEATING
                sequence = max(1, sequence - 1)
            case 4:  # REORDERING: 2 1 4 3 6 5 ...
                sequence += 1 if sequence % 2 else -1
        return read(camera, sequence, timeout_s)

    return shows


def _damage_messages(switches: Switches, stage: str) -> None:
    from pipeline.line import TABLE  # noqa: PLC0415 - not before the line has a fault to suffer
    from pipeline.wire import Encoder  # noqa: PLC0415 - likewise

    number = 1 + [row.name for row in TABLE].index(stage)
    whole, drawn = Encoder.encode, random.Random(stage)

    def encode(encoder: Encoder, message: Any) -> Frames:
        frames: Frames = whole(encoder, message)
        if switches[DAMAGE] != number or drawn.random() > DAMAGED_SHARE:
            return frames
        switches.obeyed(DAMAGE)
        return drawn.choice(DAMAGES)([bytes(frame) for frame in frames], drawn)

    Encoder.encode = encode  # type: ignore[method-assign,assignment]  # what this module is for


def _cut_header(frames: Frames, drawn: random.Random) -> Frames:
    return [frames[0], frames[1][: drawn.randrange(len(frames[1]))], *frames[2:]]


def _cut_identity(frames: Frames, drawn: random.Random) -> Frames:
    return [frames[0][: drawn.randrange(len(frames[0]))], *frames[1:]]


def _shorten(frames: Frames, drawn: random.Random) -> Frames:
    return frames[: drawn.randrange(1, len(frames) + 1)]


def _lengthen(frames: Frames, drawn: random.Random) -> Frames:
    return [*frames, drawn.randbytes(drawn.randrange(1, 2000))]


def _cut_last(frames: Frames, _drawn: random.Random) -> Frames:
    return [*frames[:-1], frames[-1][: len(frames[-1]) // 2]]


def _foreign(_frames: Frames, drawn: random.Random) -> Frames:
    return [drawn.randbytes(drawn.randrange(0, 300)) for _ in range(drawn.randrange(1, 5))]


def _overwritten(frames: Frames, drawn: random.Random) -> Frames:
    """The header's first bytes, which say what it is, are not those of a message any more."""
    return [frames[0], b"\xc1" * 8 + frames[1][8:], *frames[2:]]


DAMAGES: tuple[Callable[[Frames, random.Random], Frames], ...] = (
    _cut_header,
    _cut_identity,
    _shorten,
    _lengthen,
    _cut_last,
    _foreign,
    _overwritten,
)
"""Ways to spoil a message that no consumer can take for a whole one."""
