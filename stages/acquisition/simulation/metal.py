"""A milled and brushed steel plate with bores on a dark conveyor belt, seen by a grey camera."""

from __future__ import annotations

import cv2
import numpy as np

from stages.acquisition.simulation import marks
from stages.acquisition.simulation.fields import (
    brushing,
    fine_noise,
    placement_of,
    random_crop,
    smooth_noise,
    upsampled,
    warped_crop,
)
from stages.acquisition.simulation.scene import (
    LAMP,
    Bytes,
    Floats,
    MarkMaker,
    Scene,
    Site,
    as_bytes,
    as_floats,
    moved,
    scale_of,
    turn_of,
)
from stages.acquisition.simulation.shapes import disc, drawing_grid, reduced, relief_slope, step

HALF_WIDTH, HALF_HEIGHT, CORNER = 200.0, 152.0, 30.0
BORE, COUNTERBORE = 50.0, 82.0
SCREW_HOLE, COUNTERSINK = 15.0, 25.0
SCREWS = [(x, y) for x in (-158.0, 158.0) for y in (-110.0, 110.0)]


def _box(x: Floats, y: Floats) -> Floats:
    """Signed distance to the plate's outline in design px, negative on the plate."""
    dx, dy = np.abs(x) - (HALF_WIDTH - CORNER), np.abs(y) - (HALF_HEIGHT - CORNER)
    outside = np.hypot(np.maximum(dx, 0), np.maximum(dy, 0))
    return as_floats(outside + np.minimum(np.maximum(dx, dy), 0) - CORNER)


