"""Where the part is, for products that lie on an empty dark background."""

from __future__ import annotations

import cv2
import numpy as np

BACKGROUND_AT_MOST = 60.0
CLASSES_APART_LEVELS = 50.0
EXPLAINED_SHARE = 0.85
MARGIN_PX = 3


def background_level(images: np.ndarray) -> float | None:
    """The grey level that parts part and background, or None where the whole image is part.

    `images`: (N, H, W, C) uint8. The mean image must fall clearly into two classes (Otsu), the
    dark one dark enough to be an empty background, and neither smaller than 3 % of it.
    """
    mean = images.mean(axis=(0, 3))
    level, _ = cv2.threshold(mean.astype(np.uint8), 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    dark, light = mean[mean <= level], mean[mean > level]
    if min(dark.size, light.size) < 0.03 * mean.size:
        return None
    within = (dark.var() * dark.size + light.var() * light.size) / mean.size
    two_classes = 1.0 - within / max(float(mean.var()), 1e-6) >= EXPLAINED_SHARE
    apart = light.mean() - dark.mean() >= CLASSES_APART_LEVELS
    return float(level) if two_classes and apart and dark.mean() <= BACKGROUND_AT_MOST else None


def foreground_mask(image: np.ndarray, level: float | None) -> np.ndarray:
    """(H, W, C) uint8 -> (H, W) float32, 1 on the part and close to it, 0 on the background.

    The margin of MARGIN_PX lets a defect reach over the edge, as a burr or a splash does.
    """
    if level is None:
        return np.ones(image.shape[:2], np.float32)
    grey = cv2.GaussianBlur(image.mean(axis=2), (0, 0), 2.0)
    reach = np.ones((2 * MARGIN_PX + 1, 2 * MARGIN_PX + 1), np.uint8)
    return np.asarray(cv2.dilate((grey > level).astype(np.float32), reach))
