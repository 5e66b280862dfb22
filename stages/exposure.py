"""Exposure: parts of one product whose pictures differ in how much light reached the sensor.

Where good parts come lighter and darker by a large factor, brightness says nothing about a part,
and a model that had to be right at every exposure would see faint defects at none. Such a model has
an `exposure_level`: its networks see every image brought to this median grey level by one gain.
Pictures that people see keep the camera's exposure.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

LEVEL = 110.0
"""Median grey level of evened images: leaves room above for what is lighter than most."""

LEAST_GAIN, LARGEST_GAIN = 0.25, 4.0
VARIED_SPREAD = 0.2
"""Standard deviation of the logarithm of good images' medians from which exposure is evened out:
with 0.2, one image in three is a fifth lighter or darker than usual. A fixed light stays far
below."""

FULL_SCALE = 255.0


Exposure = Literal["auto", "as_is", "evened"]


def exposure_level(images: NDArray[np.uint8], wanted: Exposure) -> float | None:
    """The level for a model of these good parts (N, H, W, C); auto asks whether they vary."""
    even = wanted == "evened" or (wanted == "auto" and varied_exposure(images))
    return LEVEL if even else None


def varied_exposure(images: NDArray[np.uint8]) -> bool:
    """Whether (N, H, W, C) uint8 images of good parts are of clearly different exposure."""
    medians = np.median(images.reshape(len(images), -1), axis=1)
    return bool(np.log(np.maximum(medians, 1.0)).std() >= VARIED_SPREAD)


def evened(images: NDArray[np.uint8], level: float) -> NDArray[np.uint8]:
    """(N, H, W, C) uint8 images, each brought to the median grey level `level`."""
    out = np.empty_like(images)
    for index, image in enumerate(images):
        gain = np.float32(_limited(level / max(float(np.median(image)), 1.0)))
        out[index] = np.clip(np.rint(image * gain), 0.0, FULL_SCALE)
    return out


def exposure_gain(images: Tensor, level: float | None) -> Tensor | None:
    """(B, C, H, W) uint8 -> (B, 1, 1, 1) float32: what brings each image's median to `level`.

    None, for a model without a level, leaves images as they are.
    """
    if level is None:
        return None
    if _is_traced():  # for another runtime, which need not have a median
        return gain_from_medians(lower_median(images), level)
    return gain_from_medians(images.flatten(1).median(dim=1).values, level)


def _is_traced() -> bool:
    return bool(torch.jit.is_tracing())  # type: ignore[attr-defined, no-untyped-call]  # torch's own


def lower_median(images: Tensor) -> Tensor:
    """(B, C, H, W) uint8 -> (B,) float32, of each image's levels, as PyTorch's median has it: the
    largest of the lower half.

    Found bit by bit, in counts of the levels below: runtimes are slow at sorting an image.
    """
    levels = images.flatten(1).int()
    lower_half = (levels.shape[1] + 1) // 2
    found = torch.zeros_like(levels[:, 0])
    for bit in (128, 64, 32, 16, 8, 4, 2, 1):
        below = (levels < (found + bit)[:, None]).sum(dim=1)
        found = torch.where(below < lower_half, found + bit, found)
    return found.float()


def gain_from_medians(medians: Tensor, level: float) -> Tensor:
    """(B,) median grey levels -> (B, 1, 1, 1) float32, within the limits of a gain."""
    gain = level / medians.float().clamp(min=1.0)
    return gain.clamp(LEAST_GAIN, LARGEST_GAIN)[:, None, None, None]


def to_network_range(images: Tensor, gain: Tensor | None) -> Tensor:
    """(B, C, H, W) uint8 -> float32 in [-1, 1]: 0 becomes -1 and 255 becomes 1, after the gain."""
    levels = images.to(torch.float32)
    if gain is not None:
        levels = (levels * gain).clamp(max=FULL_SCALE)
    return levels / (FULL_SCALE / 2) - 1


def with_gain(x: Tensor, gain: Tensor | None) -> Tensor:
    """(B, C, H, W) in [-1, 1] at the camera's exposure -> float32, as the networks see it."""
    return x.float() if gain is None else (x.float() + 1) * gain - 1


def without_gain(x: Tensor, gain: Tensor | None) -> Tensor:
    """The reverse: (B, C, H, W) as the networks see it -> at the camera's exposure, in [-1, 1]."""
    return x if gain is None else ((x + 1) / gain - 1).clamp(-1, 1)


def _limited(gain: float) -> float:
    return min(max(gain, LEAST_GAIN), LARGEST_GAIN)
