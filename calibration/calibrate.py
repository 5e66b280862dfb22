"""From images of normal parts to the record of a calibration."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray

from calibration.images import NormalImages
from calibration.progress import progress_bar
from calibration.record import CalibrationRecord, Setting
from calibration.scoring import score_parts
from calibration.threshold import drawing_threshold, fit_threshold, require_parts
from pipeline.config import Frame, LineConfig
from pipeline.errors import InputError
from stages.bundle import Bundle
from stages.inspector import Inspector
from stages.preprocessing.prepare import preparation_settings

QUANTILES = {
    "minimum": 0.0,
    "p05": 0.05,
    "p25": 0.25,
    "median": 0.5,
    "p75": 0.75,
    "p95": 0.95,
    "maximum": 1.0,
}
LISTED = 5


@dataclass(frozen=True)
class ScoredNormals:
    """Images of normal parts with their raw `scores` (N,), and what computed them."""

    images: NormalImages
    scores: NDArray[np.float64]
    device: str
    dtype: str


def score_normals(config: LineConfig, bundle: Bundle, images: NormalImages) -> ScoredNormals:
    """The scores that the line itself would give these images."""
    inspector = Inspector(bundle, config.model.device, paradigm=config.reconstruction.paradigm)
    with progress_bar("scoring", len(images.parts)) as advance:
        scores = score_parts(inspector, images.parts, config.batch.size, advance)
    execution = inspector.segmenter.execution
    return ScoredNormals(images, scores, str(execution.device), execution.computes_in)


def calibrate(
    config: LineConfig,
    bundle: Bundle,
    scored: ScoredNormals,
    false_reject_rate: float,
    now: datetime,
) -> CalibrationRecord:
    """Fit the line's threshold to the scores of normal parts; nothing is stored yet.

    `now` is in UTC. Raises InputError where the images are too few or a score is not finite.
    """
    images = scored.images
    check_count(images, false_reject_rate)
    fit = fit_threshold(scored.scores, false_reject_rate)
    return CalibrationRecord(
        line=config.line,
        bundle_id=bundle.id,
        paradigm=config.reconstruction.other_than(bundle.manifest.paradigm),
        threshold=fit.threshold,
        pixel_threshold=drawing_threshold(fit.threshold),
        wanted_false_reject_rate=false_reject_rate,
        expected_false_reject_rate=fit.expected_false_reject_rate,
        false_reject_bound_95=fit.upper_bound,
        rank=fit.rank,
        used=fit.count,
        skipped=len(images.skipped),
        maybe_trained_on=maybe_trained_on(bundle, images),
        source=images.source,
        images_digest=images.digest,
        preparation=_preparation(config.frame),
        device=scored.device,
        dtype=scored.dtype,
        score_quantiles=_quantiles(scored.scores),
        created=now.replace(microsecond=0),
        versions={name: version(name) for name in ("inspection-line", "numpy", "torch")},
    )


def check_count(images: NormalImages, false_reject_rate: float) -> None:
    """Raises InputError, with counts, where too few images could be prepared for this rate.

    Copies of an image count once: they say nothing of how the scores of other parts vary.
    """
    different = len({hashlib.sha256(part.image.tobytes()).digest() for part in images.parts})
    copies = len(images.parts) - different
    note = f". {copies} more are copies of these, pixel by pixel" if copies else ""
    try:
        require_parts(different, false_reject_rate)
    except InputError as error:
        raise InputError(f"{images.source}: {error}{note}{skipped_text(images)}") from error


def skipped_text(images: NormalImages) -> str:
    """Which images were skipped and why, the first few by name; empty where none was."""
    if not images.skipped:
        return ""
    lines = [f"\n  {part.name}: {part.why}" for part in images.skipped[:LISTED]]
    more = len(images.skipped) - len(lines)
    lines += [f"\n  and {more} more"] if more else []
    return f". Skipped, since they cannot be used: {len(images.skipped)}{''.join(lines)}"


def unseen_images(bundle: Bundle, images: NormalImages) -> NormalImages:
    """The images that the bundle's weights never saw, where its manifest tells them apart."""
    held_out = frozenset(bundle.manifest.held_out)
    if not held_out or not was_trained_on(bundle, images):
        return images
    return images.only(named_here(held_out, frozenset(part.name for part in images.parts)))


def named_here(held_out: frozenset[str], names: frozenset[str]) -> frozenset[str]:
    """What `held_out` of the training's images are called among the `names` of the same images.

    Where the folder was given at another level, all names begin with a folder more, or less. As
    they are where that does not explain it.
    """
    first = min(held_out)
    for name in (first, *sorted(names)):
        if _ends_with(first, name):
            more = first.removesuffix(name)
            found = frozenset(other.removeprefix(more) for other in held_out)
        elif _ends_with(name, first):
            found = frozenset(name.removesuffix(first) + other for other in held_out)
        else:
            continue
        if found <= names:
            return found
    return held_out


def _ends_with(path: str, tail: str) -> bool:
    return path == tail or path.endswith(f"/{tail}")


def was_trained_on(bundle: Bundle, images: NormalImages) -> bool:
    """Whether these are the very images that the bundle was made from."""
    return bool(images.digest == bundle.manifest.data_digest)


def maybe_trained_on(bundle: Bundle, images: NormalImages) -> int:
    """How many of the images the bundle may have been made from.

    Where others were added or removed since the training, only names tell: some are those of
    images that it held out, so the rest may be what it learnt.
    """
    if was_trained_on(bundle, images):
        return len(images.parts)
    held_out = frozenset(bundle.manifest.held_out)
    known = sum(part.name in held_out for part in images.parts)
    return len(images.parts) - known if known else 0


def _preparation(frame: Frame) -> dict[str, Setting]:
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in preparation_settings(frame).items()
    }


def _quantiles(scores: NDArray[np.float64]) -> dict[str, float]:
    """Quantiles that are scores themselves, not values in between."""
    return {
        name: float(np.quantile(scores, share, method="inverted_cdf"))
        for name, share in QUANTILES.items()
    }
