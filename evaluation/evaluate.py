"""How well a model tells good parts from defective ones, and shows where the defect is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.images import Advance, SkippedPart
from calibration.scoring import InspectedBatch, inspect_in_batches
from evaluation.cases import Extremes
from evaluation.datasets import GOOD, LabelledPart
from evaluation.metrics import Levels, auroc, average_precision, image_levels, pixel_levels, pro
from evaluation.results import Fault, Figures, Metrics, VerdictCounts
from pipeline.errors import InputError
from pipeline.names import printable
from stages.inspector import Inspector


@dataclass(frozen=True)
class LabelledParts:
    """A data set as the networks see it, read once, and what of it could not be read.

    `kinds` are those that the data set names, whether or not it has a usable part of each.
    """

    parts: tuple[LabelledPart, ...]
    skipped: tuple[SkippedPart, ...]
    kinds: tuple[str, ...]
    source: str

    @property
    def defective(self) -> NDArray[np.bool_]:
        """(N,) bool."""
        return np.array([part.kind != GOOD for part in self.parts], bool)

    @property
    def mask_faults(self) -> tuple[SkippedPart, ...]:
        """Parts whose mask cannot be used, and why."""
        return tuple(SkippedPart(p.name, p.mask_fault) for p in self.parts if p.mask_fault)


@dataclass(frozen=True)
class Run:
    """One bundle under one paradigm: raw `scores` (N,) float64 and the pixels of each kind.

    The speed is that of the networks alone, without reading and preparing the images.
    """

    scores: NDArray[np.float64]
    pixels: dict[str, Levels]
    images_per_second: float


def collect(
    parts: Iterable[LabelledPart | SkippedPart],
    kinds: Collection[str],
    source: str,
    advance: Advance,
) -> LabelledParts:
    """All parts, the usable ones and the skipped ones apart, under names that can be written.

    Raises InputError without any usable one.
    """
    usable: list[LabelledPart] = []
    skipped: list[SkippedPart] = []
    for part in parts:
        if isinstance(part, LabelledPart):
            name, kind, fault = map(printable, (part.name, part.kind, part.mask_fault))
            usable.append(part._replace(name=name, kind=kind, mask_fault=fault))
        else:
            skipped.append(SkippedPart(printable(part.name), printable(part.why)))
        advance(1)
    source = printable(source)
    if not usable:
        text = f"{source}: none of {len(skipped)} images can be used"
        first = f"; the first, {skipped[0].name}: {skipped[0].why}" if skipped else ""
        raise InputError(text + first)
    names = tuple(sorted(map(printable, kinds)))
    return LabelledParts(tuple(usable), tuple(skipped), names, source)


def run(
    inspector: Inspector,
    labelled: LabelledParts,
    batch_size: int,
    extremes: Extremes,
    advance: Advance,
) -> Run:
    """All parts through the networks; `extremes` sees each. Maps are counted, then forgotten.

    Raises InputError where a score is not finite.
    """
    inspector.warm_up({batch_size, len(labelled.parts) % batch_size or batch_size})
    scores: list[float] = []
    pixels: dict[str, Levels] = {}
    seconds = 0.0
    for batch in inspect_in_batches(inspector, labelled.parts, batch_size):
        seconds += batch.seconds
        _check_finite(batch)
        scores += batch.inspection.scores.tolist()
        _count_pixels(batch, pixels)
        for part, *pictures in zip(batch.parts, *batch.inspection, strict=True):
            extremes.see(part, *pictures)
        advance(len(batch.parts))
    return Run(np.array(scores, np.float64), pixels, len(scores) / seconds)


def figures_of(labelled: LabelledParts, done: Run) -> Figures:
    """The metrics over all parts, and of each kind of defect against all good parts."""
    kinds = sorted({part.kind for part in labelled.parts} - {GOOD})
    return Figures(
        overall=_metrics(labelled, done, {GOOD, *kinds}),
        per_type={kind: _metrics(labelled, done, {GOOD, kind}) for kind in kinds},
    )


def image_levels_of(labelled: LabelledParts, done: Run, kinds: Collection[str]) -> Levels:
    """The scores of the parts of these kinds."""
    chosen = np.array([part.kind in kinds for part in labelled.parts], bool)
    return image_levels(done.scores[chosen], labelled.defective[chosen])


def pixel_levels_of(done: Run, kinds: Collection[str]) -> Levels:
    """The pixels of the parts of these kinds that have a mask."""
    levels = pixel_levels([], [])
    for kind in kinds:
        levels = levels + done.pixels.get(kind, pixel_levels([], []))
    return levels


def count_verdicts(
    labelled: LabelledParts, done: Run, threshold: float, calibration_id: str
) -> VerdictCounts:
    """What the line would do with these parts: REJECT is score > threshold."""
    rejected, defective = done.scores > threshold, labelled.defective
    return VerdictCounts(
        threshold=threshold,
        calibration_id=calibration_id,
        defective=int(np.count_nonzero(defective)),
        escapes=int(np.count_nonzero(defective & ~rejected)),
        good=int(np.count_nonzero(~defective)),
        overkill=int(np.count_nonzero(~defective & rejected)),
    )


def faults_of(labelled: LabelledParts) -> tuple[Fault, ...]:
    """What the data set lacks or spoils, each with what follows from it."""
    faults = []
    if labelled.skipped:
        faults.append(Fault("images that could not be used", labelled.skipped))
    if labelled.mask_faults:
        text = "images without a usable mask, left out of the pixel metrics"
        faults.append(Fault(text, labelled.mask_faults))
    parts = Counter(part.kind for part in labelled.parts)
    masks = Counter(part.kind for part in labelled.parts if part.mask is not None)
    if not parts[GOOD]:
        faults.append(Fault("no good part can be used: the image metrics are not defined"))
    for kind in sorted({*labelled.kinds, *parts} - {GOOD}):
        if not parts[kind]:
            faults.append(Fault(f"no image of kind {kind} can be used: it is in no table"))
        elif not masks[kind]:
            faults.append(Fault(f"no mask of kind {kind} can be used: it has no pixel metrics"))
    if set(parts) == {GOOD}:
        faults.append(Fault("no defective part can be used: no metric is defined"))
    return tuple(faults)


def _metrics(labelled: LabelledParts, done: Run, kinds: Collection[str]) -> Metrics:
    parts = [part for part in labelled.parts if part.kind in kinds]
    images, pixels = image_levels_of(labelled, done, kinds), pixel_levels_of(done, kinds)
    return Metrics(
        good=sum(part.kind == GOOD for part in parts),
        defective=sum(part.kind != GOOD for part in parts),
        with_mask=sum(part.mask is not None for part in parts),
        image_auroc=auroc(images),
        image_ap=average_precision(images),
        pixel_auroc=auroc(pixels),
        pixel_ap=average_precision(pixels),
        pro_30=pro(pixels, 0.3),
        pro_5=pro(pixels, 0.05),
        images_per_second=done.images_per_second,
    )


def _count_pixels(batch: InspectedBatch[LabelledPart], pixels: dict[str, Levels]) -> None:
    for part, anomaly_map in zip(batch.parts, batch.inspection.anomaly_maps, strict=True):
        if part.mask is not None:
            levels = pixel_levels([anomaly_map], [part.mask])
            pixels[part.kind] = pixels[part.kind] + levels if part.kind in pixels else levels


def _check_finite(batch: InspectedBatch[LabelledPart]) -> None:
    scores, maps, _ = batch.inspection
    for part, score, anomaly_map in zip(batch.parts, scores, maps, strict=True):
        if not (np.isfinite(score) and np.isfinite(anomaly_map).all()):
            raise InputError(
                f"{part.name}: the networks gave a score that is not a finite number, so there is "
                "nothing to compare: the model is unusable on these images; train it again"
            )
