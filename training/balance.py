"""How much the pixels of a defect count in the mask's loss.

(10) is a mean over pixels: a hairline of a hundred of them hardly shows beside a stain of ten
thousand, and is learnt last or never. Weighted so that a defect counts by less than its area, thin
and small ones are learnt several times sooner. Not in the paper, whose loss a power of 0 gives.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

REFERENCE_PX = 330.0
"""A defect of this area keeps the weight 1."""

LEAST_WEIGHT, LARGEST_WEIGHT = 0.25, 8.0
REACH = np.ones((3, 3), np.uint8)


def defect_weights(masks: Tensor, power: float) -> Tensor:
    """(B, 1, H, W) masks -> weights of the same shape, float32: (REFERENCE_PX / area)^power on
    each connected defect and the pixels next to it, within limits; 1 elsewhere.
    """
    if power == 0.0:
        return torch.ones_like(masks)
    regions = masks[:, 0].numpy().astype(np.uint8)
    return torch.from_numpy(np.stack([_weights(region, power) for region in regions]))[:, None]


def _weights(region: np.ndarray, power: float) -> np.ndarray:
    """(H, W) uint8 0 or 1 -> (H, W) float32."""
    count, labels = cv2.connectedComponents(cv2.dilate(region, REACH), connectivity=8)
    areas = np.bincount(labels[region > 0], minlength=count)
    weights = (REFERENCE_PX / np.maximum(areas, 1)) ** power
    weights = np.clip(weights, LEAST_WEIGHT, LARGEST_WEIGHT).astype(np.float32)
    weights[0] = 1.0
    return np.asarray(weights[labels])
