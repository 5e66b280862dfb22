"""Reconstruction as a process: batches of frames, redrawn as they would be without defects."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.config import LineConfig
from pipeline.control import LineOrder, StageReport
from pipeline.messages import Message, PreparedFrame, ReconstructedFrame
from pipeline.stage import Stage, StageContext
from stages.bundle import Bundle
from stages.device import set_threads
from stages.in_flight import InFlight
from stages.readiness import load_line_bundle
from stages.reconstruction.engine import Reconstructor


class ReconstructionStage:
    """Feeds the engine with the batches that the loop forms."""

    def __init__(self, context: StageContext) -> None:
        self._context, self._config, self._worker = context, context.config, context.worker
        self._log = context.log

    def open(self) -> None:
        """Load the bundle and make ready for every size of batch. Raises BundleError."""
        set_threads(self._config.stages.reconstruction.threads)
        bundle = load_line_bundle(self._config)
        self._bundle_id = bundle.id
        self._engine = line_reconstructor(self._config, bundle, self._worker)
        self._in_flight = InFlight(
            "reconstruction", self._engine.land, self._reconstructed, self._context
        )
        self._engine.open_for(self._config.batch.size)
        execution = self._engine.execution
        self._log.info(
            "bundle %s, %s, on %s in %s",
            bundle.id, self._engine.paradigm, execution.device, execution.computes_in,
        )  # fmt: skip

    def take(self, messages: Sequence[Message]) -> Iterable[Message]:
        """Starts a batch, one frame for each message; `settle` gives what becomes of it."""
        frames = [message for message in messages if isinstance(message, PreparedFrame)]
        assert len(frames) == len(messages)
        images = np.stack([frame.image for frame in frames])
        self._in_flight.add(frames, self._engine.submit(images))
        return ()

    def settle(self, wait: bool) -> Iterable[Message]:
        """One answer for each prepared frame of the batches that have arrived."""
        return self._in_flight.landed(wait)

    def _reconstructed(
        self, frame: PreparedFrame, reconstruction: NDArray[np.float16]
    ) -> ReconstructedFrame:
        return ReconstructedFrame(
            part=frame.part,
            deadline_monotonic_ns=frame.deadline_monotonic_ns,
            bundle_id=self._bundle_id,
            image=frame.image,
            view=frame.view,
            reconstruction=reconstruction,
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


def line_reconstructor(config: LineConfig, bundle: Bundle, worker: int) -> Reconstructor:
    """The engine on the device of one of the line's workers, with the line's paradigm."""
    device = config.stages.reconstruction.device_of(worker, config.model.device)
    return Reconstructor(bundle, device, paradigm=config.reconstruction.paradigm)


def check_bundle(config: LineConfig) -> None:
    """Whether the bundle is whole and fits the line. Raises BundleError or ConfigError."""
    line_reconstructor(config, load_line_bundle(config), worker=0)


CHECKS = (("model bundle", check_bundle),)


def build(context: StageContext) -> Stage:
    """The stage for the loop."""
    return ReconstructionStage(context)
