"""A twill-woven cotton cloth, indigo warp on pale weft, that fills a colour camera's picture."""

from __future__ import annotations

import cv2
import numpy as np

from stages.acquisition.simulation import marks
from stages.acquisition.simulation.fields import (
    fine_noise,
    placement_of,
    random_crop,
    smooth_noise,
    standardised,
    upsampled,
    warped_crop,
)
from stages.acquisition.simulation.scene import (
    Affine,
    Bytes,
    Floats,
    MarkMaker,
    Scene,
    Site,
    as_bytes,
    as_floats,
    scale_of,
    turn_of,
)

PITCH = 11.0
"""Distance between yarns in design px."""
REPEAT = 3
"""Yarns after which the weave repeats: a weft passes under two warps and over one."""
WARP_BGR, WEFT_BGR = (150.0, 138.0, 118.0), (172.0, 178.0, 178.0)


class _Yarns:
    """One system of parallel yarns over a field: where each runs, how thick and how high it is."""

    def __init__(self, rng: np.random.Generator, across: Floats, scale: float) -> None:
        size_px = (across.shape[0], across.shape[1])
        pitch = PITCH * scale
        sway = 0.07 * smooth_noise(rng, size_px, 5 * pitch)
        sway += 0.03 * smooth_noise(rng, size_px, 1.6 * pitch)
        self.place = as_floats(across / pitch + sway)
        self.index = np.floor(self.place)
        self.offset = as_floats(self.place - self.index - 0.5)
        number = self.index.astype(np.int32) % 4096
        self.thickness = as_floats(
            rng.normal(1, 0.07, 4096).astype(np.float32)[number]
            + 0.07 * smooth_noise(rng, size_px, 3 * pitch)
        )
        self.dye = as_floats(rng.normal(1, 0.05, 4096).astype(np.float32)[number])

    def height(self, wave: Floats) -> Floats:
        """Height of the yarn's round back, in units of its pitch, carried by the weave's wave."""
        round_back = np.sqrt(np.maximum(0, 1 - (1.86 * self.offset / self.thickness) ** 2))
        return as_floats(0.55 * round_back * self.thickness + wave)


def _cloth(rng: np.random.Generator, size_px: tuple[int, int], scale: float) -> Bytes:
    """(H, W, 3) BGR uint8: a large piece of cloth in even light."""
    y, x = np.mgrid[0 : size_px[0], 0 : size_px[1]].astype(np.float32)
    warp, weft = _Yarns(rng, x, scale), _Yarns(rng, y, scale)
    turn = 2 * np.pi / REPEAT
    warp_height = warp.height(
        as_floats(0.26 * np.cos(turn * (weft.place - 0.5 - warp.index)) + 0.12)
    )
    weft_height = weft.height(as_floats(-0.26 * np.cos(turn * (weft.index - warp.place + 0.5))))
    on_top = as_floats(1 / (1 + np.exp(-22 * np.clip(warp_height - weft_height, -0.5, 0.5))))
    height = np.maximum(warp_height, weft_height)
    twist = _twist(warp, weft) * on_top + _twist(weft, warp) * (1 - on_top)
    fluff = fine_noise(rng, size_px, 0.8 * scale)
    light = _light(as_floats(height), scale) * (1 + 0.07 * twist + 0.075 * fluff)
    cloud = 1 + 0.02 * smooth_noise(rng, size_px, 120 * scale)
    bands = [
        light * cloud * (up * warp.dye * on_top + down * weft.dye * (1 - on_top))
        for up, down in zip(WARP_BGR, WEFT_BGR, strict=True)
    ]
    soft = cv2.GaussianBlur(as_floats(np.stack(bands, axis=-1)), (0, 0), max(0.3, 0.65 * scale))
    return as_bytes(soft)


def _twist(yarns: _Yarns, along: _Yarns) -> Floats:
    """The oblique lines of a spun yarn's fibres."""
    return as_floats(np.sin(2 * np.pi * (1.5 * yarns.offset + 2.2 * along.place)))


def _light(height: Floats, scale: float) -> Floats:
    """Light from the upper left on the relief, and less of it between the yarns."""
    soft = as_floats(cv2.GaussianBlur(height, (0, 0), max(0.3, 0.7 * scale)))
    slope_y, slope_x = np.gradient(soft)
    lit = 1 + (0.9 * slope_x + 1.3 * slope_y) * PITCH * scale * 0.16
    return as_floats(np.clip(lit, 0.6, 1.4) * np.clip(0.62 + 0.6 * soft, 0.35, 1.2))


class WovenFabric:
    """`woven_fabric`: (H, W, 3) uint8 BGR."""

    marks = marks.FABRIC
    faintest = 32.0

    def __init__(self, size_px: tuple[int, int], rng: np.random.Generator) -> None:
        self._size = size_px
        self._scale = scale_of(size_px)
        wide = (round(1.4 * size_px[0]), round(1.4 * size_px[1]))
        self._cloth = _cloth(rng, wide, self._scale)
        noise = rng.standard_normal((*wide, 3), dtype=np.float32)
        self._noise = standardised(as_floats(cv2.GaussianBlur(noise, (0, 0), 0.5)))
        self._surface: Bytes = np.full(size_px, 255, np.uint8)

    def good_part(self, rng: np.random.Generator) -> Scene:
        """One stretch of cloth; its lie, shear, light and sensor noise vary."""
        placement = self._lie(rng)
        cloth = warped_crop(rng, self._cloth, self._size, placement)
        lit = cv2.multiply(cloth, self._lamp(rng), dtype=cv2.CV_32F)
        noise = random_crop(rng, self._noise, self._size)
        image = cv2.scaleAdd(noise, rng.uniform(1.2, 2.0), lit)
        return Scene(as_bytes(image), self._surface, placement)

    def _lie(self, rng: np.random.Generator) -> Affine:
        placement = placement_of(rng, self._size, 2.5, 0)
        shear, stretch = rng.uniform(-0.03, 0.03), rng.uniform(0.985, 1.015)
        warping = np.array([[stretch, shear], [0.0, stretch]])
        linear = placement[:, :2] @ warping
        centre = np.array([self._size[1] / 2, self._size[0] / 2])
        return np.column_stack([linear, centre - linear @ centre])

    def _lamp(self, rng: np.random.Generator) -> Floats:
        """(H, W, 3) float32 factor: level, gradient, vignette, soft folds and a hint of colour."""
        y, x = np.mgrid[-1:1:20j, -1:1:20j].astype(np.float32)
        light = rng.uniform(0.82, 1.02) * (
            1 + rng.uniform(-0.1, 0.1) * x + rng.uniform(-0.1, 0.1) * y
        )
        light -= 0.05 * (x**2 + y**2)
        folds = cv2.resize(
            rng.normal(0, 0.02, (5, 4)).astype(np.float32), (20, 20), interpolation=2
        )
        tone = 1 + rng.normal(0, 0.008, 3)
        return upsampled(as_floats((light + folds)[..., None] * tone), self._size)

    def site(self, rng: np.random.Generator, scene: Scene, maker: MarkMaker) -> Site:
        """Anywhere at least 24 design px from the picture's border, at any heading."""
        edge = 24 * self._scale
        y, x = (float(rng.uniform(edge, side - edge)) for side in self._size)
        heading = float(rng.uniform(-np.pi, np.pi))
        return Site(x, y, heading, turn_of(scene.placement), PITCH * self._scale)
