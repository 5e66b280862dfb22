"""Pictures that show nearly the same: one part at several exposures, or a camera that stood still.

They must be held out together. A near-copy of what was learnt is scored as well as what was learnt,
and validation would praise a model that fails on the next part.
"""

from __future__ import annotations

import cv2
import numpy as np

SIDE_PX = 128
FINE_PX, COARSE_PX = 1.0, 6.0
"""Detail between these two is compared: finer is noise, coarser is how parts are lit."""
LEAST_CONTRAST = 0.01
"""Relative contrast below which an area counts as flat."""
ALIKE = 0.45
"""Correlation of detail from which two pictures are near-copies. Of two different parts it is
seldom above 0.35: what all pictures share is taken off before."""
LEAST_NORM = 1e-6
ROWS = 512
"""Images compared with all others at once: bounds the memory that this takes."""


def near_copies(images: np.ndarray) -> np.ndarray:
    """(N, H, W, C) uint8 -> (N,) group of each image; those of one group are near-copies, or linked
    by others that are. Groups are numbered by their first images.
    """
    alike = _alike(_details(images))
    groups = np.full(len(images), -1)
    for first in range(len(images)):
        reached = np.array([first]) if groups[first] < 0 else np.array([], int)
        while len(reached):
            groups[reached] = first
            reached = np.flatnonzero(alike[reached].any(axis=0) & (groups < 0))
    return np.unique(groups, return_inverse=True)[1]


def _alike(details: np.ndarray) -> np.ndarray:
    """(N, D) details -> (N, N) bool: which pairs are near-copies."""
    alike = np.empty((len(details), len(details)), bool)
    for start in range(0, len(details), ROWS):
        alike[start : start + ROWS] = details[start : start + ROWS] @ details.T >= ALIKE
    return alike


def _details(images: np.ndarray) -> np.ndarray:
    """What tells (N, H, W, C) images apart: (N, D) float32 of length 1, or 0 where nothing does."""
    details = np.empty((len(images), SIDE_PX * SIDE_PX), np.float32)
    for row, image in zip(details, images, strict=True):
        row[:] = _detail(image).ravel()
    details -= details.mean(axis=0)
    norms = np.linalg.norm(details, axis=1, keepdims=True)
    details /= np.where(norms > LEAST_NORM, norms, np.inf)
    return details


def _detail(image: np.ndarray) -> np.ndarray:
    """Fine structure of one (H, W, C) image at equal local contrast, whatever its exposure."""
    grey = image.mean(axis=2, dtype=np.float32)
    small = cv2.resize(grey, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
    light = np.log1p(small)
    detail = _blurred(light, FINE_PX) - _blurred(light, COARSE_PX)
    contrast = np.sqrt(_blurred(detail**2, COARSE_PX))
    return np.asarray(detail / (contrast + LEAST_CONTRAST), np.float32)


def _blurred(plane: np.ndarray, sigma_px: float) -> np.ndarray:
    return np.asarray(cv2.GaussianBlur(plane, (0, 0), sigma_px))
