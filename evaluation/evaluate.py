"""How well a line's model tells good parts from defective ones, and shows where the defect is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.images import Advance, SkippedPart
from calibration.scoring import inspect_in_batches
from evaluation.datasets import GOOD, LabelledPart
from evaluation.metrics import (
    auroc,
    average_precision,
    image_levels,
    pixel_levels,
    pro,
)
from pipeline.errors import InputError
from stages.inspector import Inspector


@dataclass(frozen=True)
class ScoredPart:
    """A labelled part with its raw score and its anomaly map, (H, W) float16 in [0, 1]."""

    name: str
    kind: str
    score: float
    anomaly_map: NDArray[np.float16]
    mask: NDArray[np.bool_] | None

    @property
    def defective(self) -> bool:
        """Whether the part has a defect."""
        return self.kind != GOOD


@dataclass(frozen=True)
class ScoredParts:
    """All parts that could be scored, those that could not, and masks that cannot be used."""

    parts: tuple[ScoredPart, ...]
    skipped: tuple[SkippedPart, ...]
    mask_faults: tuple[SkippedPart, ...]
    images_per_second: float
    """Of the networks alone, without reading and preparing the images."""


@dataclass(frozen=True)
class Metrics:
    """Areas in [0, 1], None where not defined; `good` and `defective` count images.

    Pixel metrics cover the `with_mask` images of known truth for each pixel, good ones included.
    """

    good: int
    defective: int
    with_mask: int
    image_auroc: float | None
    image_ap: float | None
    pixel_auroc: float | None
    pixel_ap: float | None
    pro_30: float | None
    pro_5: float | None


@dataclass(frozen=True)
class VerdictCounts:
    """Verdicts at a threshold: escapes are defective parts passed, overkill good ones rejected."""

    threshold: float
    calibration_id: str
    defective: int
    escapes: int
    good: int
    overkill: int


def score_labelled(
    inspector: Inspector,
    parts: Iterable[LabelledPart | SkippedPart],
    batch_size: int,
    advance: Advance,
) -> ScoredParts:
    """Labelled parts through the networks. Raises InputError where a score is not finite."""
    inspector.warm_up([batch_size])
    skipped: list[SkippedPart] = []
    faults: list[SkippedPart] = []
    scored: list[ScoredPart] = []
    seconds = 0.0
    for batch in inspect_in_batches(inspector, _usable(parts, skipped, advance), batch_size):
        seconds += batch.seconds
        scores, maps, _ = batch.inspection
        for part, score, anomaly_map in zip(batch.parts, scores, maps, strict=True):
            scored.append(_scored(part, float(score), anomaly_map))
            if part.mask_fault:
                faults.append(SkippedPart(part.name, part.mask_fault))
        advance(len(batch.parts))
    rate = len(scored) / seconds if scored else 0.0
    return ScoredParts(tuple(scored), tuple(skipped), tuple(faults), rate)


def metrics_of(parts: Sequence[ScoredPart]) -> Metrics:
    """All metrics over these parts."""
    defective = np.array([part.defective for part in parts], bool)
    images = image_levels(np.array([part.score for part in parts], np.float64), defective)
    shown = [(part.anomaly_map, part.mask) for part in parts if part.mask is not None]
    pixels = pixel_levels([shown_map for shown_map, _ in shown], [mask for _, mask in shown])
    return Metrics(
        good=int(np.count_nonzero(~defective)),
        defective=int(np.count_nonzero(defective)),
        with_mask=len(shown),
        image_auroc=auroc(images),
        image_ap=average_precision(images),
        pixel_auroc=auroc(pixels),
        pixel_ap=average_precision(pixels),
        pro_30=pro(pixels, 0.3),
        pro_5=pro(pixels, 0.05),
    )


def metrics_per_type(parts: Sequence[ScoredPart]) -> dict[str, Metrics]:
    """The metrics of each kind of defect against all good parts, by the kind's name."""
    kinds = sorted({part.kind for part in parts if part.defective})
    return {
        kind: metrics_of([part for part in parts if part.kind in (kind, GOOD)]) for kind in kinds
    }


def count_verdicts(
    parts: Sequence[ScoredPart], threshold: float, calibration_id: str
) -> VerdictCounts:
    """What the line would do with these parts: REJECT is score > threshold."""
    defective = [part.score for part in parts if part.defective]
    good = [part.score for part in parts if not part.defective]
    return VerdictCounts(
        threshold=threshold,
        calibration_id=calibration_id,
        defective=len(defective),
        escapes=sum(score <= threshold for score in defective),
        good=len(good),
        overkill=sum(score > threshold for score in good),
    )


def _usable(
    parts: Iterable[LabelledPart | SkippedPart], skipped: list[SkippedPart], advance: Advance
) -> Iterator[LabelledPart]:
    for part in parts:
        if isinstance(part, LabelledPart):
            yield part
        else:
            skipped.append(part)
            advance(1)


def _scored(part: LabelledPart, score: float, anomaly_map: NDArray[np.float16]) -> ScoredPart:
    if not (np.isfinite(score) and np.isfinite(anomaly_map).all()):
        raise InputError(
            f"{part.name}: the networks gave a score that is not a finite number, so there is "
            "nothing to compare: the model is unusable on these images; train it again"
        )
    return ScoredPart(part.name, part.kind, score, anomaly_map, part.mask)
