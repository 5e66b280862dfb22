"""Where the part is, for products that lie on a background with room all round."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

CLASSES_APART_LEVELS = 40.0
EXPLAINED_SHARE = 0.8
BORDER_SHARE = 0.03
SMALLEST_SHARE = 0.03
LOOKED_AT = 64
MARGIN_PX = 3
SMOOTHING_PX = 2.0


@dataclass(frozen=True)
class Background:
    """What lies behind the parts: `colour` (C,) in grey levels; a pixel that is more than
    `level` grey levels away from it, in any channel, belongs to the part.
    """

    colour: np.ndarray
    level: float


def find_background(images: np.ndarray) -> Background | None:
    """The background of (N, H, W, C) uint8 images, or None where the whole image is part.

    It has the colour of the images' border. Over the set, the distances from this colour must
    fall clearly into two classes (Otsu), and the border must belong to the near one all round;
    where in doubt, everything is part, which only means that defects are painted everywhere.
    """
    some = images[:: max(1, len(images) // LOOKED_AT)]
    border = _border(images.shape[1:3])
    colour = np.median(some[:, border], axis=(0, 1)).astype(np.float32)
    away = np.mean([_distance(image, colour) for image in some], axis=0)
    level, _ = cv2.threshold(away.astype(np.uint8), 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    far = away > level
    if min(far.mean(), 1.0 - far.mean()) < SMALLEST_SHARE or far[border].mean() > SMALLEST_SHARE:
        return None
    near_levels, far_levels = away[~far], away[far]
    within = (near_levels.var() * near_levels.size + far_levels.var() * far_levels.size) / far.size
    two_classes = 1.0 - within / max(float(away.var()), 1e-6) >= EXPLAINED_SHARE
    apart = far_levels.mean() - near_levels.mean() >= CLASSES_APART_LEVELS
    return Background(colour, float(level)) if two_classes and apart else None


def foreground_mask(image: np.ndarray, background: Background | None) -> np.ndarray:
    """(H, W, C) uint8 -> (H, W) float32, 1 on the part and close to it, 0 on the background.

    The margin of MARGIN_PX lets a defect reach over the edge, as a burr or a splash does.
    """
    if background is None:
        return np.ones(image.shape[:2], np.float32)
    part = _distance(image, background.colour) > background.level
    reach = np.ones((2 * MARGIN_PX + 1, 2 * MARGIN_PX + 1), np.uint8)
    return np.asarray(cv2.dilate(part.astype(np.float32), reach))


def colour_distance(image: np.ndarray, other: np.ndarray) -> np.ndarray:
    """How far the colours of (H, W, C) float32 are from those of another, or from one colour (C,):
    the largest difference of a channel, (H, W) float32 in grey levels.
    """
    distance = np.abs(image[..., 0] - other[..., 0])
    for channel in range(1, image.shape[2]):  # many times faster than a maximum along the axis
        apart = np.abs(image[..., channel] - other[..., channel])
        np.maximum(distance, apart, out=distance)
    return np.asarray(distance)


def _distance(image: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """(H, W) float32: how far each pixel's surroundings are from the colour, in grey levels."""
    smooth = cv2.GaussianBlur(image.astype(np.float32), (0, 0), SMOOTHING_PX)
    return colour_distance(smooth.reshape(image.shape), colour)


def _border(size_px: tuple[int, int]) -> np.ndarray:
    """(H, W) bool: a narrow strip along all four sides."""
    border = np.ones(size_px, bool)
    depth = max(1, round(BORDER_SHARE * min(size_px)))
    border[depth:-depth, depth:-depth] = False
    return border
