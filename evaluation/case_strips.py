"""A part for people: input, reconstruction, anomaly map and mask side by side, as one picture."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from evaluation.cases import Case

PANEL_PX = 256
GAP_PX = 6
PAPER = 255
NO_MASK = 214

Picture = NDArray[np.uint8]


def strip(case: Case) -> Picture:
    """Four panels in a row, (H, W, 3) uint8 BGR, each at most PANEL_PX high and twice as wide."""
    panels = [
        _panel(_bgr(case.part.image)),
        _panel(_bgr(case.reconstruction)),
        _panel(heat(case.anomaly_map)),
        _panel(_mask(case.part.mask, case.anomaly_map.shape)),
    ]
    gap = np.full((len(panels[0]), GAP_PX, 3), PAPER, np.uint8)
    return np.hstack([panels[0], *(piece for panel in panels[1:] for piece in (gap, panel))])


def heat(anomaly_map: np.ndarray) -> Picture:
    """Probabilities (H, W) in [0, 1] -> (H, W, 3) uint8 BGR: black 0, red in between, white 1.

    The colour goes with the square root, so that a probability of a few per cent can be seen.
    """
    levels = np.rint(np.sqrt(np.clip(anomaly_map.astype(np.float32), 0, 1)) * 255)
    return np.asarray(cv2.applyColorMap(levels.astype(np.uint8), cv2.COLORMAP_INFERNO), np.uint8)


def _mask(mask: NDArray[np.bool_] | None, shape: tuple[int, ...]) -> Picture:
    """White on black; an even grey where there is no mask to show."""
    levels = np.full(shape, NO_MASK, np.uint8) if mask is None else mask.astype(np.uint8) * 255
    return _bgr(levels[..., None])


def _bgr(image: np.ndarray) -> Picture:
    code = cv2.COLOR_GRAY2BGR if image.shape[2] == 1 else cv2.COLOR_RGB2BGR
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(image), code), np.uint8)


def _panel(picture: Picture) -> Picture:
    height, width = picture.shape[:2]
    scale = min(PANEL_PX / height, 2 * PANEL_PX / width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(picture, size, interpolation=how), np.uint8)
