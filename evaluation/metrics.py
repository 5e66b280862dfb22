"""Metrics of anomaly detection, exact and fast enough for hundreds of millions of pixels.

All of them are areas under curves over a falling threshold, and a curve only bends at values that
occur. `Levels` counts, for each value, what lies on it; a float16 map has at most 65 536 values, so
counting replaces sorting without any loss, and the counts of many images add up: no map need be
kept. The maps themselves are rounded, as the line stores them: to float16 all probabilities above
0.9998 are 1 and all below 3e-8 are 0, and pixels there tie. A metric that is not defined (only one
class is there) is None, never a number.

AUROC and AP are not scikit-learn's, which sorts all pixels and wants them in memory at once: for
600 maps of 256x256 it took 76 times as long (78 s against 1.0 s with the counts for PRO, on two
cores that others used too) and 2 GB. Scores of images would be no trouble; they go the same way, so
that all figures and the curves of a report follow from one definition. It is the tests' oracle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.float64]

FLOAT16_CODES = 1 << 16
SIGN_BIT = 1 << 15
NOT_FINITE = "a metric of scores that are not finite is undefined"


@dataclass(frozen=True)
class Levels:
    """How many positives and negatives lie on each value, (V,) each, highest value first.

    `overlap` (V,): for pixels, the share of each region's area that lies on the value, summed over
    the `regions`; zeros for images.
    """

    positives: Counts
    negatives: Counts
    overlap: Counts
    regions: int

    def __add__(self, other: Levels) -> Levels:
        """The levels of both together, for pixels."""
        assert len(self.positives) == len(other.positives) == FLOAT16_CODES, "not levels of pixels"
        return Levels(
            self.positives + other.positives,
            self.negatives + other.negatives,
            self.overlap + other.overlap,
            self.regions + other.regions,
        )

    @property
    def both_classes(self) -> bool:
        """Whether there is at least one positive and one negative."""
        return bool(self.positives.sum() > 0 and self.negatives.sum() > 0)


class Curve(NamedTuple):
    """Points (N,) in [0, 1], one for each value that occurs, the strictest threshold first."""

    x: Counts
    y: Counts


def image_levels(scores: np.ndarray, defective: np.ndarray) -> Levels:
    """Levels of `scores` (N,) float, finite, with labels `defective` (N,) bool."""
    assert scores.shape == defective.shape, f"{scores.shape} scores, {defective.shape} labels"
    assert np.isfinite(scores).all(), NOT_FINITE
    distinct, codes = np.unique(scores, return_inverse=True)
    size = len(distinct)
    positives, negatives = _on_level(codes[defective], size), _on_level(codes[~defective], size)
    return Levels(positives, negatives, np.zeros(size), 0)


def pixel_levels(maps: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> Levels:
    """Levels of anomaly maps, each (H, W) float16 and finite, with masks (H, W) bool.

    Regions are the 8-connected components of the masks, each weighing the same.
    """
    assert [m.shape for m in maps] == [m.shape for m in masks], "maps and masks differ in shape"
    everything = np.zeros(FLOAT16_CODES)
    positives, overlap, regions = everything.copy(), everything.copy(), 0
    for anomaly_map, mask in zip(maps, masks, strict=True):
        codes = _codes(anomaly_map)
        everything += _on_level(codes.ravel(), FLOAT16_CODES)
        if mask.any():
            on_mask = codes[mask]
            weights, found = _region_weights(mask)
            positives += _on_level(on_mask, FLOAT16_CODES)
            overlap += np.bincount(on_mask, weights, FLOAT16_CODES)[::-1]
            regions += found
    return Levels(positives, everything - positives, overlap, regions)


def auroc(levels: Levels) -> float | None:
    """Area under the ROC curve; a tie between a positive and a negative counts one half."""
    return _area(*roc_curve(levels), 1.0) if levels.both_classes else None


def average_precision(levels: Levels) -> float | None:
    """AP = sum over thresholds of (R_n - R_{n-1}) P_n, without interpolation."""
    if not levels.both_classes:
        return None
    recall, precision = precision_recall_curve(levels)
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def pro(levels: Levels, limit: float = 0.3) -> float | None:
    """Per-region overlap, averaged over regions, integrated to the false-positive rate `limit`.

    Normalised to [0, 1] by `limit` (Bergmann et al., IJCV 2021). Needs pixel levels.
    """
    assert 0 < limit <= 1, f"limit {limit} is not a share"
    return _area(*pro_curve(levels), limit) / limit if levels.both_classes else None


def roc_curve(levels: Levels) -> Curve:
    """False-positive rate and true-positive rate, from (0, 0) to (1, 1). Needs both classes."""
    seen = _occurring(levels)
    return Curve(_rate(levels.negatives[seen]), _rate(levels.positives[seen]))


def precision_recall_curve(levels: Levels) -> Curve:
    """Recall and precision, recall rising to 1. Needs both classes."""
    seen = _occurring(levels)
    found, false = np.cumsum(levels.positives[seen]), np.cumsum(levels.negatives[seen])
    return Curve(found / found[-1], found / (found + false))


def pro_curve(levels: Levels) -> Curve:
    """False-positive rate and mean overlap of the regions, from (0, 0) to (1, 1)."""
    seen = _occurring(levels)
    overlap = np.cumsum(levels.overlap[seen]) / levels.regions
    return Curve(_rate(levels.negatives[seen]), np.concatenate([[0.0], overlap]))


def _order_of_float16() -> NDArray[np.intp]:
    """The place of each bit pattern in the order of the numbers; -0 and 0 are in one place."""
    bits = np.arange(FLOAT16_CODES, dtype=np.intp)
    magnitude = bits % SIGN_BIT  # IEEE 754: numbers of one sign sort like their bits
    return np.where(bits < SIGN_BIT, SIGN_BIT + magnitude, SIGN_BIT - magnitude)


_ORDER = _order_of_float16()


def _codes(anomaly_map: np.ndarray) -> NDArray[np.intp]:
    """Integers in the order of the values, equal where these are equal, below FLOAT16_CODES."""
    assert anomaly_map.dtype == np.float16, f"a map is float16, not {anomaly_map.dtype}"
    assert np.isfinite(anomaly_map).all(), NOT_FINITE
    return _ORDER[np.ascontiguousarray(anomaly_map).view(np.uint16)]


def _on_level(codes: NDArray[np.intp], size: int) -> Counts:
    return np.bincount(codes, minlength=size)[::-1].astype(np.float64)


def _region_weights(mask: np.ndarray) -> tuple[Counts, int]:
    """1 / area of its region for each pixel of the mask, in the order of the pixels; regions."""
    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    region = labels[mask]
    return 1.0 / np.bincount(region, minlength=count)[region], count - 1


def _occurring(levels: Levels) -> NDArray[np.bool_]:
    assert levels.both_classes, "a curve needs positives and negatives"
    return np.asarray(levels.positives + levels.negatives > 0)


def _rate(counts: Counts) -> Counts:
    """The share that lies on the first values, beginning with none of them."""
    return np.concatenate([[0.0], np.cumsum(counts) / counts.sum()])


def _area(x: Counts, y: Counts, limit: float) -> float:
    """Area under the line through the points up to x = limit, x rising from 0 to 1."""
    inside = int(np.searchsorted(x, limit, side="right"))
    if inside < len(x):
        step = (limit - x[inside - 1]) / (x[inside] - x[inside - 1])
        end = y[inside - 1] + step * (y[inside] - y[inside - 1])
        x, y = np.append(x[:inside], limit), np.append(y[:inside], end)
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1])) / 2)
