"""An injection-moulded polypropylene closure from above, on a grey belt, in colour.

A part is drawn in fixed point: 16 bits a pixel, which OpenCV multiplies in a third of the time of
32, and which leave the processor's cache to the networks beside it.
"""

from __future__ import annotations

import cv2
import numpy as np
from cv2.typing import MatLike

from stages.acquisition.simulation import marks
from stages.acquisition.simulation.fields import (
    fine_noise,
    placement_of,
    random_crop,
    smooth_noise,
)
from stages.acquisition.simulation.scene import (
    Bytes,
    Floats,
    MarkMaker,
    Scene,
    Site,
    Words,
    as_bytes,
    as_floats,
    as_words,
    moved,
    scale_of,
    turn_of,
)
from stages.acquisition.simulation.shapes import disc, drawing_grid, reduced, relief_slope, step

RADIUS, SHOULDER, PANEL, RING = 196.0, 172.0, 138.0, 92.0
KNURLS = 90
FULL_SLOPE = 1.6
"""The steepest slope that the layers of bytes can hold."""
PIGMENT_BGR = (74.0, 118.0, 208.0)
BELT_BGR = (112.0, 110.0, 106.0)
ONE = 1 << 14
"""1 as a factor in fixed point, at most 4."""
LEVEL = 1 << 7
"""One grey level in fixed point, at most 512: there may be more light than the sensor can show."""
NO_NOISE = 1 << 15
"""What stands for 0 in the sensor's noise, whose unit is LEVEL."""
_SHARES = np.arange(256) / 255


class _Drawing:
    """The closure's coverage, slopes and shadow, from its height over the belt."""

    def __init__(self, size_px: tuple[int, int]) -> None:
        self.x, self.y, self.scale = drawing_grid(size_px)
        self.radius = np.hypot(self.x, self.y)
        slope_x, slope_y = relief_slope(self._height(), self.scale)
        slopes = [0.5 + slope / (2 * FULL_SLOPE) for slope in (slope_x, slope_y)]
        stack = np.stack([step(self._outline()), *slopes, self._daylight()], axis=-1)
        self.layers: Bytes = as_bytes(reduced(as_floats(stack), size_px) * 255)
        """(H, W, 4) uint8: coverage, slope in x and in y around 128, light on belt and part."""

    def _outline(self) -> Floats:
        """Signed distance to the outline, which the knurls make wavy."""
        teeth = np.cos(KNURLS * np.arctan2(self.y, self.x))
        return as_floats(self.radius - RADIUS - 1.1 * teeth)

    def _height(self) -> Floats:
        """A rounded shoulder with knurls, a sunken panel, a ring, lettering and the gate's mark."""
        fall = np.clip((self.radius - SHOULDER) / (RADIUS - SHOULDER), 0, 1)
        height = 22 * np.sqrt(np.maximum(1 - fall**2, 0.02))
        teeth = np.cos(KNURLS * np.arctan2(self.y, self.x))
        height += 1.5 * teeth * np.clip((self.radius - SHOULDER + 4) / 14, 0, 1)
        height -= 4.5 * step(as_floats(self.radius - PANEL), 3.5)
        height += 2.2 * np.exp(-(((self.radius - RING) / 2.6) ** 2))
        height += 1.6 * np.exp(-((self.radius / 5.5) ** 4)) - 1.4 * np.exp(
            -((self.radius / 14) ** 8)
        )
        return as_floats(height + 2.0 * self._lettering())

    def _lettering(self) -> Floats:
        """Raised letters above and below the middle, as a mould leaves them."""
        canvas = np.zeros(self.x.shape, np.uint8)
        middle = (self.x.shape[1] / 2, self.x.shape[0] / 2)
        thick = max(1, round(3 * self.scale))
        for text, size, y in (("OPEN", 0.95, -40.0), ("PP 05", 0.62, 60.0)):
            font, height = cv2.FONT_HERSHEY_SIMPLEX, size * self.scale
            box, _ = cv2.getTextSize(text, font, height, thick)
            origin = (round(middle[0] - box[0] / 2), round(middle[1] + y * self.scale))
            cv2.putText(canvas, text, origin, font, height, 255, thick, cv2.LINE_AA)
        return as_floats(cv2.GaussianBlur(canvas, (0, 0), 0.7 * self.scale)) / np.float32(255)

    def _daylight(self) -> Floats:
        """The closure's shadow on the belt, and less light in the corners of its relief."""
        cast = disc(self.x, self.y, (9, 12), RADIUS)
        near = np.maximum(self.radius - RADIUS, 0)
        belt = 1 - 0.5 * np.exp(-np.maximum(cast, 0) / 12) - 0.22 * np.exp(-near / 30)
        corner = 0.16 * np.exp(-(((self.radius - PANEL + 3) / 4) ** 2))
        corner += 0.35 * np.clip((self.radius - SHOULDER) / (RADIUS - SHOULDER), 0, 1) ** 2
        return as_floats(np.where(self.radius > RADIUS, belt, 1 - corner))


def _times(field: MatLike, factor: MatLike) -> MatLike:
    """The product of two in fixed point, one of them in ONE, in the other's unit."""
    return cv2.multiply(field, factor, scale=1 / ONE)


