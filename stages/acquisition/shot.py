"""What a camera hands over: one shot of one part, with the time at which it was taken."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pipeline.errors import FrameError
from pipeline.messages import Truth


class Clock(Protocol):
    """Where cameras take the time from; tests bring their own."""

    def monotonic_ns(self) -> int:
        """Nanoseconds of the machine's monotonic clock."""

    def wall_ns(self) -> int:
        """Nanoseconds since 1970, UTC."""


class SystemClock:
    """The machine's clocks."""

    def monotonic_ns(self) -> int:
        """Nanoseconds of the machine's monotonic clock."""
        return time.monotonic_ns()

    def wall_ns(self) -> int:
        """Nanoseconds since 1970, UTC."""
        return time.time_ns()


@dataclass(frozen=True, eq=False)
class Shot:
    """A part in front of the camera: its `image`, or the `fault` that stands in for it.

    `image`: (H, W), (H, W, 3) BGR or (H, W, 4) BGRA, uint8 or uint16. `source` says where the
    shot comes from: a file, an address, or product/kind. `truth` is None where nobody knows it.
    """

    image: np.ndarray | None
    fault: FrameError | None
    source: str
    truth: Truth | None
    captured_monotonic_ns: int
    captured_wall_ns: int

    def __post_init__(self) -> None:
        assert (self.image is None) != (self.fault is None), "a shot has an image or a fault"
