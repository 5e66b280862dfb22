"""Where a synthetic defect lies: each function draws one soft region, (H, W) float32 in [0, 1].

All have one signature: (height, width, anchor, rng), with `anchor` (y, x) a pixel of the part.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from training.perlin import perlin_noise, rotated, unit_range

Anchor = tuple[float, float]
Shape = Callable[[int, int, Anchor, np.random.Generator], np.ndarray]

OVERSAMPLING = 3
"""Thin lines are drawn this much larger and averaged down, so that widths below 1 px exist."""


def perlin_region(height: int, width: int, anchor: Anchor, rng: np.random.Generator) -> np.ndarray:
    """Thresholded, rotated Perlin noise (the papers' mask), kept near the anchor."""
    cells = (2 ** int(rng.integers(1, 6)), 2 ** int(rng.integers(1, 6)))
    noise = rotated(perlin_noise(height, width, cells, rng), float(rng.uniform(-90.0, 90.0)))
    region = (np.abs(noise) > rng.uniform(0.3, 0.5)).astype(np.float32)
    window = ellipse(height, width, anchor, _side(height, width, rng, 0.1, 0.5), rng)
    return np.asarray(region * (window > 0.5), dtype=np.float32)


def scratch(height: int, width: int, anchor: Anchor, rng: np.random.Generator) -> np.ndarray:
    """A gently bent line of even width, fading towards its ends."""
    length = _log_uniform(rng, 8.0, 0.8 * min(height, width))
    heading = rng.uniform(0.0, 2.0 * np.pi)
    along = np.linspace(-0.5, 0.5, 24)
    bend = rng.normal(0.0, 0.12) * length
    across = bend * (1.0 - 4.0 * along**2)
    y = anchor[0] + along * length * np.sin(heading) + across * np.cos(heading)
    x = anchor[1] + along * length * np.cos(heading) - across * np.sin(heading)
    strength = np.clip(1.2 - rng.uniform(0.0, 1.5) * np.abs(along), 0.2, 1.0)
    widths = np.full(len(along), _log_uniform(rng, 0.5, 3.5))
    return _line(height, width, np.stack([x, y], 1), widths, strength)


def crack(height: int, width: int, anchor: Anchor, rng: np.random.Generator) -> np.ndarray:
    """A wandering line of changing width, with a branch now and then."""
    heading = rng.uniform(0.0, 2.0 * np.pi)
    region = _wander(height, width, anchor, heading, rng)
    if rng.random() < 0.35:
        branch = _wander(height, width, anchor, heading + rng.normal(0.0, 0.9), rng)
        region = np.maximum(region, branch)
    return region


def specks(height: int, width: int, anchor: Anchor, rng: np.random.Generator) -> np.ndarray:
    """One to five small spots near the anchor."""
    region = np.zeros((height, width), np.float32)
    for _ in range(int(rng.choice([1, 1, 1, 2, 3, 5]))):
        y, x = np.asarray(anchor) + rng.normal(0.0, 0.04 * min(height, width), 2)
        spot = ellipse(height, width, (y, x), _log_uniform(rng, 1.2, 5.0), rng)
        region = np.maximum(region, spot)
    return region


def blob(height: int, width: int, anchor: Anchor, rng: np.random.Generator) -> np.ndarray:
    """A filled spot with an irregular outline."""
    radius = _side(height, width, rng, 0.03, 0.2)
    angle = np.linspace(0.0, 2.0 * np.pi, 48, endpoint=False)
    reach = np.ones_like(angle)
    for order in range(2, 6):
        reach += rng.normal(0.0, 0.35 / order) * np.cos(order * angle + rng.uniform(0.0, 6.3))
    reach = radius * np.clip(reach, 0.2, 2.0)
    stretch = rng.uniform(0.4, 1.0)
    points = np.stack([reach * np.cos(angle), stretch * reach * np.sin(angle)], 1)
    points = points @ _turn(rng.uniform(0.0, np.pi)) + [anchor[1], anchor[0]]
    region = np.zeros((height, width), np.uint8)
    cv2.fillPoly(region, [np.round(points * 8.0).astype(np.int32)], 255, cv2.LINE_AA, shift=3)
    return _blurred(region.astype(np.float32) / 255.0, rng.uniform(0.3, 1.5))


def stain(height: int, width: int, anchor: Anchor, rng: np.random.Generator) -> np.ndarray:
    """A cloudy spot without a sharp edge."""
    radius = _side(height, width, rng, 0.06, 0.25)
    window = ellipse(height, width, anchor, radius, rng)
    cells = (int(rng.integers(2, 7)), int(rng.integers(2, 7)))
    cloud = unit_range(perlin_noise(height, width, cells, rng))
    soft = _blurred(window, radius * rng.uniform(0.1, 0.35))
    return np.asarray(soft * (0.5 + 0.5 * cloud), dtype=np.float32)


def drift(height: int, width: int, anchor: Anchor, rng: np.random.Generator) -> np.ndarray:
    """A large smooth patch: uneven brightness rather than a spot."""
    radii = [_side(height, width, rng, 0.15, 0.6) for _ in range(2)]
    dy, dx = _offsets(height, width, anchor, rng.uniform(0.0, np.pi))
    distance = np.sqrt((dy / radii[0]) ** 2 + (dx / radii[1]) ** 2)
    softness = rng.uniform(0.05, 0.4)
    wobble = perlin_noise(height, width, (3, 3), rng) * rng.uniform(0.0, 0.4)
    patch = 1.0 / (1.0 + np.exp(np.clip((distance + wobble - 1.0) / softness, -30.0, 30.0)))
    return np.asarray(patch, dtype=np.float32)


def patch(height: int, width: int, anchor: Anchor, rng: np.random.Generator) -> np.ndarray:
    """A rotated rectangle with a narrow soft edge, the outline of a foreign piece."""
    half = [_side(height, width, rng, 0.02, 0.15) for _ in range(2)]
    box = ((anchor[1], anchor[0]), (2 * half[0], 2 * half[1]), float(rng.uniform(0.0, 180.0)))
    corners = np.round(cv2.boxPoints(box) * 8.0).astype(np.int32)
    region = np.zeros((height, width), np.uint8)
    cv2.fillPoly(region, [corners], 255, cv2.LINE_AA, shift=3)
    return _blurred(region.astype(np.float32) / 255.0, rng.uniform(0.3, 1.2))


def ellipse(
    height: int, width: int, anchor: Anchor, radius: float, rng: np.random.Generator
) -> np.ndarray:
    """A turned ellipse about the anchor with an edge one pixel wide; `radius` in pixels."""
    dy, dx = _offsets(height, width, anchor, rng.uniform(0.0, np.pi))
    other = radius * rng.uniform(0.5, 1.0)
    distance = np.sqrt((dy / radius) ** 2 + (dx / other) ** 2)
    return np.asarray(np.clip((1.0 - distance) * other + 0.5, 0.0, 1.0), dtype=np.float32)


def _wander(
    height: int, width: int, anchor: Anchor, heading: float, rng: np.random.Generator
) -> np.ndarray:
    steps = int(rng.integers(6, 40))
    length = _log_uniform(rng, 8.0, 0.7 * min(height, width))
    headings = heading + np.cumsum(rng.normal(0.0, 0.25, steps)) + rng.normal(0.0, 0.2, steps)
    stride = length / steps
    x = anchor[0 + 1] + np.cumsum(stride * np.cos(headings))
    y = anchor[0] + np.cumsum(stride * np.sin(headings))
    widths = _log_uniform(rng, 0.5, 2.5) * np.exp(rng.normal(0.0, 0.3, steps))
    strength = np.clip(rng.normal(0.85, 0.2, steps), 0.15, 1.0)
    return _line(height, width, np.stack([x, y], 1), widths, strength)


def _line(
    height: int, width: int, points: np.ndarray, widths: np.ndarray, strength: np.ndarray
) -> np.ndarray:
    """Segments through `points` (K, 2) x, y px with `widths` in px and `strength` in [0, 1]."""
    canvas = np.zeros((height * OVERSAMPLING, width * OVERSAMPLING), np.uint8)
    corners = np.clip(np.round(points * OVERSAMPLING), -(2**14), 2**14).astype(np.int32)
    order = np.argsort(strength[:-1], kind="stable")
    for i in order:
        thickness = max(1, round(float(widths[i]) * OVERSAMPLING))
        start, end = corners[i].tolist(), corners[i + 1].tolist()
        cv2.line(canvas, start, end, int(255 * strength[i]), thickness)
    small = cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(small, dtype=np.float32) / 255.0


def _offsets(
    height: int, width: int, anchor: Anchor, angle: float
) -> tuple[np.ndarray, np.ndarray]:
    y = (np.arange(height, dtype=np.float32) - anchor[0])[:, None]
    x = (np.arange(width, dtype=np.float32) - anchor[1])[None, :]
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return y * cos - x * sin, y * sin + x * cos


def _turn(angle: float) -> np.ndarray:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _blurred(region: np.ndarray, sigma: float) -> np.ndarray:
    return np.asarray(cv2.GaussianBlur(region, (0, 0), max(sigma, 0.1)), dtype=np.float32)


def _side(height: int, width: int, rng: np.random.Generator, low: float, high: float) -> float:
    """A length drawn log-uniformly between two shares of the shorter side, px."""
    return _log_uniform(rng, low * min(height, width), high * min(height, width))


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