class MouldedCap:
    """`moulded_cap`: (H, W, 3) uint8 BGR."""

    marks = marks.PLASTIC
    faintest = 19.0

    def __init__(self, size_px: tuple[int, int], rng: np.random.Generator) -> None:
        self._size = size_px
        self._scale = scale_of(size_px)
        wide = (round(1.4 * size_px[0]), round(1.4 * size_px[1]))
        self._layers = _Drawing(size_px).layers
        grain = fine_noise(rng, wide, 0.9 * self._scale)
        flow = smooth_noise(rng, wide, 70 * self._scale)
        self._skin = as_words(ONE * (1 + 0.012 * grain + 0.012 * flow))
        self._belt = as_words(ONE * self._belt_field(rng, wide))
        self._noise = as_words(NO_NOISE + LEVEL * fine_noise(rng, wide, 0.5))

    def _belt_field(self, rng: np.random.Generator, wide: tuple[int, int]) -> Floats:
        """The brightness of a matt belt with a fine imprint, around 1."""
        y, x = np.mgrid[0 : wide[0], 0 : wide[1]].astype(np.float32) / self._scale
        imprint = np.sin(0.8 * (x + y)) * np.sin(0.8 * (x - y))
        rough = fine_noise(rng, wide, 1.2 * self._scale)
        worn = smooth_noise(rng, wide, 90 * self._scale)
        return as_floats(1 + 0.035 * imprint + 0.045 * rough + 0.03 * worn)

    def good_part(self, rng: np.random.Generator) -> Scene:
        """One closure; its lamp, place, turn, pigment and sensor noise vary."""
        size = self._size
        placement = placement_of(rng, size, 6.0, 6 * self._scale)
        layers = cv2.warpAffine(
            self._layers, placement, size[::-1], borderMode=cv2.BORDER_REPLICATE
        )
        surface, slope_x, slope_y, daylight = cv2.split(layers)
        matt, gloss = self._light(rng, slope_x, slope_y)
        lamp = _times(self._lamp(rng), cv2.LUT(daylight, as_words(ONE * _SHARES)))
        cover = _times(lamp, cv2.LUT(surface, as_words(ONE * _SHARES)))
        ground = _times(random_crop(rng, self._belt, size), cv2.subtract(lamp, cover))
        skin = random_crop(rng, self._skin, size)
        coloured = _times(_times(skin, matt), cover)
        shine = _times(gloss, cover)
        pigment = np.array(PIGMENT_BGR) * rng.uniform(0.96, 1.04) + rng.normal(0, 1.5, 3)
        levels = LEVEL / ONE
        bands = [
            cv2.add(shine, cv2.addWeighted(coloured, own * levels, ground, below * levels, 0.0))
            for own, below in zip(pigment.tolist(), BELT_BGR, strict=True)
        ]
        image = np.asarray(cv2.merge(self._noisy(rng, bands)), np.uint8)
        return Scene(image, np.asarray(surface, np.uint8), placement)

    def _noisy(self, rng: np.random.Generator, bands: list[MatLike]) -> list[MatLike]:
        """Each band, in LEVEL, with its own sensor noise, as uint8."""
        sigma = rng.uniform(1.2, 1.9)
        grain = [random_crop(rng, self._noise, self._size) for _ in bands]
        noisy = [
            cv2.addWeighted(band, 1.0, own, sigma, -sigma * NO_NOISE)
            for band, own in zip(bands, grain, strict=True)
        ]
        return [cv2.convertScaleAbs(band, alpha=1 / LEVEL) for band in noisy]

    def _light(
        self, rng: np.random.Generator, slope_x: MatLike, slope_y: MatLike
    ) -> tuple[MatLike, MatLike]:
        """Matt light in ONE and gloss in LEVEL, for a lamp at the upper left."""
        azimuth = np.deg2rad(rng.uniform(222, 248))
        toward = float(np.cos(azimuth)), float(np.sin(azimuth))
        # `facing` is the surface's turn to the lamp in the slopes' unit, 127.5 where it is level.
        level = 127.5 * (1 + sum(toward))
        facing = cv2.addWeighted(slope_x, -toward[0], slope_y, -toward[1], level)
        slopes = (np.arange(256, dtype=np.float32) - 127.5) * (2 * FULL_SLOPE / 255)
        matt = as_words(ONE * np.clip(0.86 + 0.42 * slopes, 0.3, 1.5))
        gloss = as_words(LEVEL * 62 * np.exp(-(((slopes - 0.72) * 3) ** 2)))
        return cv2.LUT(facing, matt), cv2.LUT(facing, gloss)

    def _lamp(self, rng: np.random.Generator) -> Words:
        """(H, W) factor around 1, in ONE: level, gradient and vignette."""
        y, x = (np.linspace(-1.06, 1.06, side) for side in self._size)
        across = 0.5 + rng.uniform(-0.08, 0.08) * x - 0.05 * x**2
        down = 0.54 + rng.uniform(-0.08, 0.05) * y - 0.05 * y**2
        level = ONE * rng.uniform(0.9, 1.08)
        return np.add.outer(as_words(level * down), as_words(level * across))

    def site(self, rng: np.random.Generator, scene: Scene, maker: MarkMaker) -> Site:
        """Anywhere on the top, or on the rim with its heading to the middle."""
        angle = rng.uniform(-np.pi, np.pi)
        reach = RADIUS - 2 if maker.on_rim else (SHOULDER - 12) * np.sqrt(rng.random())
        x, y = reach * np.cos(angle) * self._scale, reach * np.sin(angle) * self._scale
        centre = (self._size[1] / 2 + x, self._size[0] / 2 + y)
        turn = turn_of(scene.placement)
        heading = angle + np.pi + turn if maker.on_rim else rng.uniform(-np.pi, np.pi)
        return Site(
            *moved(scene.placement, centre), float(heading), rng.uniform(0, np.pi), behind=70.0
        )
