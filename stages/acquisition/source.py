"""The core of acquisition: when the next part is due, and what is said about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pipeline.config import LineConfig
from pipeline.errors import FrameError
from pipeline.messages import (
    REASON_TEXT,
    Announcement,
    CapturedFrame,
    Failure,
    Message,
    Part,
    Reason,
)
from stages.acquisition.camera import Camera
from stages.acquisition.shot import Shot

STAGE = "acquisition"
MOST_PERIODS_LATE = 3
MOST_LATE_NS = 100_000_000
"""Behind by more than both, a paced camera lets the missed parts go instead of catching up."""


class Counter(Protocol):
    """Numbers the parts; see SequenceCounter."""

    @property
    def last(self) -> int:
        """The number given out last; 0 before the first."""

    def next(self) -> int:
        """The next number, from 1."""


@dataclass(frozen=True)
class CaptureRule:
    """`rate_hz` None: as fast as the camera and the line allow. `parts` None: without end."""

    rate_hz: float | None
    parts: int | None
    deadline_ms: int

    @classmethod
    def of(cls, config: LineConfig) -> CaptureRule:
        """The rule that a line is configured with."""
        camera = config.camera
        return cls(camera.rate_hz, camera.parts, config.timing.deadline_ms)


class PartSource:
    """Turns shots into parts: numbers them, announces them, and passes their frames on."""

    def __init__(
        self, camera: Camera, rule: CaptureRule, *, line: int, session: str, counter: Counter
    ) -> None:
        self._camera = camera
        self._rule = rule
        self._line = line
        self._session = session
        self._counter = counter
        self._period_ns = round(1e9 / rule.rate_hz) if rule.rate_hz else None
        self._due_ns: int | None = None

    @property
    def exhausted(self) -> bool:
        """Whether no further part will come."""
        parts = self._rule.parts
        return self._camera.exhausted or (parts is not None and self._counter.last >= parts)

    @property
    def warning(self) -> str:
        """The camera's sentence for the operator, or nothing."""
        return self._camera.warning

    @property
    def away(self) -> str:
        """Why no part can come from the camera now, or nothing."""
        return self._camera.away

    def next_due(self, now_ns: int, room: bool = True) -> int | None:
        """When to call `capture` next, monotonic ns; None when no further part will come, or it
        comes by itself, or waits for room.
        """
        if self.exhausted or self._camera.live or (not room and self._parts_can_wait):
            return None
        return now_ns if self._due_ns is None else self._due_ns

    def capture(self, now_ns: int, room: bool, timeout_s: float = 0.0) -> list[Message]:
        """At most one part: its announcement, and its frame or the failure that answers it.

        Without `room` in the line, a part that comes by itself (paced, or from a live camera) is
        announced and failed as OVERLOAD; a part that can wait is left where it is.
        """
        if self.exhausted or (self._due_ns is not None and now_ns < self._due_ns):
            return []
        if not room and self._parts_can_wait:
            return []
        shot = self._camera.read(self._counter.last + 1, timeout_s)
        if shot is None:
            return []
        self._advance(now_ns)
        part = Part(self._line, self._session, self._counter.next())
        announcement = self._announcement(part, shot)
        return [announcement, self._outcome(announcement, shot, room)]

    def rest(self) -> None:
        """The line takes no parts: what passes a live camera meanwhile is none of its parts."""
        while self._camera.live and self._camera.read(self._counter.last + 1, 0.0) is not None:
            continue

    @property
    def _parts_can_wait(self) -> bool:
        return self._period_ns is None and not self._camera.live

    def _advance(self, now_ns: int) -> None:
        """Move to the next point of the grid that began with the first part."""
        if self._period_ns is None:
            return
        due = now_ns if self._due_ns is None else self._due_ns
        late = now_ns - due
        if late > max(MOST_PERIODS_LATE * self._period_ns, MOST_LATE_NS):
            due += late // self._period_ns * self._period_ns
        self._due_ns = due + self._period_ns

    def _announcement(self, part: Part, shot: Shot) -> Announcement:
        return Announcement(
            part=part,
            captured_monotonic_ns=shot.captured_monotonic_ns,
            captured_wall_ns=shot.captured_wall_ns,
            deadline_monotonic_ns=shot.captured_monotonic_ns + self._rule.deadline_ms * 1_000_000,
            source=shot.source,
            truth=shot.truth,
        )

    def _outcome(self, announcement: Announcement, shot: Shot, room: bool) -> Message:
        part = announcement.part
        if shot.image is None:
            assert shot.fault is not None
            return _failure(part, shot.fault)
        if not room:
            return _failure(part, FrameError(Reason.OVERLOAD, REASON_TEXT[Reason.OVERLOAD]))
        return CapturedFrame(
            part=part,
            deadline_monotonic_ns=announcement.deadline_monotonic_ns,
            image=np.ascontiguousarray(shot.image),
        )


def _failure(part: Part, fault: FrameError) -> Failure:
    return Failure(
        part=part,
        reason=fault.reason,
        text=str(fault),
        stage=STAGE,
        view=np.empty((0, 0, 1), np.uint8),
    )
