"""The gate of an exported file: its scores against those of the line's own networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from rich.console import Console

from calibration.record import load_line_calibration
from evaluation.compare import Candidate
from evaluation.evaluate import LabelledParts
from evaluation.near_threshold import ScoredPart
from evaluation.parity import TOLERANCES, Deviation, Engine, Mode, Reference, refusal_of
from evaluation.parity_gate import (
    deviations_of,
    reference_of,
    scored_parts,
    thread_counts,
    with_blends,
)
from evaluation.parity_report import deviation_table, near_text
from evaluation.reference import WORDS, EagerReference
from pipeline.errors import CalibrationError
from stages.reconstruction.paradigms import PARADIGMS

BATCH_SIZES = (1, 2, 5)
LOWEST, HIGHEST = 1e-12, 0.999
"""Of a threshold that stands in for a calibrated one: float32 tells scores apart in between."""
MAP_TOLERANCE = 0.01
"""How far a pixel of an anomaly map may move; what the order of additions and the map's own float16
change is a tenth of it."""


@dataclass(frozen=True)
class ExportParity:
    """What the gate found on `parts` that were given and `blends` that were made of them, at a
    threshold that `threshold_from` tells the origin of.
    """

    source: str
    parts: int
    blends: int
    threshold_from: str
    reference: Reference
    mode: Mode
    deviations: tuple[Deviation, ...]

    @property
    def refused(self) -> tuple[Deviation, ...]:
        """Those outside of the tolerance, by scores or by maps."""
        return tuple(
            deviation
            for deviation in self.deviations
            if deviation.refused or not deviation.largest_map_difference <= MAP_TOLERANCE
        )


def check_export(
    runtime: str, engine: Engine, candidate: Candidate, labelled: LabelledParts
) -> ExportParity:
    """The file as a runtime runs it against the reference, on these parts and blends near the
    threshold. Raises InputError where a score of the reference is not finite.
    """
    eager = EagerReference(candidate.bundle, "cpu", PARADIGMS[candidate.own_paradigm])
    given = scored_parts(labelled, eager)
    threshold, threshold_from = _threshold(candidate, given)
    parts = with_blends(given, eager, threshold)
    reference = reference_of(parts, threshold)
    mode = Mode(
        name=runtime,
        dtype="float32",
        tolerance=TOLERANCES["float32"],
        threads=thread_counts(torch.device("cpu")),
        make=lambda: engine,
        batch_sizes=BATCH_SIZES,
    )
    return ExportParity(
        source=labelled.source,
        parts=len(given),
        blends=len(parts) - len(given),
        threshold_from=threshold_from,
        reference=reference,
        mode=mode,
        deviations=deviations_of([mode], parts, reference),
    )


def show_export(found: ExportParity, console: Console) -> None:
    """Print what was compared, how much of it lay near the threshold, and the figures."""
    text = (
        f"Reference: {WORDS}, on {found.source}\n"
        f"Threshold {found.reference.threshold:.6g} ({found.threshold_from})\n"
        f"{found.parts} parts, and {found.blends} blends of passing and rejected ones\n"
        f"{near_text(found.reference, found.mode)}"
    )
    console.print(text, highlight=False, markup=False, soft_wrap=True)
    console.print(deviation_table(found.deviations))


def export_refusal(found: ExportParity) -> str:
    """Why the file is not kept, and what to do."""
    maps = max(deviation.largest_map_difference for deviation in found.refused)
    return (
        f"{refusal_of(found.mode, found.refused)}, and a pixel of a map differs by up to "
        f"{maps:.3g} ({MAP_TOLERANCE:g} allowed). So the file was deleted: install the versions "
        "of constraints.txt, which this was tested with, and export again"
    )


def _threshold(candidate: Candidate, parts: Sequence[ScoredPart]) -> tuple[float, str]:
    """The line's threshold, or what stands in for it, and where it is from.

    A threshold that none of the parts is above, or none below, would allow their scores much.
    """
    config, bundle = candidate.config, candidate.bundle
    scores = [part.inspected.score for part in parts]
    stands_in = min(max(float(np.median(scores)), LOWEST), HIGHEST)
    try:
        active = load_line_calibration(config, bundle.id, bundle.manifest.paradigm)
    except CalibrationError as error:
        return stands_in, f"the median score, for want of a calibration: {error}"
    if min(scores) <= active.threshold < max(scores):
        return active.threshold, f"calibration {active.id}"
    return stands_in, (
        f"the median score, since all parts lie on one side of {active.threshold:.6g}, the "
        f"threshold of calibration {active.id}"
    )