class _Drawing:
    """The plate as four static layers, drawn from signed distances at twice the resolution."""

    def __init__(self, size_px: tuple[int, int], rng: np.random.Generator) -> None:
        self.x, self.y, self.scale = drawing_grid(size_px)
        self.outline = _box(self.x, self.y)
        self.centre = disc(self.x, self.y, (0, 0), 0)
        self.holes = [((0.0, 0.0), BORE), *((screw, SCREW_HOLE) for screw in SCREWS)]
        self.layers = self._layers(rng, size_px)

    def _layers(self, rng: np.random.Generator, size_px: tuple[int, int]) -> Bytes:
        """(H, W, 4) uint8: coverage, shade / 2, weight of the brushing, light on the belt."""
        face = as_floats(step(self.outline) * np.prod([self._solid(*h) for h in self.holes], 0))
        turned = as_floats(step(self.centre - COUNTERBORE) * (1 - step(self.centre - BORE - 2)))
        shade = self._relief() * self._turning(rng, turned) * self._walls() * self._lettering()
        brushed = (1 - turned) * step(self.outline + 4, 1.0)
        for screw in SCREWS:
            brushed = brushed * (1 - step(disc(self.x, self.y, screw, COUNTERSINK)))
        stack = np.stack([face, shade / 2, brushed, self._belt_light()], axis=-1)
        return as_bytes(reduced(as_floats(stack), size_px) * 255)

    def _solid(self, centre: tuple[float, float], radius: float) -> Floats:
        """0 where the eye sees through the hole: its lower edge is shifted by the perspective."""
        lower = (centre[0] + 1.6, centre[1] + 2.2)
        return as_floats(1 - step(disc(self.x, self.y, lower, radius - 1.2)))

    def _relief(self) -> Floats:
        """Light on chamfers and countersinks: the slope of the surface against the lamp."""
        depth = np.clip(4.5 + self.outline, 0, 4.5)
        depth += 0.7 * np.clip(COUNTERBORE + 2.5 - self.centre, 0, 5)
        depth += np.clip(BORE + 3 - self.centre, 0, 6)
        for screw in SCREWS:
            depth += 0.8 * np.clip(-disc(self.x, self.y, screw, COUNTERSINK), 0, 12)
        slope_x, slope_y = relief_slope(as_floats(-depth), self.scale)
        lit = 1 - 0.62 * (LAMP[0] * slope_x + LAMP[1] * slope_y)
        steep = np.hypot(slope_x, slope_y)
        return as_floats(np.clip(lit - 0.12 * steep, 0.25, 1.75))

    def _turning(self, rng: np.random.Generator, turned: Floats) -> Floats:
        """Concentric lathe marks of the counterbore and the two bright fans that they cause."""
        radius = np.clip(self.centre, 0, COUNTERBORE)
        rings = np.interp(radius, np.linspace(0, COUNTERBORE, 220), rng.standard_normal(220) * 0.05)
        angle = np.arctan2(self.y, self.x)
        fans = 0.34 * np.abs(np.cos(angle - 0.62)) ** 5 - 0.16
        return as_floats(1 + turned * (rings + fans))

    def _walls(self) -> Floats:
        """The part of a hole's wall that the camera sees is dark."""
        shade = np.ones_like(self.x)
        for centre, radius in self.holes:
            shade *= 1 - 0.72 * step(disc(self.x, self.y, centre, radius - 0.3), 1.0)
        return as_floats(shade)

    def _lettering(self) -> Floats:
        """A laser-marked part number: dull and dark."""
        canvas = np.zeros(self.x.shape, np.uint8)
        origin = self._pixel(-62, 128)
        thick = max(1, round(1.9 * self.scale))
        font = cv2.FONT_HERSHEY_SIMPLEX
        cv2.putText(canvas, "KX 40-217", origin, font, 0.72 * self.scale, 255, thick, cv2.LINE_AA)
        soft = cv2.GaussianBlur(canvas, (0, 0), 0.5 * self.scale)
        return as_floats(1 - 0.42 * as_floats(soft) / 255)

    def _belt_light(self) -> Floats:
        """The plate's shadow: deep in the holes, soft around the plate and away from the lamp."""
        cast = _box(self.x + 7 * LAMP[0], self.y + 7 * LAMP[1])
        shadow = 0.62 * np.exp(-np.maximum(cast, 0) / 9) + 0.2 * np.exp(
            -np.maximum(self.outline, 0) / 45
        )
        return as_floats(np.where(self.outline < -8, 0.22, 1 - np.minimum(shadow, 0.8)))

    def _pixel(self, x: float, y: float) -> tuple[int, int]:
        height, width = self.x.shape
        return round(width / 2 + x * self.scale), round(height / 2 + y * self.scale)


