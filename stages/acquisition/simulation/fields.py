"""Random fields that products are made of: built once, then cropped at random for each part."""

from __future__ import annotations

from typing import TypeVar

import cv2
import numpy as np
from cv2.typing import MatLike

from stages.acquisition.simulation.scene import Affine, Bytes, Floats, Words, as_floats

Field = TypeVar("Field", Floats, Words)


def standardised(field: Floats) -> Floats:
    """The field with mean 0 and standard deviation 1."""
    return as_floats((field - field.mean()) / (field.std() + 1e-9))


def smooth_noise(rng: np.random.Generator, size_px: tuple[int, int], grain_px: float) -> Floats:
    """(H, W) float32 noise of mean 0 and deviation 1 whose blobs are about `grain_px` across."""
    height, width = size_px
    coarse = (max(4, round(height / grain_px) + 3), max(4, round(width / grain_px) + 3))
    knots = rng.standard_normal(coarse, dtype=np.float32)
    return standardised(
        as_floats(cv2.resize(knots, (width, height), interpolation=cv2.INTER_CUBIC))
    )


def fine_noise(rng: np.random.Generator, size_px: tuple[int, int], sigma_px: float) -> Floats:
    """(H, W) float32 white noise blurred by a Gaussian, of mean 0 and deviation 1."""
    white = rng.standard_normal(size_px, dtype=np.float32)
    if sigma_px > 0:
        white = as_floats(cv2.GaussianBlur(white, (0, 0), sigma_px))
    return standardised(white)


def brushing(rng: np.random.Generator, size_px: tuple[int, int], scale: float) -> Floats:
    """(H, W) float32 horizontal brushing lines of several lengths, mean 0, deviation 1."""
    total = np.zeros(size_px, np.float32)
    lines = ((24, 0.0, 0.35), (90, 0.4, 0.7), (260, 0.9, 0.65), (420, 3.5, 0.45))
    for length, across, weight in lines:
        white = rng.standard_normal(size_px, dtype=np.float32)
        if across:
            white = as_floats(cv2.GaussianBlur(white, (1, 0), 0.01, sigmaY=across * scale))
        run = max(3, round(length * scale))
        streaks = cv2.blur(cv2.blur(white, (run, 1)), (run // 2 + 1, 1))
        total += weight * standardised(as_floats(streaks))
    return standardised(np.clip(standardised(total), -2.6, 2.6))


def random_crop(rng: np.random.Generator, field: Field, size_px: tuple[int, int]) -> Field:
    """A view of the field of the wanted size at a random place."""
    top = int(rng.integers(0, field.shape[0] - size_px[0] + 1))
    left = int(rng.integers(0, field.shape[1] - size_px[1] + 1))
    return field[top : top + size_px[0], left : left + size_px[1]]


def warped_crop(
    rng: np.random.Generator, field: Bytes | Floats, size_px: tuple[int, int], placement: Affine
) -> MatLike:
    """The larger field from a random origin, moved by the affine map; its dtype is kept."""
    room = (field.shape[1] - size_px[1], field.shape[0] - size_px[0])
    origin = rng.uniform(0.1, 0.9, 2) * room
    shifted = placement.copy()
    shifted[:, 2] -= placement[:, :2] @ origin
    flags, border = cv2.INTER_LINEAR, cv2.BORDER_REFLECT_101
    return cv2.warpAffine(field, shifted, size_px[::-1], flags=flags, borderMode=border)


def placement_of(
    rng: np.random.Generator, size_px: tuple[int, int], turn_deg: float, shift_px: float
) -> Affine:
    """A 2x3 affine map: a rotation about the image's centre and a shift, both drawn uniformly."""
    angle = np.deg2rad(rng.uniform(-turn_deg, turn_deg))
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = np.array([size_px[1] / 2, size_px[0] / 2])
    offset = centre - rotation @ centre + rng.uniform(-shift_px, shift_px, 2)
    return np.column_stack([rotation, offset])


def upsampled(knots: Floats, size_px: tuple[int, int]) -> Floats:
    """A coarse field of light, interpolated to the image."""
    return as_floats(cv2.resize(knots, size_px[::-1], interpolation=cv2.INTER_CUBIC))
