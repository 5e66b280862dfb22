"""Where a synthetic defect lies: each function draws one soft region, (H, W) float32 in [0, 1].

All have one signature: (height, width, anchor, rng), with `anchor` (y, x) a pixel of the part.
Most defects are small, so each is drawn in the box that it needs, and the rest stays zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np

from training.perlin import perlin_piece, turned_perlin_piece

Anchor = tuple[float, float]
Shape = Callable[[int, int, Anchor, np.random.Generator], np.ndarray]

HALVINGS = 2
"""Thin lines are drawn four times larger and halved so often, for widths below 1 px."""

SMALLEST_CELL_PX = 4.0
NEGLIGIBLE = 1.0 / 512.0
"""A weight that changes no pixel by half a grey level, and with it none at all."""


@dataclass(frozen=True)
class Box:
    """A rectangle of pixels inside an image; `bottom` and `right` lie just outside of it."""

    top: int
    left: int
    bottom: int
    right: int

    @classmethod
    def between(
        cls, height: int, width: int, low: tuple[float, float], high: tuple[float, float]
    ) -> Self:
        """The pixels of an image from (y, x) `low` to `high`; may be empty."""
        top, left = (
            min(max(math.floor(c), 0), n) for c, n in zip(low, (height, width), strict=True)
        )
        ends = (math.ceil(c) + 1 for c in high)
        bottom, right = (min(c, n) for c, n in zip(ends, (height, width), strict=True))
        return cls(top, left, max(top, bottom), max(left, right))

    @property
    def height(self) -> int:
        """In pixels."""
        return self.bottom - self.top

    @property
    def width(self) -> int:
        """In pixels."""
        return self.right - self.left

    @property
    def empty(self) -> bool:
        """Without a pixel."""
        return self.height == 0 or self.width == 0

    def cut(self, field: np.ndarray) -> np.ndarray:
        """The box of an (H, W, ...) array, a view."""
        return field[self.top : self.bottom, self.left : self.right]

    def within(self, anchor: Anchor) -> Anchor:
        """A place of the image as seen from the corner of the box."""
        return anchor[0] - self.top, anchor[1] - self.left


def bounds(region: np.ndarray, margin_px: int) -> Box | None:
    """The box of what of a region (H, W) matters, and a margin; None if nothing does."""
    x, y, w, h = cv2.boundingRect((region > NEGLIGIBLE).view(np.uint8))
    if w == 0:
        return None
    height, width = region.shape
    low, high = (y - margin_px, x - margin_px), (y + h - 1 + margin_px, x + w - 1 + margin_px)
    return Box.between(height, width, low, high)


def perlin_region(height: int, width: int, anchor: Anchor, rng: np.random.Generator) -> np.ndarray:
    """Thresholded, rotated Perlin noise (the papers' mask), kept near the anchor."""
    y_px, x_px = (max(n / 2 ** int(rng.integers(1, 6)), SMALLEST_CELL_PX) for n in (height, width))
    radius = _side(height, width, rng, 0.1, 0.5)
    box = _box_about(height, width, anchor, radius)
    size = box.height, box.width
    noise = turned_perlin_piece(*size, (y_px, x_px), float(rng.uniform(-90.0, 90.0)), rng)
    window = ellipse(*size, box.within(anchor), radius, rng)
    region = (np.abs(noise) > rng.uniform(0.3, 0.5)) & (window > 0.5)
    return _on_canvas(height, width, box, region)


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
        dy, dx = rng.normal(0.0, 0.04 * min(height, width), 2)
        centre, radius = (anchor[0] + dy, anchor[1] + dx), _log_uniform(rng, 1.2, 5.0)
        box = _box_about(height, width, centre, radius)
        spot = ellipse(box.height, box.width, box.within(centre), radius, rng)
        box.cut(region)[...] = np.maximum(box.cut(region), spot)
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
    return _polygon(height, width, points, rng.uniform(0.3, 1.5))


def stain(height: int, width: int, anchor: Anchor, rng: np.random.Generator) -> np.ndarray:
    """A cloudy spot without a sharp edge."""
    radius = _side(height, width, rng, 0.06, 0.25)
    cell_px = height / int(rng.integers(2, 7)), width / int(rng.integers(2, 7))
    sigma = radius * rng.uniform(0.1, 0.35)
    reach = radius + 3.0 * sigma
    box = _box_about(height, width, anchor, reach)
    cloud = 0.5 + 0.7 * perlin_piece(box.height, box.width, cell_px, rng)
    soft = _soft_ellipse(box, anchor, radius, sigma, rng)
    return _on_canvas(height, width, box, soft * (0.5 + 0.5 * np.clip(cloud, 0.0, 1.0)))


def drift(height: int, width: int, anchor: Anchor, rng: np.random.Generator) -> np.ndarray:
    """A large smooth patch: uneven brightness rather than a spot."""
    radii = [_side(height, width, rng, 0.15, 0.6) for _ in range(2)]
    angle, softness = rng.uniform(0.0, np.pi), rng.uniform(0.05, 0.4)
    unevenness = rng.uniform(0.0, 0.4)
    reach = max(radii) * (1.0 + unevenness - softness * math.log(NEGLIGIBLE))
    box = _box_about(height, width, anchor, reach)
    dy, dx = _offsets(box.height, box.width, box.within(anchor), angle)
    distance = np.sqrt((dy / radii[0]) ** 2 + (dx / radii[1]) ** 2)
    wobble = unevenness * perlin_piece(box.height, box.width, (height / 3, width / 3), rng)
    steepness = np.clip((distance + wobble - 1.0) / softness, -30.0, 30.0)
    return _on_canvas(height, width, box, 1.0 / (1.0 + np.exp(steepness)))


def patch(height: int, width: int, anchor: Anchor, rng: np.random.Generator) -> np.ndarray:
    """A rotated rectangle with a narrow soft edge, the outline of a foreign piece."""
    half = [_side(height, width, rng, 0.02, 0.15) for _ in range(2)]
    box = ((anchor[1], anchor[0]), (2 * half[0], 2 * half[1]), float(rng.uniform(0.0, 180.0)))
    return _polygon(height, width, cv2.boxPoints(box), rng.uniform(0.3, 1.2))


def piece(height: int, width: int, anchor: Anchor, rng: np.random.Generator) -> np.ndarray:
    """The outline of what is made or put on in one: round, square or irregular."""
    shape = (disc, patch, blob)[int(rng.integers(3))]
    return shape(height, width, anchor, rng)


def disc(height: int, width: int, anchor: Anchor, rng: np.random.Generator) -> np.ndarray:
    """A filled ellipse with an edge one pixel wide."""
    radius = _side(height, width, rng, 0.03, 0.15)
    box = _box_about(height, width, anchor, radius)
    field = ellipse(box.height, box.width, box.within(anchor), radius, rng)
    return _on_canvas(height, width, box, field)


def area(height: int, width: int, anchor: Anchor, rng: np.random.Generator) -> np.ndarray:
    """Any region with an inside, sharp or soft, small or large."""
    shape = (blob, stain, drift, patch)[int(rng.integers(4))]
    return shape(height, width, anchor, rng)


def step(height: int, width: int, anchor: Anchor, rng: np.random.Generator) -> np.ndarray:
    """What lies on one side of a slightly bent line, as far as an ellipse reaches."""
    radius, sigma = _side(height, width, rng, 0.2, 1.0), 8.0
    box = _box_about(height, width, anchor, radius + 3.0 * sigma)
    dy, dx = _offsets(box.height, box.width, box.within(anchor), rng.uniform(0.0, 2.0 * np.pi))
    bend = rng.normal(0.0, 0.1) / max(height, width)
    cell_px = height / 3, width / 3
    wobble = rng.uniform(0.0, 8.0) * perlin_piece(box.height, box.width, cell_px, rng)
    softness = _log_uniform(rng, 0.5, 10.0)
    depth = np.clip((dy + bend * dx**2 + wobble) / softness, -30.0, 30.0)
    reach = _soft_ellipse(box, anchor, radius, sigma, rng)
    return _on_canvas(height, width, box, reach / (1.0 + np.exp(-depth)))


def ellipse(
    height: int, width: int, anchor: Anchor, radius: float, rng: np.random.Generator
) -> np.ndarray:
    """A turned ellipse about the anchor with an edge one pixel wide; `radius` in pixels."""
    dy, dx = _offsets(height, width, anchor, rng.uniform(0.0, np.pi))
    other = radius * rng.uniform(0.5, 1.0)
    distance = np.sqrt((dy / radius) ** 2 + (dx / other) ** 2)
    return np.asarray(np.clip((1.0 - distance) * other + 0.5, 0.0, 1.0), dtype=np.float32)


def _soft_ellipse(
    box: Box, anchor: Anchor, radius: float, sigma: float, rng: np.random.Generator
) -> np.ndarray:
    """A blurred ellipse; wide blurs are made of fewer, larger pixels, which shows nowhere."""
    step = max(1, int(sigma / 2.0))
    rows, columns = math.ceil(box.height / step), math.ceil(box.width / step)
    y, x = box.within(anchor)
    centre = (y + 0.5) / step - 0.5, (x + 0.5) / step - 0.5
    soft = _blurred(ellipse(rows, columns, centre, radius / step, rng), sigma / step)
    if step > 1:
        full = columns * step, rows * step
        soft = np.asarray(cv2.resize(soft, full, interpolation=cv2.INTER_LINEAR))
    return soft[: box.height, : box.width]


def _wander(
    height: int, width: int, anchor: Anchor, heading: float, rng: np.random.Generator
) -> np.ndarray:
    steps = int(rng.integers(6, 40))
    length = _log_uniform(rng, 8.0, 0.7 * min(height, width))
    headings = heading + np.cumsum(rng.normal(0.0, 0.25, steps)) + rng.normal(0.0, 0.2, steps)
    stride = length / steps
    x = anchor[1] + np.cumsum(stride * np.cos(headings))
    y = anchor[0] + np.cumsum(stride * np.sin(headings))
    widths = _log_uniform(rng, 0.5, 2.5) * np.exp(rng.normal(0.0, 0.3, steps))
    strength = np.clip(rng.normal(0.85, 0.2, steps), 0.15, 1.0)
    return _line(height, width, np.stack([x, y], 1), widths, strength)


def _line(
    height: int, width: int, points: np.ndarray, widths: np.ndarray, strength: np.ndarray
) -> np.ndarray:
    """Segments through `points` (K, 2) x, y px with `widths` in px and `strength` in [0, 1]."""
    box = _box_around(height, width, points, margin_px=float(widths.max()) / 2.0 + 1.0)
    if box.empty:
        return np.zeros((height, width), np.float32)
    scale = 2**HALVINGS
    lines = np.zeros((box.height * scale, box.width * scale), np.uint8)
    corners = np.round((points - (box.left, box.top)) * scale).astype(np.int32)
    for i in np.argsort(strength[:-1], kind="stable"):
        thickness = max(1, round(float(widths[i]) * scale))
        start, end = corners[i].tolist(), corners[i + 1].tolist()
        cv2.line(lines, start, end, int(255 * strength[i]), thickness)
    for _ in range(HALVINGS):
        lines = cv2.resize(lines, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    return _on_canvas(height, width, box, lines.astype(np.float32) / 255.0)


def _polygon(height: int, width: int, points: np.ndarray, sigma: float) -> np.ndarray:
    """The inside of `points` (K, 2) x, y px, its outline softened by `sigma` px."""
    box = _box_around(height, width, points, margin_px=4.0 * sigma + 1.0)
    region = np.zeros((box.height, box.width), np.uint8)
    corners = np.round((points - (box.left, box.top)) * 8.0).astype(np.int32)
    cv2.fillPoly(region, [corners], 255, cv2.LINE_AA, shift=3)
    return _on_canvas(height, width, box, _blurred(region.astype(np.float32) / 255.0, sigma))


def _box_about(height: int, width: int, centre: Anchor, reach_px: float) -> Box:
    """All within `reach_px` of a place, and the soft edge of an ellipse."""
    y, x, reach = *centre, reach_px + 1.0
    return Box.between(height, width, (y - reach, x - reach), (y + reach, x + reach))


def _box_around(height: int, width: int, points: np.ndarray, margin_px: float) -> Box:
    """All `points` (K, 2) x, y px, and a margin."""
    x, y = (points.min(axis=0) - margin_px).tolist()
    right, bottom = (points.max(axis=0) + margin_px).tolist()
    return Box.between(height, width, (y, x), (bottom, right))


def _on_canvas(height: int, width: int, box: Box, field: np.ndarray) -> np.ndarray:
    canvas = np.zeros((height, width), np.float32)
    box.cut(canvas)[...] = field
    return canvas


def _offsets(
    height: int, width: int, anchor: Anchor, angle: float
) -> tuple[np.ndarray, np.ndarray]:
    y = (np.arange(height, dtype=np.float32) - np.float32(anchor[0]))[:, None]
    x = (np.arange(width, dtype=np.float32) - np.float32(anchor[1]))[None, :]
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
