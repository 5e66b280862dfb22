"""What a surface shows by itself: the contrast above which a defect of some shape stands out.

The spread of grey levels says little of it: ground metal has bright lines all over, along which a
scratch is lost, and across which a faint crack is seen at once. So the surface around a defect is
looked at through the defect's own region, wherever it may lie there: mean inside less mean around
it, as a matched filter gives it.
"""

from __future__ import annotations

import cv2
import numpy as np

from training.appearances import Place
from training.shapes import Box

REACH_PX = 48
"""How far around a defect the surface is looked at."""
LONGEST_PX = 24
"""Larger regions are looked at with fewer, larger pixels."""
RIM = np.ones((5, 5), np.uint8)
STRONGEST_SHARE = 0.995
"""Almost the strongest: the one line or edge that the part has there is no measure."""


def natural_contrast(place: Place) -> float:
    """The contrast in grey levels that the surface around has by itself, seen through the region of
    the place; 0 where the region leaves nothing around it.
    """
    box = place.box
    height, width = place.image.shape[:2]
    around = Box.between(
        height,
        width,
        (box.top - REACH_PX, box.left - REACH_PX),
        (box.bottom + REACH_PX, box.right + REACH_PX),
    )
    shrink = max(1.0, max(place.region.shape) / LONGEST_PX)
    grey = _smaller(around.cut(place.image).mean(axis=2, dtype=np.float32), shrink)
    region = _smaller(place.region, shrink)
    rim = np.asarray(cv2.dilate(region, RIM)) - region
    inside, beside = float(region.sum()), float(rim.sum())
    if min(inside, beside) <= 0.0:
        return 0.0
    contrasts = cv2.filter2D(
        grey, cv2.CV_32F, region / inside - rim / beside, borderType=cv2.BORDER_REFLECT_101
    )
    return float(np.quantile(np.abs(contrasts), STRONGEST_SHARE))


def _smaller(field: np.ndarray, shrink: float) -> np.ndarray:
    """(H, W) float32 with sides that are so many times shorter."""
    height, width = (max(1, round(side / shrink)) for side in field.shape)
    size = (width, height)
    return np.asarray(cv2.resize(field, size, interpolation=cv2.INTER_AREA), dtype=np.float32)
