"""Metrics of anomaly detection, exact and fast enough for tens of millions of pixels.

All of them are areas under curves over a falling threshold, and a curve only bends at values that
occur. `Levels` counts, for each distinct value, what lies on it; a float16 map in [0, 1] has at
most 15 361 distinct values, so counting replaces sorting without any loss. A metric that is not
defined (only one class is there) is None, never a number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.float64]


@dataclass(frozen=True)
class Levels:
    """How many positives and negatives lie on each distinct value, highest value first.

    `overlap`: for pixels, the share of the regions' area that lies on the value, averaged over
    the regions; empty for images.
    """

    positives: Counts
    negatives: Counts
    overlap: Counts

    @property
    def both_classes(self) -> bool:
        """Whether there is at least one positive and one negative."""
        return bool(self.positives.sum() > 0 and self.negatives.sum() > 0)


def image_levels(scores: np.ndarray, defective: np.ndarray) -> Levels:
    """Levels of `scores` (N,) float, finite, with labels `defective` (N,) bool."""
    assert scores.shape == defective.shape, f"{scores.shape} scores, {defective.shape} labels"
    codes, size = _codes(scores)
    return Levels(_on_level(codes[defective], size), _on_level(codes[~defective], size), _NONE)


def pixel_levels(maps: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> Levels:
    """Levels of anomaly maps, each (H, W) float and finite, with masks (H, W) bool.

    Regions are the 8-connected components of the masks, each weighing the same.
    """
    assert [m.shape for m in maps] == [m.shape for m in masks], "maps and masks differ in shape"
    values = np.concatenate([m.ravel() for m in maps]) if maps else np.zeros(0, np.float16)
    truth = np.concatenate([m.ravel() for m in masks]) if masks else np.zeros(0, bool)
    codes, size = _codes(values)
    weights, regions = _region_weights(masks)
    on_regions = codes[truth]
    overlap = np.bincount(on_regions, weights, size)[::-1] / max(regions, 1)
    positives = _on_level(on_regions, size)
    negatives = _on_level(codes, size) - positives
    return Levels(positives, negatives, overlap)


def auroc(levels: Levels) -> float | None:
    """Area under the ROC curve; a tie between a positive and a negative counts one half."""
    if not levels.both_classes:
        return None
    true_rate = np.cumsum(levels.positives) / levels.positives.sum()
    false_rate = np.cumsum(levels.negatives) / levels.negatives.sum()
    return _area(false_rate, true_rate, 1.0)


def average_precision(levels: Levels) -> float | None:
    """AP = sum over thresholds of (R_n - R_{n-1}) P_n, without interpolation."""
    if not levels.both_classes:
        return None
    found = np.cumsum(levels.positives)
    precision = found / (found + np.cumsum(levels.negatives))
    return float(np.sum(precision * levels.positives) / found[-1])


def pro(levels: Levels, limit: float = 0.3) -> float | None:
    """Per-region overlap, averaged over regions, integrated to the false-positive rate `limit`.

    Normalised to [0, 1] by `limit` (Bergmann et al., IJCV 2021). Needs pixel levels.
    """
    assert 0 < limit <= 1, f"limit {limit} is not a share"
    if not levels.both_classes:
        return None
    false_rate = np.cumsum(levels.negatives) / levels.negatives.sum()
    return _area(false_rate, np.cumsum(levels.overlap), limit) / limit


_NONE: Counts = np.zeros(0)


def _codes(values: np.ndarray) -> tuple[NDArray[np.int64], int]:
    """Integers in the order of the values, equal where these are equal, and how many there are."""
    assert np.isfinite(values).all(), "a metric of scores that are not finite is undefined"
    if values.dtype == np.float16 and not np.signbit(values).any():
        bits = values.view(np.uint16)  # IEEE 754: non-negative floats sort like their bits
        return bits.astype(np.int64), int(bits.max(initial=0)) + 1
    distinct, codes = np.unique(values, return_inverse=True)
    return codes.astype(np.int64), len(distinct)


def _on_level(codes: NDArray[np.int64], size: int) -> Counts:
    return np.bincount(codes, minlength=size)[::-1].astype(np.float64)


def _region_weights(masks: Sequence[np.ndarray]) -> tuple[Counts, int]:
    """1 / area of its region for each pixel of a mask, in the order of the pixels; regions."""
    weights, regions = [_NONE], 0
    for mask in masks:
        if not mask.any():
            continue
        count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
        region = labels[mask]
        weights.append(1.0 / np.bincount(region, minlength=count)[region])
        regions += count - 1
    return np.concatenate(weights), regions


def _area(x: Counts, y: Counts, limit: float) -> float:
    """Area under the line from (0, 0) through the points up to x = limit, x rising to 1."""
    xs, ys = np.concatenate([[0.0], x]), np.concatenate([[0.0], y])
    inside = int(np.searchsorted(xs, limit, side="right"))
    if inside < len(xs):
        step = (limit - xs[inside - 1]) / (xs[inside] - xs[inside - 1])
        end = ys[inside - 1] + step * (ys[inside] - ys[inside - 1])
        xs, ys = np.append(xs[:inside], limit), np.append(ys[:inside], end)
    return float(np.sum(np.diff(xs) * (ys[1:] + ys[:-1])) / 2)
