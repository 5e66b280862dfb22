"""What tests of the loop around a stage put into it: a plain stage, its row, frames."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from pipeline.config import Batch
from pipeline.control import LineOrder, StageReport
from pipeline.line import Row
from pipeline.messages import CapturedFrame, Message, Part, PreparedFrame, Stamp
from pipeline.wire import Inlet, Outlet

Until = Callable[[Callable[[], object]], None]
SESSION = "20261122-071502-3f9a"
SMALL = np.zeros((4, 4, 1), np.uint8)
SECOND_NS = 1_000_000_000


class PlainStage:
    """Prepares frames without looking at them; notes what the loop does with it."""

    def __init__(self, spoil: Callable[[Part], None] = lambda _part: None) -> None:
        self._spoil = spoil
        self.batches: list[list[int]] = []
        self.messages: list[Message] = []
        self.orders: list[LineOrder] = []
        self.closed = 0

    def open(self) -> None: ...

    def take(self, messages: Sequence[Message]) -> Iterable[Message]:
        self.batches.append(sequences(messages))
        self.messages += messages
        for message in messages:
            self._spoil(message.part)
            if isinstance(message, CapturedFrame):
                yield PreparedFrame(message.part, 9, SMALL, SMALL, message.stamps)

    def tick(self, now_monotonic_ns: int, order: LineOrder, room: bool) -> Iterable[Message]:
        self.orders.append(order)
        return ()

    def report(self) -> StageReport:
        return StageReport(last_sequence=len(self.messages))

    def close(self) -> None:
        self.closed += 1


def row(size: int = 16, max_wait_ms: int = 0) -> Row:
    """Preprocessing, with batches."""
    batch = Batch(size=size, max_wait_ms=max_wait_ms)
    return Row(
        name="preprocessing",
        module="",
        consumes=("captured",),
        produces=("prepared", "failure"),
        batch=lambda _config: batch,
    )


def frame(
    sequence: int,
    deadline_ns: int | None = None,
    image: np.ndarray = SMALL,
    stamps: tuple[Stamp, ...] = (),
) -> CapturedFrame:
    """A frame whose deadline is an hour away, or at `deadline_ns`."""
    deadline_ns = time.monotonic_ns() + 3600 * SECOND_NS if deadline_ns is None else deadline_ns
    return CapturedFrame(Part(3, SESSION, sequence), deadline_ns, image, stamps)


def send_all(outlet: Outlet, messages: Iterable[Message], until: Until) -> None:
    """Send each as soon as there is room."""
    for message in messages:
        until(lambda message=message: outlet.send(message))


def take(inlet: Inlet, count: int) -> list[Any]:
    """The next so many messages."""
    messages: list[Any] = []
    while len(messages) < count:
        assert inlet.socket.poll(10_000), f"only {len(messages)} of {count} messages came"
        messages.append(inlet.receive())
    return messages


def sequences(messages: Iterable[Message]) -> list[int]:
    """The numbers of their parts."""
    return [message.part.sequence for message in messages]
