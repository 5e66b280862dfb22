"""Pieces too many and pieces missing: what (12) shows where a part repeats or lacks something.

Nothing is recoloured: a second label has the very colours of the first, and through a hole one
sees what lies behind. Where old and new differ by no more than the surface does by itself the image
stays as it is, for the copy of a grain is no defect.
"""

from __future__ import annotations

import math
from itertools import pairwise

import cv2
import numpy as np

from training import textures
from training.appearances import Place
from training.foreground import MARGIN_PX, colour_distance
from training.shapes import Box

CANDIDATES = 6
"""Of so many places at random the most different one is copied."""

OF_ITS_OWN = 2.0
"""And only if it differs from where it comes to by so many times as two other places do."""

ON_PART_SHARE = 0.95
LEAST_LEVELS = 6.0
LEAST_SPREAD = 6.0
"""New stands out from old where the means of NEAR_PX x NEAR_PX pixels differ by this many grey
levels, and by so many of the standard deviations that they have in the quieter of both."""

NEAR_PX = 5
GAP_PX = 9
"""What stands out in places less than this apart is one piece."""

COARSE_SIDE, COARSE_PX = 16, 4
"""What surrounds a gap is continued on a grid of at most so many cells a side, of at least so many
pixels each."""

SMALLEST_TILE_PX = 4
STRIDE_PX = 4
HIGHPASS_TO_SIGMA = 1.6
"""From the median distance between a pixel of white noise and the mean of its 3 x 3 neighbours to
the noise's standard deviation."""


def duplicated(place: Place, rng: np.random.Generator) -> np.ndarray:
    """Another place of the part, as it is, (h, w, C); the place itself where none is found, or none
    is a piece of its own: on cloth or ground metal all places differ, and all alike.
    """
    copies = _other_places(place, rng)
    if len(copies) < 2:
        return place.piece
    apart = [_apart(place, copy, place.piece) for copy in copies]
    usual = min(_apart(place, *pair) for pair in pairwise(copies))
    most = int(np.argmax(apart))
    if apart[most] < OF_ITS_OWN * usual:
        return place.piece
    return _where_it_shows(place, copies[most], _quieter(place, copies[most]))


def background_shown(place: Place, rng: np.random.Generator) -> np.ndarray:
    """What lies behind the part, taken from near by, (h, w, C); where nothing does, or too little
    of it is in the image, the part smoothed over.
    """
    tile = _free_tile(place.foreground == 0.0, place.box, rng)
    if tile is None:
        return smoothed_over(place, rng)
    more = place.box.height - tile.height, place.box.width - tile.width
    behind = cv2.copyMakeBorder(
        tile.cut(place.image), 0, more[0], 0, more[1], cv2.BORDER_REFLECT_101
    )
    other = _on_part(place, np.asarray(behind).reshape(place.piece.shape))
    return _where_it_shows(place, other, _quieter(place, other))


def smoothed_over(place: Place, rng: np.random.Generator) -> np.ndarray:
    """The surface around the region continued through it, with its grain but without what was
    there, (h, w, C).
    """
    known = ((place.region < 0.02) & _part(place)).astype(np.uint8)
    smooth = _continued(place.piece, known)
    if smooth is None:
        return place.piece
    sigma = _grain(place.piece, known)
    noise = rng.standard_normal(place.region.shape, dtype=np.float32) * np.float32(sigma)
    grained = smooth + textures.in_channels(noise, place.image.shape[2])
    return _where_it_shows(place, _on_part(place, grained), sigma / NEAR_PX)


def _continued(piece: np.ndarray, known: np.ndarray) -> np.ndarray | None:
    """A smooth surface through a piece (h, w, C) where it is `known` (h, w) uint8 0/1, and on where
    it is not; None if too little is known.
    """
    size = piece.shape[1], piece.shape[0]
    cell_px = max(COARSE_PX, max(size) / COARSE_SIDE)
    coarse = tuple(max(2, round(side / cell_px)) for side in size)
    gap = (cv2.resize(known * 255, coarse, interpolation=cv2.INTER_AREA) < 255).astype(np.uint8)
    if gap.all():
        return None
    levels = cv2.resize(piece, coarse, interpolation=cv2.INTER_AREA)
    planes = np.clip(np.round(levels), 0.0, 255.0).astype(np.uint8)
    filled = cv2.inpaint(planes, gap, 3.0, cv2.INPAINT_NS).astype(np.float32)
    smooth = cv2.resize(filled, size, interpolation=cv2.INTER_CUBIC)
    return np.asarray(smooth).reshape(piece.shape)


