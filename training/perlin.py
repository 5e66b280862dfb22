"""Perlin noise, the source of irregular masks and of procedural textures."""

from __future__ import annotations

import math

import cv2
import numpy as np


def perlin_noise(
    height: int, width: int, cells: tuple[int, int], rng: np.random.Generator
) -> np.ndarray:
    """One octave of gradient noise, (height, width) float32, about [-1, 1].

    `cells`: lattice cells down and across, each at least 1.
    """
    rows, columns = cells
    y = np.linspace(0.0, rows, height, endpoint=False, dtype=np.float32)
    x = np.linspace(0.0, columns, width, endpoint=False, dtype=np.float32)
    return _noise_at(y, x, rng)


def perlin_piece(
    height: int, width: int, cell_px: tuple[float, float], rng: np.random.Generator
) -> np.ndarray:
    """A piece of endless noise, (height, width) float32, about [-1, 1], of cells of `cell_px`."""
    y, x = (
        np.float32(rng.random()) + np.arange(length, dtype=np.float32) / np.float32(cell)
        for length, cell in zip((height, width), cell_px, strict=True)
    )
    return _noise_at(y, x, rng)


def turned_perlin_piece(
    height: int,
    width: int,
    cell_px: tuple[float, float],
    degrees: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """The same on a lattice that is turned by `degrees`."""
    side = math.ceil(math.hypot(height, width)) + 2
    turn: np.ndarray = np.array(cv2.getRotationMatrix2D((side / 2.0, side / 2.0), degrees, 1.0))
    turn[:, 2] += ((width - side) / 2.0, (height - side) / 2.0)
    noise = perlin_piece(side, side, cell_px, rng)
    return np.asarray(cv2.warpAffine(noise, turn, (width, height), flags=cv2.INTER_LINEAR))


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


def _noise_at(y: np.ndarray, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Noise at ascending lattice coordinates y (h,) and x (w,), at least 0: (h, w) float32.

    A corner at (i, j) with the gradient (a, b) adds fade(y) fade(x) (a (y - i) + b (x - j)): first
    the sums along x, for each row of the lattice, then those along y, for each row of pixels.
    """
    row, column = y.astype(np.intp), x.astype(np.intp)
    dy, dx = (y - row).astype(np.float32)[:, None], (x - column).astype(np.float32)
    row, column = row - row[0], column - column[0]
    angles = rng.uniform(0.0, 2.0 * np.pi, (row[-1] + 2, column[-1] + 2)).astype(np.float32)
    down, right = np.sin(angles), np.cos(angles)
    fade_x, fade_y = _fade(dx), _fade(dy)
    left_x, left, after = 1.0 - fade_x, column, column + 1
    slopes = down[:, left] * left_x + down[:, after] * fade_x
    levels = right[:, left] * (dx * left_x) + right[:, after] * ((dx - 1.0) * fade_x)
    upper = slopes[row] * dy + levels[row]
    lower = slopes[row + 1] * (dy - 1.0) + levels[row + 1]
    noise: np.ndarray = np.float32(np.sqrt(2.0)) * (upper + (lower - upper) * fade_y)
    return noise


def _fade(t: np.ndarray) -> np.ndarray:
    faded: np.ndarray = t * t * t * (t * (t * 6.0 - 15.0) + 10.0)
    return faded
