"""From an anomaly map to one score and a few regions.

The score is the paper's: the mean of the K highest defect probabilities, in float32, as it is.
Probabilities of good parts crowd near 0, where float32 still tells 1e-30 from 2e-30, so an order
statistic of their scores is well defined; they are never rounded, clamped or scaled before it.
"""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pipeline.messages import Defect

MOST_DEFECTS = 16


def image_score(anomaly_map: Tensor, top_k: int) -> Tensor:
    """Mean of the `top_k` highest pixels of each map: (B, H, W) float32 -> (B,) float32.

    All pixels count where a map has fewer than `top_k`; one NaN in a map makes its score NaN.
    """
    assert top_k >= 1
    pixels = anomaly_map.flatten(1)
    highest = pixels.topk(min(top_k, pixels.shape[1]), dim=1).values
    return highest.mean(dim=1)


def proven_score(anomaly_map: Tensor, x_0_hat: Tensor, top_k: int) -> Tensor:
    """`image_score` of maps that were computed with the reconstructions (B, C, H, W); NaN where
    a value of either is not finite, which not every runtime's own ReLU and top K keep so.
    """
    finite = x_0_hat.flatten(1).isfinite().all(dim=1) & anomaly_map.flatten(1).isfinite().all(dim=1)
    return image_score(anomaly_map, top_k).masked_fill(~finite, math.nan)


def find_defects(
    anomaly_map: NDArray[np.floating], pixel_threshold: float, scale: tuple[float, float]
) -> tuple[Defect, ...]:
    """Connected regions of an (H, W) map strictly above `pixel_threshold`, largest first.

    `scale` is view pixels per map pixel along x and y: boxes and areas are in pixels of the view.
    At most 16 regions are named, joined over corners too.
    """
    assert anomaly_map.ndim == 2
    above = (anomaly_map > pixel_threshold).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(above, connectivity=8)
    by_area = sorted(range(1, count), key=lambda label: (-stats[label, cv2.CC_STAT_AREA], label))
    return tuple(
        _defect(anomaly_map, labels, stats[label], label, scale) for label in by_area[:MOST_DEFECTS]
    )


def _defect(
    anomaly_map: NDArray[np.floating],
    labels: NDArray[Any],
    stats: NDArray[Any],
    label: int,
    scale: tuple[float, float],
) -> Defect:
    x, y, width, height, area = (int(value) for value in stats)
    box = np.s_[y : y + height, x : x + width]
    x_px, y_px = math.floor(x * scale[0]), math.floor(y * scale[1])
    return Defect(
        x_px=x_px,
        y_px=y_px,
        width_px=math.ceil((x + width) * scale[0]) - x_px,
        height_px=math.ceil((y + height) * scale[1]) - y_px,
        area_px=max(1, round(area * scale[0] * scale[1])),
        peak=float(anomaly_map[box][labels[box] == label].max()),
    )