class BrushedMetal:
    """`brushed_metal`: (H, W) uint8 grey."""

    marks = marks.METAL
    faintest = 17.0

    def __init__(self, size_px: tuple[int, int], rng: np.random.Generator) -> None:
        self._size = size_px
        self._scale = scale_of(size_px)
        wide = (round(1.5 * size_px[0]), round(1.5 * size_px[1]))
        self._layers = _Drawing(size_px, rng).layers
        self._brushing = as_floats(brushing(rng, wide, self._scale))
        self._noise = fine_noise(rng, wide, 0.45)
        self._belt = self._belt_field(rng, wide)

    def _belt_field(self, rng: np.random.Generator, wide: tuple[int, int]) -> Floats:
        """A rubber belt with a fabric imprint, in grey levels."""
        y, x = np.mgrid[0 : wide[0], 0 : wide[1]].astype(np.float32) / self._scale
        imprint = np.sin(x * 0.9 + 0.6 * np.sin(y * 0.45)) * np.sin(y * 0.9)
        rough = fine_noise(rng, wide, 1.1 * self._scale)
        worn = smooth_noise(rng, wide, 60 * self._scale)
        return as_floats(np.clip(38 + 2.2 * imprint + 3.6 * rough + 2.5 * worn, 8, 80))

    def good_part(self, rng: np.random.Generator) -> Scene:
        """One plate; its lamp, place, brushing and sensor noise vary."""
        placement = placement_of(rng, self._size, 2.0, 5 * self._scale)
        size = self._size
        layers = cv2.warpAffine(
            self._layers, placement, size[::-1], borderMode=cv2.BORDER_REPLICATE
        )
        surface, shade, brushed, belt_light = cv2.split(layers)
        lines = warped_crop(rng, self._brushing, size, placement)
        depth = rng.uniform(0.026, 0.042)
        metal = cv2.multiply(lines, brushed, scale=depth / 255, dtype=cv2.CV_32F)
        metal = cv2.multiply(as_floats(metal + 1), shade, scale=2 / 255, dtype=cv2.CV_32F)
        metal = cv2.multiply(metal, self._lamp(rng))
        belt = random_crop(rng, self._belt, size)
        daylight = rng.uniform(0.85, 1.15)
        belt = as_floats(cv2.multiply(belt, belt_light, scale=daylight / 255, dtype=cv2.CV_32F))
        part = cv2.multiply(cv2.subtract(metal, belt), surface, scale=1 / 255, dtype=cv2.CV_32F)
        image = as_floats(cv2.add(part, belt))
        grain = cv2.multiply(random_crop(rng, self._noise, size), image + 120)
        noisy = cv2.scaleAdd(grain, rng.uniform(0.006, 0.009), image)
        return Scene(as_bytes(noisy), np.asarray(surface, np.uint8), placement)

    def _lamp(self, rng: np.random.Generator) -> Floats:
        """(H, W) float32 grey level of bare steel: level, gradient, and the highlight's band."""
        y, x = np.mgrid[-1:1:24j, -1:1:24j].astype(np.float32)
        band = x + rng.uniform(-0.25, 0.25) * y - rng.uniform(-0.45, 0.25)
        glow = rng.uniform(0.26, 0.42) * np.exp(-((band / rng.uniform(0.35, 0.55)) ** 2))
        slope = rng.uniform(-0.07, 0.07) * x + rng.uniform(-0.08, 0.04) * y
        blotch = cv2.resize(rng.normal(0, 0.012, (5, 5)).astype(np.float32), (24, 24))
        level = 126 * rng.uniform(0.9, 1.1)
        return upsampled(as_floats(level * (0.92 + glow + slope + blotch)), self._size)

    def site(self, rng: np.random.Generator, scene: Scene, maker: MarkMaker) -> Site:
        """Anywhere on the face away from bores and edges, or on the outline or a bore's rim."""
        x, y, heading = _rim_point(rng) if maker.on_rim else _face_point(rng)
        height, width = self._size
        centre = (width / 2 + x * self._scale, height / 2 + y * self._scale)
        turn = turn_of(scene.placement)
        return Site(*moved(scene.placement, centre), heading + turn, turn, behind=29.0)


def _face_point(rng: np.random.Generator) -> tuple[float, float, float]:
    """A point at least 14 design px from every edge of the plate, and any heading."""
    while True:
        x, y = rng.uniform(-HALF_WIDTH, HALF_WIDTH), rng.uniform(-HALF_HEIGHT, HALF_HEIGHT)
        point = as_floats([x]), as_floats([y])
        free = [_box(*point).item() < -14, disc(*point, (0, 0), BORE).item() > 12]
        free += [disc(*point, screw, COUNTERSINK).item() > 6 for screw in SCREWS]
        if all(free):
            return float(x), float(y), float(rng.uniform(-np.pi, np.pi))


def _rim_point(rng: np.random.Generator) -> tuple[float, float, float]:
    """A point on a straight edge of the plate, and the heading into the metal."""
    along = rng.uniform(-1, 1)
    side = int(rng.integers(4))
    if side < 2:
        sign = 1 if side == 0 else -1
        x, y = along * (HALF_WIDTH - CORNER), sign * HALF_HEIGHT
        return float(x), float(y), -sign * np.pi / 2
    sign = 1 if side == 2 else -1
    return sign * HALF_WIDTH, float(along * (HALF_HEIGHT - CORNER)), np.pi if sign > 0 else 0.0
