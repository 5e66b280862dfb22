"""The gate of `evaluate_line --parity`: a line's model in every mode, and what may be accepted."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from importlib.metadata import version

import numpy as np
import torch

from calibration.images import NormalImages, PreparedPart
from calibration.progress import progress_bar
from calibration.record import CalibrationRecord, load_line_calibration
from calibration.record_parity import (
    ComparedMode,
    ParityStatement,
    RefusedMode,
    gate_command,
    load_parity,
    parity_file,
)
from evaluation.compare import Candidate, device_name
from evaluation.evaluate import LabelledParts
from evaluation.near_threshold import PAIRS, ScoredPart, blends_near, scored
from evaluation.parity import (
    BATCH_SIZES,
    TOLERANCES,
    Deviation,
    Mode,
    Reference,
    compare,
    refusal_of,
)
from evaluation.reference import WORDS, EagerReference
from pipeline.config import LineConfig
from pipeline.errors import ConfigError, InputError
from stages.bundle import Bundle
from stages.device import OPENVINO, Precision, choose_device, compute_dtype
from stages.execution import Execution
from stages.inspector import Inspector
from stages.lanes.cuda import graph_sizes
from stages.reconstruction.paradigms import PARADIGMS

THREADS = (1, 2)
NEAR_TIMES = 2.0
"""Blends are kept up to so many tolerances from the threshold."""


@dataclass(frozen=True)
class Parity:
    """What the gate found; `calibration` gives the threshold, `parts` were given and `blends` made.

    `reference` holds the scores of both, the given parts first.
    """

    calibration: CalibrationRecord
    source: str
    device: str
    device_name: str
    parts: int
    blends: int
    images_digest: str
    reference: Reference
    modes: tuple[Mode, ...]
    deviations: tuple[Deviation, ...]

    @property
    def refused(self) -> tuple[Deviation, ...]:
        """Those outside of the tolerance."""
        return tuple(deviation for deviation in self.deviations if deviation.refused)

    def refused_modes(self) -> Iterator[tuple[Mode, list[Deviation]]]:
        """Each mode that is refused, with what is outside of the tolerance."""
        for mode in self.modes:
            outside = [deviation for deviation in self.refused if deviation.mode == mode.name]
            if outside:
                yield mode, outside


def modes_of(
    bundle: Bundle,
    device: str,
    paradigm: str,
    line_batch: int = 1,
    line_threads: Iterable[int] = (),
) -> tuple[Mode, ...]:
    """Every way to compute that is compared with the reference on this device, in batches of the
    usual sizes and of those up to `line_batch`, the line's own, and on `line_threads` as well.

    A compiled or exported network, or another runtime, becomes one more entry: its name, the word
    that calibrations made with it have as `dtype`, and what makes an object with `inspect`.
    """
    place = choose_device(device)
    precisions: list[Precision] = ["float32"]
    if compute_dtype(place) == torch.bfloat16:
        precisions.append("bfloat16")
    by_torch = "cpu" if device == OPENVINO else device
    sizes = batch_sizes(place, line_batch)
    threads = thread_counts(place, line_threads)
    modes = [
        _mode(bundle, by_torch, precision, paradigm, sizes, threads) for precision in precisions
    ]
    if device == OPENVINO:  # as the line runs it
        modes.append(_mode(bundle, device, precisions[-1], paradigm, sizes, threads))
    return tuple(modes)


def batch_sizes(device: torch.device, line_batch: int) -> tuple[int, ...]:
    """BATCH_SIZES, that of the line and, on a GPU, every size that its batches are padded to."""
    padded = graph_sizes(line_batch) if device.type == "cuda" else ()
    return tuple(sorted({*BATCH_SIZES, line_batch, *padded}))


def _mode(
    bundle: Bundle,
    device: str,
    precision: Precision,
    paradigm: str,
    sizes: tuple[int, ...],
    threads: tuple[int, ...],
) -> Mode:
    execution = Execution(device, precision)
    return Mode(
        name=execution.computes_in,
        dtype=execution.computes_in,
        tolerance=TOLERANCES[precision],
        threads=threads,
        make=partial(Inspector, bundle, device, precision, paradigm),
        batch_sizes=sizes,
    )


def thread_counts(device: torch.device, line: Iterable[int] = ()) -> tuple[int, ...]:
    """1, 2 and those of the line, as far as the processor has so many cores; on a GPU they mean
    nothing.
    """
    if device.type != "cpu":
        return (1,)
    cores = len(os.sched_getaffinity(0))
    return tuple(sorted({count for count in (*THREADS, *line) if count <= cores}))


def check_parity(candidate: Candidate, labelled: LabelledParts, accept: bool) -> Parity:
    """Compare every mode of this device on these parts, and on blends near the threshold.

    Raises CalibrationError without an active calibration; ConfigError where `accept` is wanted and
    the way in which the calibration was made is neither compared here nor was accepted before;
    InputError where the parts lie all on one
    side of the threshold, or a score of the reference is not finite.
    """
    config, bundle = candidate.config, candidate.bundle
    calibration = active_calibration(candidate)
    device, paradigm = config.model.device, candidate.own_paradigm
    stages = config.stages
    threads = (stages.reconstruction.threads, stages.segmentation.threads)
    modes = modes_of(bundle, device, paradigm, config.batch.size, threads)
    if accept:
        _check_can_accept(config, calibration, modes)
    eager = EagerReference(bundle, device, PARADIGMS[paradigm])
    given = scored_parts(labelled, eager)
    _check_both_sides(given, calibration.threshold)
    parts = with_blends(given, eager, calibration.threshold)
    reference = reference_of(parts, calibration.threshold)
    place = choose_device(device)
    return Parity(
        calibration=calibration,
        source=labelled.source,
        device=str(place),
        device_name=device_name(place),
        parts=len(labelled.parts),
        blends=len(parts) - len(labelled.parts),
        images_digest=_digest(parts),
        reference=reference,
        modes=modes,
        deviations=deviations_of(modes, parts, reference),
    )


def active_calibration(candidate: Candidate) -> CalibrationRecord:
    """The calibration at whose threshold parity is shown. Raises CalibrationError without one."""
    bundle = candidate.bundle
    return load_line_calibration(candidate.config, bundle.id, bundle.manifest.paradigm)


def statement(found: Parity, now: datetime) -> ParityStatement:
    """What is kept beside the calibration: all modes, or where any is refused, the refused ones
    alone. `now` is in UTC.
    """
    calibration = found.calibration
    accepted = () if found.refused else found.deviations
    return ParityStatement(
        line=calibration.line,
        calibration_id=calibration.id,
        bundle_id=calibration.bundle_id,
        threshold=calibration.threshold,
        calibrated_in=calibration.dtype,
        reference=WORDS,
        device=found.device,
        source=f"{found.source}, and {found.blends} blends near the threshold",
        parts=found.parts + found.blends,
        images_digest=found.images_digest,
        modes=tuple(_compared(deviation) for deviation in accepted),
        created=now.replace(microsecond=0),
        versions={name: version(name) for name in ("inspection-line", "numpy", "torch")},
        refused=tuple(
            RefusedMode(dtype=mode.dtype, figures=refusal_of(mode, outside))
            for mode, outside in found.refused_modes()
        ),
    )


def _compared(deviation: Deviation) -> ComparedMode:
    return ComparedMode(
        mode=deviation.mode,
        dtype=deviation.dtype,
        batch_size=deviation.batch_size,
        threads=deviation.threads,
        tolerance=deviation.allowed,
        parts_within_tolerance=deviation.near,
        largest_difference=deviation.largest_difference,
        p99_difference=deviation.p99_difference,
        largest_map_difference=deviation.largest_map_difference,
        flips=deviation.flips,
    )


def _check_can_accept(
    config: LineConfig, calibration: CalibrationRecord, modes: Sequence[Mode]
) -> None:
    """That the way of the calibration itself is compared here, or was accepted before."""
    folder = config.calibration.folder
    older = load_parity(folder, calibration, "Remove this file, and repeat")
    accepted = frozenset() if older is None else older.dtypes
    if calibration.dtype not in {mode.dtype for mode in modes} | accepted:
        raise ConfigError(
            f"--accept: the calibration {calibration.id} was made in {calibration.dtype}, and this "
            f"device does not compute in it, so the two cannot be compared here: first run "
            f"{gate_command(config, calibration.dtype)} on a machine that does, and take the file "
            f"{parity_file(folder, calibration).name} along; or calibrate on this one"
        )


def scored_parts(labelled: LabelledParts, reference: EagerReference) -> list[ScoredPart]:
    """The given parts as the reference scores them. Raises InputError for a score that is not
    finite.
    """
    parts = []
    with progress_bar("reference", len(labelled.parts)) as advance:
        for part in labelled.parts:
            parts.append(scored(part, reference.inspect))
            advance(1)
    if not np.isfinite([part.inspected.score for part in parts]).all():
        raise InputError(
            "the networks gave a score that is not a finite number: the model is unusable on these "
            "images; train it again"
        )
    return parts


def with_blends(
    parts: Sequence[ScoredPart], reference: EagerReference, threshold: float
) -> list[ScoredPart]:
    """The parts, then blends of them near the threshold; none where all lie on one side of it."""
    widest = max(TOLERANCES.values()) * NEAR_TIMES * threshold * (1 - threshold)
    with progress_bar("near the threshold", PAIRS) as advance:
        return [*parts, *blends_near(parts, threshold, widest, reference.inspect, advance)]


def _check_both_sides(parts: Sequence[ScoredPart], threshold: float) -> None:
    rejected = sum(part.inspected.score > threshold for part in parts)
    if rejected in (0, len(parts)):
        raise InputError(
            f"{rejected} of {len(parts)} parts score above the threshold {threshold:.6g}: parity "
            "is shown by parts near the threshold, which are made of one that passes and one that "
            "is rejected; give more parts, good and defective ones"
        )


def reference_of(parts: Sequence[ScoredPart], threshold: float) -> Reference:
    """What the reference found on these parts, at this threshold."""
    return Reference(
        threshold=threshold,
        scores=np.array([part.inspected.score for part in parts], np.float64),
        anomaly_maps=np.stack([part.inspected.anomaly_map for part in parts]),
    )


def deviations_of(
    modes: Sequence[Mode], parts: Sequence[ScoredPart], reference: Reference
) -> tuple[Deviation, ...]:
    """Every mode on these parts, which are those of the reference."""
    images = [part.image for part in parts]
    found: list[Deviation] = []
    for mode in modes:
        passes = len(mode.threads) * sum(max(len(images), size) for size in mode.batch_sizes)
        with progress_bar(mode.name, passes) as advance:
            found += compare(mode, images, reference, advance)
    return tuple(found)


def _digest(parts: Sequence[ScoredPart]) -> str:
    """As calibrations name their images: by number, shape and pixels."""
    images = tuple(PreparedPart(part.name, part.image) for part in parts)
    return NormalImages(images, (), "").digest
