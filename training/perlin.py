"""Perlin noise, the source of irregular masks and of procedural textures."""

from __future__ import annotations

import cv2
import numpy as np


def perlin_noise(
    height: int, width: int, cells: tuple[int, int], rng: np.random.Generator
) -> np.ndarray:
    """One octave of gradient noise, (height, width) float32, about [-1, 1].

    `cells`: lattice cells down and across, each at least 1.
    """
    rows, columns = cells
    angles = rng.uniform(0.0, 2.0 * np.pi, (rows + 2, columns + 2)).astype(np.float32)
    gradient_y, gradient_x = np.sin(angles), np.cos(angles)
    y = np.linspace(0.0, rows, height, endpoint=False, dtype=np.float32)
    x = np.linspace(0.0, columns, width, endpoint=False, dtype=np.float32)
    row, column = y.astype(np.intp), x.astype(np.intp)
    dy, dx = np.mod(y, 1.0)[:, None], np.mod(x, 1.0)[None, :]

    def corner(down: int, right: int) -> np.ndarray:
        at = np.ix_(row + down, column + right)
        slope: np.ndarray = gradient_y[at] * (dy - down) + gradient_x[at] * (dx - right)
        return slope

    fade_y, fade_x = _fade(dy), _fade(dx)
    top = corner(0, 0) * (1.0 - fade_x) + corner(0, 1) * fade_x
    bottom = corner(1, 0) * (1.0 - fade_x) + corner(1, 1) * fade_x
    noise: np.ndarray = np.float32(np.sqrt(2.0)) * (top * (1.0 - fade_y) + bottom * fade_y)
    return noise


def rotated(image: np.ndarray, degrees: float) -> np.ndarray:
    """`image` (H, W) or (H, W, C) float32 turned about its centre, edges mirrored."""
    height, width = image.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2.0, height / 2.0), degrees, 1.0)
    turned = cv2.warpAffine(
        image, turn, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    return np.asarray(turned).reshape(image.shape)


def unit_range(field: np.ndarray) -> np.ndarray:
    """`field` stretched to [0, 1]; a constant field becomes 0."""
    low, high = float(field.min()), float(field.max())
    return np.asarray((field - low) / max(high - low, 1e-6), dtype=np.float32)


def _fade(t: np.ndarray) -> np.ndarray:
    faded: np.ndarray = t * t * t * (t * (t * 6.0 - 15.0) + 10.0)
    return faded
