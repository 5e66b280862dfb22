"""Preprocessing as a process: every frame checked and brought to the networks' size."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import cv2
import numpy as np

from pipeline.config import LineConfig
from pipeline.control import LineOrder, StageReport
from pipeline.errors import FrameError
from pipeline.messages import CapturedFrame, Failure, Message, PreparedFrame
from pipeline.stage import Stage, StageContext
from stages.preprocessing.prepare import check_frame, prepare, view_of_refused

NAME = "preprocessing"


class PreprocessingStage:
    """A frame that cannot be used becomes a failure that still shows what was seen."""

    def __init__(self, context: StageContext) -> None:
        self._frame = context.config.frame
        self._view_px = context.config.reject_log.view_px
        self._threads = context.config.stages.preprocessing.threads

    def open(self) -> None:
        """Bound the threads of the image library."""
        cv2.setNumThreads(self._threads)

    def take(self, messages: Sequence[Message]) -> Iterable[Message]:
        """One prepared frame or failure for each captured frame."""
        for message in messages:
            assert isinstance(message, CapturedFrame)
            yield self._prepare(message)

    def _prepare(self, message: CapturedFrame) -> PreparedFrame | Failure:
        try:
            prepared = prepare(message.image, self._frame, self._view_px)
        except FrameError as error:
            view = view_of_refused(message.image, self._view_px)
            return Failure(message.part, error.reason, str(error), NAME, view, message.stamps)
        return PreparedFrame(
            part=message.part,
            deadline_monotonic_ns=message.deadline_monotonic_ns,
            image=np.ascontiguousarray(prepared.image),
            view=np.ascontiguousarray(prepared.view),
            stamps=message.stamps,
        )

    def tick(self, now_monotonic_ns: int, order: LineOrder, room: bool) -> Iterable[Message]:
        """Nothing is due by time."""
        return ()

    def report(self) -> StageReport:
        """Nothing beyond the loop's counters."""
        return StageReport()

    def close(self) -> None:
        """Nothing is held."""


def check_camera_frame(image: np.ndarray, config: LineConfig) -> None:
    """Whether the camera's frame is one that the line is set up for. Raises FrameError.

    Its light is not judged: before the start there need not be any.
    """
    check_frame(image, config.frame)


TRIALS = (("camera", check_camera_frame),)


def build(context: StageContext) -> Stage:
    """The stage for the loop."""
    return PreprocessingStage(context)
