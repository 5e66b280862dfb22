"""What a product hands to the renderer: one good part, and where defects may lie on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Words = NDArray[np.uint16]
Bools = NDArray[np.bool_]
Affine = NDArray[np.float64]

DESIGN_PX = 512
"""Side of the square on which products and defects are designed; other sizes scale from it."""
LAMP = (-0.6, -0.8)
"""Direction towards the lamp in the image plane, (x, y): from the upper left."""


def scale_of(size_px: tuple[int, int]) -> float:
    """Image pixels per design pixel for a (height, width)."""
    return min(size_px) / DESIGN_PX


@dataclass(frozen=True)
class Site:
    """A place for a defect: centre (x, y) in px, and where it should run to.

    `heading_rad` points into the material for a site on a rim, else anywhere; `grain_rad` is the
    direction of brushing or of a yarn, `pitch_px` the distance between yarns (0 without yarns),
    `behind` the grey level that shows where a piece of the part is missing.
    """

    x_px: float
    y_px: float
    heading_rad: float
    grain_rad: float
    pitch_px: float = 0.0
    behind: float = 0.0


@dataclass(frozen=True)
class Mark:
    """A defect on a square patch around its site, before its contrast is set.

    `profile`: (n, n) float32, the change of brightness in arbitrary units, n odd. `opacity`:
    (n, n) float32 in [0, 1], how far it hides what is below, by the mean of the place or by `fill`
    (a grey level). `tint`: gain of the change in blue, green and red.
    """

    profile: Floats
    opacity: Floats | None = None
    fill: float | None = None
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    contrast: tuple[float, float] = (0.0, 1.0)
    """Part of the range of contrasts that this mark is drawn from, both in [0, 1]."""


@dataclass(frozen=True)
class MarkMaker:
    """How one defect comes about: `draw(rng, site, size in [0, 1], px per design px)`."""

    draw: Callable[[np.random.Generator, Site, float, float], Mark]
    on_rim: bool = False


@dataclass(frozen=True)
class Scene:
    """A good part: `image` (H, W) or (H, W, 3) BGR uint8; `surface` (H, W) uint8, 255 on the part.

    `placement` is the 2x3 affine map from design coordinates (scaled to the image) to the image.
    """

    image: Bytes
    surface: Bytes
    placement: Affine


class Product(Protocol):
    """A product that the simulated camera can show; a pure function of the generator."""

    @property
    def marks(self) -> Mapping[str, tuple[MarkMaker, ...]]:
        """How each kind of defect comes about on this product, one way drawn at random."""
        ...

    @property
    def faintest(self) -> float:
        """Least contrast of a defect, in grey levels, visible to a careful person."""
        ...

    def good_part(self, rng: np.random.Generator) -> Scene:
        """One good part with its own texture, position, light and noise."""
        ...

    def site(self, rng: np.random.Generator, scene: Scene, maker: MarkMaker) -> Site:
        """A place on the part where such a defect can be."""
        ...


def moved(placement: Affine, point: tuple[float, float]) -> tuple[float, float]:
    """The point (x, y) after the affine map, in px."""
    x, y = placement @ np.array([point[0], point[1], 1.0])
    return float(x), float(y)


def turn_of(placement: Affine) -> float:
    """The rotation of the affine map in rad, clockwise in the image."""
    return float(np.arctan2(placement[1, 0], placement[0, 0]))


def as_bytes(array: Any) -> Bytes:
    """The array rounded to uint8, cut off at 0 and 255."""
    return np.asarray(cv2.addWeighted(array, 1.0, array, 0.0, 0.0, dtype=cv2.CV_8U), np.uint8)


def as_words(array: Any) -> Words:
    """The array rounded to uint16, cut off at 0 and 65535."""
    return np.asarray(np.clip(np.rint(array), 0, 65535), np.uint16)


def as_floats(array: Any) -> Floats:
    """The array as contiguous float32."""
    return np.ascontiguousarray(array, dtype=np.float32)
