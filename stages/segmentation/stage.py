"""Segmentation as a process: what differs between a frame and its reconstruction, and how much."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from calibration.record_parity import load_calibration_for
from pipeline.config import LineConfig
from pipeline.control import LineOrder, StageReport
from pipeline.messages import InspectionResult, Message, ReconstructedFrame
from pipeline.next_command import train_command
from pipeline.stage import Stage, StageContext
from stages.bundle_identity import stated_identity
from stages.device import set_threads
from stages.in_flight import InFlight
from stages.readiness import computes_in, load_line_bundle
from stages.segmentation.anomaly import find_defects
from stages.segmentation.engine import Segmenter


class SegmentationStage:
    """Scores the batches that the loop forms, and finds the defects that people are shown."""

    def __init__(self, context: StageContext) -> None:
        self._context, self._config, self._worker = context, context.config, context.worker
        self._log = context.log

    def open(self) -> None:
        """Load bundle and calibration, and make ready for every size of batch.

        Raises BundleError and CalibrationError.
        """
        config = self._config
        set_threads(config.stages.segmentation.threads)
        bundle = load_line_bundle(config)
        self._bundle_id = bundle.id
        dtype = computes_in(config)
        calibration = load_calibration_for(config, bundle.id, bundle.manifest.paradigm, dtype)
        self._log.info(
            "calibration %s, made in %s, for scores in %s", calibration.id, calibration.dtype, dtype
        )
        self._pixel_threshold = calibration.pixel_threshold
        device = config.stages.segmentation.device_of(self._worker, config.model.device)
        self._engine = Segmenter(bundle, device)
        self._in_flight = InFlight(
            "segmentation", self._engine.land_each, self._result, self._context
        )
        self._engine.open_for(config.batch.size)

    def take(self, messages: Sequence[Message]) -> Iterable[Message]:
        """Starts a batch, one result for each message; `settle` gives what becomes of it."""
        frames = [message for message in messages if isinstance(message, ReconstructedFrame)]
        assert len(frames) == len(messages)
        images = np.stack([frame.image for frame in frames])
        reconstructions = np.stack([frame.reconstruction for frame in frames])
        self._in_flight.add(frames, self._engine.submit(images, reconstructions))
        return ()

    def settle(self, wait: bool) -> Iterable[Message]:
        """One answer for each reconstructed frame of the batches that have arrived."""
        return self._in_flight.landed(wait)

    def _result(
        self, frame: ReconstructedFrame, found: tuple[np.float32, NDArray[np.float16]]
    ) -> InspectionResult:
        score, anomaly_map = found
        height, width = anomaly_map.shape
        scale = (frame.view.shape[1] / width, frame.view.shape[0] / height)
        return InspectionResult(
            part=frame.part,
            bundle_id=frame.bundle_id if frame.bundle_id == self._bundle_id else "",
            score=float(score),
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


def check_calibration(config: LineConfig) -> None:
    """Whether there is one for the line's bundle and paradigm, and for the precision of scores that
    are computed here. Raises BundleError, CalibrationError and ConfigError.
    """
    bundle_id, bundles_own = stated_identity(config.model.bundle, train_command(config))
    load_calibration_for(config, bundle_id, bundles_own, computes_in(config))


CHECKS = (("calibration", check_calibration),)


def build(context: StageContext) -> Stage:
    """The stage for the loop."""
    return SegmentationStage(context)
