"""Masks of defects at the size that the networks see, one region for each region."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.config import Frame

HALF = 0.5
LEVELS = (0.25, 0.125, 0.0625)
"""Shares of a pixel that a thin defect may cover instead; below the last one any share will do."""
ROUNDING = 1e-5
BLOCK_PX = 64
"""Pixels of the source whose weights are found at a time: all at once take memory by the square."""

Coverage = NDArray[np.float32]
Mask = NDArray[np.bool_]


def fit_mask(mask: Mask, frame: Frame) -> Mask:
    """A mask of the whole frame, (h, w) bool, as the networks' input shows it: `input_px`.

    A pixel belongs to the defect where defects cover half of it. Each region (8-connected) for
    itself must come out as one region that reaches all of it to within two pixels; one that is too
    thin for that also gets the pixels of which it covers less: a quarter, an eighth and so on until
    it holds together. Regions that come to touch at this size count as one.
    """
    if frame.region is not None:
        region = frame.region
        mask = mask[region.y : region.y + region.height, region.x : region.x + region.width]
    rows, columns = (
        _weights(source, size) for source, size in zip(mask.shape, frame.input_px, strict=True)
    )
    fitted = np.asarray(rows @ mask.astype(np.float32) @ columns.T >= HALF - ROUNDING)
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    near = _neighbourhood(mask.shape, frame.input_px)
    for number in range(1, count):
        x, y, width, height = boxes[number][: cv2.CC_STAT_AREA]
        piece = labels[y : y + height, x : x + width] == number
        place_y, of_rows = _touched(rows[:, y : y + height])
        place_x, of_columns = _touched(columns[:, x : x + width])
        coverage = of_rows @ piece.astype(np.float32) @ of_columns.T
        fitted[place_y, place_x] |= _held_together(fitted[place_y, place_x], coverage, near)
    return fitted


def _held_together(fitted: Mask, coverage: Coverage, near: NDArray[np.uint8]) -> Mask:
    """The pixels of a region that make it one, of those that it covers; (h, w) all of them."""
    covered = coverage > ROUNDING
    kept = fitted & covered
    for level in LEVELS:
        if _is_one(kept, covered, near):
            return kept
        kept = kept | (coverage >= level - ROUNDING)
    return kept if _is_one(kept, covered, near) else covered


def _is_one(kept: Mask, covered: Mask, near: NDArray[np.uint8]) -> bool:
    """Whether it is one region, and everything covered lies near it."""
    pieces = cv2.connectedComponents(kept.astype(np.uint8), connectivity=8)[0] - 1
    reached = cv2.dilate(kept.astype(np.uint8), near)
    return pieces == 1 and bool(reached[covered].all())


def _neighbourhood(source_px: tuple[int, ...], input_px: tuple[int, int]) -> NDArray[np.uint8]:
    """All pixels up to two away, or two of the source's where these are larger."""
    reach = [2 * max(1, math.ceil(to / of)) for of, to in zip(source_px, input_px, strict=True)]
    return np.ones([2 * r + 1 for r in reach], np.uint8)


def _touched(weights: Coverage) -> tuple[slice, Coverage]:
    """The places on which some pixels of the source have weight, and their weights there."""
    places = np.flatnonzero(weights.any(axis=1))
    place = slice(int(places[0]), int(places[-1]) + 1)
    return place, weights[place]


def _weights(source: int, size: int) -> Coverage:
    """(size, source): how much of each pixel is in each of the source's. Like the image, a side
    that shrinks is averaged by area and one that grows is interpolated linearly.
    """
    how = cv2.INTER_AREA if size < source else cv2.INTER_LINEAR
    weights = np.empty((size, source), np.float32)
    for first in range(0, source, BLOCK_PX):
        count = min(BLOCK_PX, source - first)
        each = np.eye(source, count, -first, dtype=np.float32)
        weights[:, first : first + count] = cv2.resize(each, (count, size), interpolation=how)
    return weights
