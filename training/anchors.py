"""Where on a part a synthetic defect begins: the pixel that its region is drawn about."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from training.shapes import Anchor

Anchored = Callable[[np.ndarray, np.ndarray, np.random.Generator], Anchor]
"""(image (H, W, C) float32, foreground (H, W), rng) -> (y, x) in pixels."""

PLACES = 4
NEAR_PX = 7


def anywhere(_: np.ndarray, foreground: np.ndarray, rng: np.random.Generator) -> Anchor:
    """A pixel of the part; anywhere if several draws find none."""
    height, width = foreground.shape
    for _turn in range(16):
        y, x = int(rng.integers(height)), int(rng.integers(width))
        if foreground[y, x] > 0.5:
            break
    return float(y), float(x)


def at_edge(image: np.ndarray, foreground: np.ndarray, rng: np.random.Generator) -> Anchor:
    """A pixel at the edge of the part, or of the image where that cuts it off."""
    inside = (foreground > 0.5).astype(np.uint8)
    cross = np.asarray(cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3)))
    core = cv2.erode(inside, cross, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    edge = np.flatnonzero(inside > core)
    if edge.size == 0:
        return anywhere(image, foreground, rng)
    y, x = divmod(int(edge[int(rng.integers(edge.size))]), foreground.shape[1])
    return float(y), float(x)


def at_detail(image: np.ndarray, foreground: np.ndarray, rng: np.random.Generator) -> Anchor:
    """Of some pixels of the part the one with most going on around it: something to be missed."""
    found = [anywhere(image, foreground, rng) for _ in range(PLACES)]
    detail = [_detail(image, int(y), int(x)) for y, x in found]
    return found[int(np.argmax(detail))]


def _detail(image: np.ndarray, y: int, x: int) -> float:
    """The standard deviation around a pixel, in grey levels."""
    near = image[max(0, y - NEAR_PX) : y + NEAR_PX + 1, max(0, x - NEAR_PX) : x + NEAR_PX + 1]
    return float(np.mean(cv2.meanStdDev(near)[1]))