def _other_places(place: Place, rng: np.random.Generator) -> list[np.ndarray]:
    """Places of the size of the box on the part and at least half of it away, (h, w, C) each."""
    box, found = place.box, []
    height, width = place.image.shape[:2]
    wanted = ON_PART_SHARE * float(place.region.sum())
    for _ in range(CANDIDATES):
        top = int(rng.integers(height - box.height + 1))
        left = int(rng.integers(width - box.width + 1))
        if abs(top - box.top) < box.height / 2 and abs(left - box.left) < box.width / 2:
            continue
        other = Box(top, left, top + box.height, left + box.width)
        if float((other.cut(place.foreground) * place.region).sum()) >= wanted:
            found.append(other.cut(place.image))
    return found


def _apart(place: Place, one: np.ndarray, other: np.ndarray) -> float:
    """How much two pieces differ inside the region, looked at sparsely."""
    sparse = slice(None, None, 3), slice(None, None, 3)
    return float((np.abs(one[sparse] - other[sparse]) * place.weights[sparse]).sum())


def _free_tile(free: np.ndarray, box: Box, rng: np.random.Generator) -> Box | None:
    """A rectangle of nothing but `free` (H, W) pixels near a box, as large as the box or, where
    there is none, half or a quarter as large and so on.
    """
    count = np.asarray(cv2.integral(free.view(np.uint8)))
    height, width = box.height, box.width
    while min(height, width) >= SMALLEST_TILE_PX:
        high = slice(height, None, STRIDE_PX), slice(0, -height, STRIDE_PX)
        wide = slice(width, None, STRIDE_PX), slice(0, -width, STRIDE_PX)
        inside = count[high[0], wide[0]] - count[high[1], wide[0]]
        inside = inside - count[high[0], wide[1]] + count[high[1], wide[1]]
        found = np.flatnonzero(inside == height * width)
        if found.size:
            some = found[rng.integers(found.size, size=8)]
            top, left = (STRIDE_PX * i for i in divmod(some, inside.shape[1]))
            nearest = int(np.argmin(np.abs(top - box.top) + np.abs(left - box.left)))
            y, x = int(top[nearest]), int(left[nearest])
            return Box(y, x, y + height, x + width)
        height, width = math.ceil(height / 2), math.ceil(width / 2)
    return None


def _part(place: Place) -> np.ndarray:
    """Where in the box the part itself is, (h, w) bool: the foreground reaches beyond it, and only
    a pixel of that, for the part's blurred edge, goes with a piece.
    """
    reach = np.ones((2 * MARGIN_PX - 1, 2 * MARGIN_PX - 1), np.uint8)
    return np.asarray(cv2.erode(place.box.cut(place.foreground), reach) > 0.5)


def _on_part(place: Place, other: np.ndarray) -> np.ndarray:
    return np.where(_part(place)[:, :, None], other, place.piece)


def _where_it_shows(place: Place, other: np.ndarray, usual: float) -> np.ndarray:
    """`other` (h, w, C) where it stands out from the box of the image, which is kept elsewhere.

    `usual` is the standard deviation of the means of NEAR_PX x NEAR_PX pixels, in grey levels.
    """
    limit = max(LEAST_LEVELS, LEAST_SPREAD * usual)
    apart = colour_distance(_means(other), _means(place.piece))
    stands_out = np.clip(4.0 * (apart / limit - 1.0), 0.0, 1.0).astype(np.float32)
    stands_out[place.region <= 0.5] = 0.0
    reach = np.ones((GAP_PX, GAP_PX), np.uint8)
    together = np.asarray(cv2.morphologyEx(stands_out, cv2.MORPH_CLOSE, reach))
    shown = np.asarray(cv2.blur(np.asarray(cv2.dilate(together, reach[:3, :3])), (3, 3)))
    share = textures.in_channels(shown, other.shape[2])
    return np.asarray(place.piece + share * (other - place.piece))


def _quieter(place: Place, other: np.ndarray) -> float:
    """The smaller of the spreads of old and new inside the region, in grey levels."""
    inside = (place.region > 0.5).astype(np.uint8)
    spreads = (cv2.meanStdDev(_means(piece), mask=inside)[1] for piece in (place.piece, other))
    return min(float(np.max(spread)) for spread in spreads)


def _means(piece: np.ndarray) -> np.ndarray:
    """Of every pixel's neighbourhood, (h, w, C)."""
    return np.asarray(cv2.blur(piece, (NEAR_PX, NEAR_PX))).reshape(piece.shape)


def _grain(piece: np.ndarray, known: np.ndarray) -> float:
    """The standard deviation of the noise of a piece, in grey levels, whatever its structure."""
    detail = piece - cv2.blur(piece, (3, 3)).reshape(piece.shape)
    return HIGHPASS_TO_SIGMA * float(np.median(np.abs(detail[known > 0])))
