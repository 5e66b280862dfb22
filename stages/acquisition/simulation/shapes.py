"""Drawing static parts from signed distances, in design px, at twice the image's resolution."""

from __future__ import annotations

import cv2
import numpy as np

from stages.acquisition.simulation.scene import Floats, as_floats, scale_of

FINER = 2


def drawing_grid(size_px: tuple[int, int]) -> tuple[Floats, Floats, float]:
    """x and y in design px from the image's middle, each (2 H, 2 W), and pixels per design px."""
    height, width = size_px
    scale = FINER * scale_of(size_px)
    across = (np.arange(FINER * width, dtype=np.float32) - (FINER * width - 1) / 2) / scale
    down = (np.arange(FINER * height, dtype=np.float32) - (FINER * height - 1) / 2) / scale
    x, y = np.meshgrid(across, down)
    return as_floats(x), as_floats(y), scale


def reduced(drawing: Floats, size_px: tuple[int, int]) -> Floats:
    """A drawing at the image's own resolution."""
    return as_floats(cv2.resize(drawing, size_px[::-1], interpolation=cv2.INTER_AREA))


def disc(x: Floats, y: Floats, centre: tuple[float, float], radius: float) -> Floats:
    """Signed distance to a circle in design px, negative within it."""
    return as_floats(np.hypot(x - centre[0], y - centre[1]) - radius)


def step(distance: Floats, soft: float = 0.7) -> Floats:
    """1 where the distance is well below 0, 0 well above, smooth over `2 * soft` design px."""
    return as_floats(np.clip(0.5 - distance / (2 * soft), 0, 1))


def relief_slope(height: Floats, scale: float) -> tuple[Floats, Floats]:
    """Slopes in x and y of a height in design px, its edges rounded by about a pixel."""
    soft = as_floats(cv2.GaussianBlur(height, (0, 0), 0.9 * scale / FINER))
    gain = scale / 8  # a Sobel kernel adds up to 8 times the slope per pixel
    slope_x = cv2.Sobel(soft, cv2.CV_32F, 1, 0, scale=gain)
    slope_y = cv2.Sobel(soft, cv2.CV_32F, 0, 1, scale=gain)
    return as_floats(slope_x), as_floats(slope_y)
