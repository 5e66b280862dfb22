"""What a stage is: a plain object without sockets, which the loop feeds and tests call directly."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np

from pipeline.bell import Bell
from pipeline.config import LineConfig
from pipeline.control import LineOrder, StageReport
from pipeline.device_times import DeviceTimes
from pipeline.messages import MOST_TEXT, Failure, Message, Reason, Stamp

NEVER_NS = 1 << 63
"""Later than any moment."""
NO_VIEW = np.zeros((0, 0, 1), dtype=np.uint8)
"""What a failure shows of a part that nobody can show."""


@dataclass(frozen=True)
class StageContext:
    """What the loop tells a stage when it builds it.

    A thread of the stage rings the `bell` when there is something for `tick` to do. Where it has a
    device, it notes in `device_times` what its batches took there, for the loop's beats.
    """

    config: LineConfig
    session: str
    worker: int
    log: logging.Logger
    bell: Bell = field(default_factory=Bell)
    device_times: DeviceTimes = field(default_factory=DeviceTimes)


class Stage(Protocol):
    """The work of one process.

    The loop calls `open` once, then `take` with each batch of received messages and `tick` between
    batches, after whatever wakes the loop and at least several times a second, and at the end
    `close`, unless `open` failed. What `take` and `tick` yield goes to the channel of its type. An
    exception in `take` costs the parts of that batch that cause it.
    """

    def open(self) -> None:
        """Load and connect; the stage counts as ready when this returns."""

    def take(self, messages: Sequence[Message]) -> Iterable[Message]:
        """Do the work on a batch of messages of the channels that the stage consumes."""

    def tick(self, now_monotonic_ns: int, order: LineOrder, room: bool) -> Iterable[Message]:
        """Do what is due now. `room`: whether every lossless output could take a message."""

    def report(self) -> StageReport:
        """What the next beat says of this stage beyond the loop's own counters."""

    def close(self) -> None:
        """Let go of devices, files and connections."""


@runtime_checkable
class TimedStage(Stage, Protocol):
    """A stage whose `tick` has something to do at certain times."""

    def due_ns(self, now_monotonic_ns: int) -> int:
        """When to call `tick` at the latest, monotonic; NEVER_NS: whenever something else wakes the
        loop, be it a message, an order, the bell or room in an output.
        """


@runtime_checkable
class OverlappingStage(Stage, Protocol):
    """A stage whose device works on one batch while the loop collects the next.

    Its `take` begins a batch and hands over nothing of an earlier one: what it raises is laid to
    the parts that it was given, which are then tried one by one. The loop asks for the results.
    """

    def settle(self, wait: bool) -> Iterable[Message]:
        """Hand over what has been computed since, a Failure for a part whose result cannot be had;
        with `wait`, all that was taken. Raises DeviceError, and nothing for the sake of one part.
        """


def stamps_of(message: Message) -> tuple[Stamp, ...] | None:
    """The stages that a message has passed; None for one that keeps no account of them."""
    stamps: tuple[Stamp, ...] | None = getattr(message, "stamps", None)
    return stamps


def stage_fault(stage: str, message: Message, error: Exception) -> Failure:
    """What becomes of a part on which a stage has raised an exception."""
    text = f"{stage} failed: {type(error).__name__}: {error}"
    stamps = stamps_of(message) or ()
    return Failure(message.part, Reason.STAGE_FAULT, text[:MOST_TEXT], stage, NO_VIEW, stamps)
