"""Acquisition as a process: the camera, and the number and announcement of each part."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from pipeline.config import LineConfig
from pipeline.control import LineOrder, StageReport
from pipeline.errors import LineError
from pipeline.messages import Message
from pipeline.stage import NEVER_NS, Stage, StageContext
from stages.acquisition.camera import Camera, open_camera
from stages.acquisition.folder import TRIED_AT_OPEN
from stages.acquisition.sequence import SequenceCounter
from stages.acquisition.source import CaptureRule, PartSource

CHECK_TIMEOUT_S = 10.0


class AcquisitionStage:
    """Asks the part source at every tick while the line captures."""

    def __init__(self, context: StageContext) -> None:
        self._context = context
        self._camera: Camera | None = None
        self._capturing = self._room = False

    def open(self) -> None:
        """Open the camera and go on counting where a killed predecessor stopped."""
        config = self._context.config
        self._counter = SequenceCounter(config.run_dir / "sequence")
        self._camera = open_camera(config, arrived=self._context.bell.ring)
        self._source = PartSource(
            self._camera,
            CaptureRule.of(config),
            line=config.line,
            session=self._context.session,
            counter=self._counter,
        )

    def take(self, messages: Sequence[Message]) -> Iterable[Message]:
        """Nothing comes to acquisition."""
        assert not messages
        return ()

    def tick(self, now_monotonic_ns: int, order: LineOrder, room: bool) -> Iterable[Message]:
        """At most one part."""
        self._capturing, self._room = order.capture, room
        if not order.capture:
            self._source.rest()
            return ()
        return self._source.capture(now_monotonic_ns, room)

    def due_ns(self, now_monotonic_ns: int) -> int:
        """The time of the next part, of a camera that shows one when it is asked."""
        due_ns = self._source.next_due(now_monotonic_ns, self._room) if self._capturing else None
        return NEVER_NS if due_ns is None else due_ns

    def report(self) -> StageReport:
        """How far the count is, whether the camera has more, and whether it is well. A line that
        takes parts suffers from a camera that is away, and the PLC must see it.
        """
        return StageReport(
            last_sequence=self._counter.last,
            exhausted=self._source.exhausted,
            warning=self._source.warning,
            alarm=self._source.away if self._capturing else "",
        )

    def close(self) -> None:
        """Let go of the camera. The counter stays readable for the last report."""
        if self._camera is not None:
            self._camera.close()


def check_camera(config: LineConfig) -> np.ndarray:
    """The camera's first readable frame, as in a Shot. Raises InputError, ConfigError or LineError
    where it gives none.
    """
    camera = open_camera(config)
    try:
        return _first_frame(camera)
    finally:
        camera.close()


def _first_frame(camera: Camera) -> np.ndarray:
    """A live camera has one try; of files, those that are broken cost their own parts only."""
    fault = ""
    tries = 1 if camera.live else TRIED_AT_OPEN
    for sequence in range(1, tries + 1):
        shot = camera.read(sequence, timeout_s=CHECK_TIMEOUT_S)
        if shot is None:
            break
        if shot.image is not None:
            return shot.image
        fault = f"{shot.source}: {shot.fault}"
    raise LineError(fault or camera.warning or f"no frame within {CHECK_TIMEOUT_S:g} s")


CHECKS = (("camera", check_camera),)


def build(context: StageContext) -> Stage:
    """The stage for the loop."""
    return AcquisitionStage(context)
