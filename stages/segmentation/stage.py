"""Segmentation as a process: what differs between a frame and its reconstruction, and how much."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from calibration.record import load_line_calibration
from pipeline.control import LineOrder, StageReport
from pipeline.messages import InspectionResult, Message, ReconstructedFrame
from pipeline.stage import Stage, StageContext
from stages.device import set_threads
from stages.readiness import load_line_bundle
from stages.segmentation.anomaly import find_defects
from stages.segmentation.engine import Segmenter


class SegmentationStage:
    """Scores the batches that the loop forms, and finds the defects that people are shown."""

    def __init__(self, context: StageContext) -> None:
        self._config = context.config
        self._log = context.log

    def open(self) -> None:
        """Load bundle and calibration. Raises BundleError and CalibrationError."""
        config = self._config
        set_threads(config.stages.segmentation.threads)
        bundle = load_line_bundle(config)
        self._bundle_id = bundle.id
        calibration = load_line_calibration(config, bundle.id, bundle.manifest.paradigm)
        self._pixel_threshold = calibration.pixel_threshold
        self._engine = Segmenter(bundle, config.model.device)
        self._engine.warm_up((1, config.batch.size))

    def take(self, messages: Sequence[Message]) -> Iterable[Message]:
        """One result for each reconstructed frame, computed as one batch."""
        frames = [message for message in messages if isinstance(message, ReconstructedFrame)]
        assert len(frames) == len(messages)
        images = np.stack([frame.image for frame in frames])
        reconstructions = np.stack([frame.reconstruction for frame in frames])
        scores, anomaly_maps = self._engine.segment(images, reconstructions)
        for frame, score, anomaly_map in zip(frames, scores, anomaly_maps, strict=True):
            yield self._result(frame, float(score), anomaly_map)

    def _result(
        self, frame: ReconstructedFrame, score: float, anomaly_map: np.ndarray
    ) -> InspectionResult:
        height, width = anomaly_map.shape
        scale = (frame.view.shape[1] / width, frame.view.shape[0] / height)
        return InspectionResult(
            part=frame.part,
            bundle_id=frame.bundle_id if frame.bundle_id == self._bundle_id else "",
            score=score,
            defects=find_defects(anomaly_map, self._pixel_threshold, scale),
            view=frame.view,
            reconstruction=_to_grey_levels(frame.reconstruction),
            anomaly_map=anomaly_map,
            stamps=frame.stamps,
        )

    def tick(self, now_monotonic_ns: int, order: LineOrder, room: bool) -> Iterable[Message]:
        """Nothing is due by time."""
        return ()

    def report(self) -> StageReport:
        """Nothing beyond the loop's counters."""
        return StageReport()

    def close(self) -> None:
        """Nothing is held."""


def _to_grey_levels(reconstruction: np.ndarray) -> np.ndarray:
    """(H, W, C) float16 in [-1, 1] -> uint8, for people to look at."""
    levels = np.rint((reconstruction.astype(np.float32) + 1) * 127.5)
    picture: np.ndarray = np.clip(levels, 0, 255).astype(np.uint8)
    return picture


def build(context: StageContext) -> Stage:
    """The stage for the loop."""
    return SegmentationStage(context)
