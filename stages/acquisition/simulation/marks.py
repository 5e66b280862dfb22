"""How each defect looks: small patches of brightness, drawn around a site.

A size in [0, 1] runs from the smallest to the largest defect of its kind; lengths are in design
px. The contrast is set afterwards, by `defects`.
"""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np

from stages.acquisition.simulation.fields import smooth_noise
from stages.acquisition.simulation.scene import LAMP, Floats, Mark, MarkMaker, Site, as_floats

FINE = 4
"""Strokes are drawn this much finer than the image."""
BROWN = (1.25, 1.0, 0.8)

Path = np.ndarray
"""(N, 2) float64 points x, y in px relative to the site."""


def _side_for(reach_px: float) -> int:
    """The odd side of a patch that reaches this far from its site."""
    return 2 * int(np.ceil(reach_px + 3)) + 1


def _grid(side: int) -> tuple[Floats, Floats]:
    """x and y of a patch's pixels relative to its site, in px."""
    axis = np.arange(side, dtype=np.float32) - side // 2
    x, y = np.meshgrid(axis, axis)
    return as_floats(x), as_floats(y)


def _ink(side: int, strokes: Iterable[tuple[Path, np.ndarray]]) -> Floats:
    """(side, side) float32 in [0, 1]: polylines, each with its width in px at every point."""
    canvas = np.zeros((side * FINE, side * FINE), np.uint8)
    for path, widths in strokes:
        fixed = np.rint(((path + side // 2 + 0.5) * FINE - 0.5) * 16).astype(int)
        for start, end, width in zip(fixed[:-1], fixed[1:], widths[:-1], strict=True):
            thick = max(1, round(float(width) * FINE))
            cv2.line(canvas, start.tolist(), end.tolist(), 255, thick, cv2.LINE_AA, 4)
    small = cv2.resize(canvas, (side, side), interpolation=cv2.INTER_AREA)
    return as_floats(as_floats(small) / 255)


def _reach(paths: Iterable[Path]) -> float:
    return max(float(np.abs(path).max()) for path in paths)


def _shifted(field: Floats, x_px: float, y_px: float) -> Floats:
    """The patch moved by a fraction of a pixel or more."""
    move = np.array([[1, 0, x_px], [0, 1, y_px]], np.float64)
    return as_floats(cv2.warpAffine(field, move, field.shape[::-1]))


def _blurred(field: Floats, sigma_px: float) -> Floats:
    return as_floats(cv2.GaussianBlur(field, (0, 0), sigma_px))


def _arc(length_px: float, heading_rad: float, bend_rad: float, points: int = 24) -> Path:
    """A path of this length that turns evenly by `bend_rad`, centred on the site."""
    headings = heading_rad + np.linspace(-0.5, 0.5, points) * bend_rad
    steps = np.stack([np.cos(headings), np.sin(headings)], axis=1) * length_px / points
    path: Path = np.cumsum(steps, axis=0)
    return np.asarray(path - path.mean(axis=0))


def _wander(
    rng: np.random.Generator,
    length_px: float,
    heading_rad: float,
    jitter_rad: float,
    step_px: float,
) -> Path:
    """A path from the site whose heading jumps at every step and is drawn back to its course."""
    count = max(4, round(length_px / step_px))
    headings = heading_rad + rng.normal(0, jitter_rad, count)
    steps = np.stack([np.cos(headings), np.sin(headings)], axis=1) * step_px
    return np.vstack([[0.0, 0.0], np.cumsum(steps, axis=0)])


def _sign(rng: np.random.Generator, bright_share: float) -> float:
    return 1.0 if rng.random() < bright_share else -1.0


def scratch(rng: np.random.Generator, site: Site, size: float, scale: float) -> Mark:
    """A thin line across the grain, straight or curved, with a lit and a shaded flank."""
    length = (38 + 190 * size) * scale
    off_grain = rng.uniform(0.3, 1.0) * np.pi / 2 * _sign(rng, 0.5)
    bend = rng.choice([0.0, 1.0]) * rng.normal(0, 0.8)
    path = _arc(length, site.grain_rad + off_grain, bend)
    width = (1.5 + 1.5 * size + rng.uniform(0, 0.6)) * scale + 0.12 * site.pitch_px
    widths = width * (0.55 + 0.45 * np.sin(np.linspace(0.25, np.pi - 0.25, len(path))))
    ink = _ink(_side_for(_reach([path])), [(path, widths)])
    flank = _shifted(ink, 1.3 * scale, 1.5 * scale) * (1 - ink)
    profile = _sign(rng, 0.7) * (ink - 0.45 * flank)
    return Mark(as_floats(profile), as_floats(0.4 * ink), contrast=(0.15, 1.0))


def dent(rng: np.random.Generator, site: Site, size: float, scale: float) -> Mark:
    """A shallow hollow: dark towards the lamp, bright on the far side, dull at the bottom."""
    radius = (8 + 20 * size) * scale + 0.6 * site.pitch_px
    long = rng.uniform(1.0, 1.7)
    x, y = _grid(_side_for(2.4 * radius * long))
    turn = rng.uniform(0, np.pi)
    u = (x * np.cos(turn) + y * np.sin(turn)) / (radius * long)
    v = (-x * np.sin(turn) + y * np.cos(turn)) / radius
    # The slope of a hollow with a flat bottom, along the lamp's direction.
    hollow = np.exp(-((u**2 + v**2) ** 1.4))
    slope_y, slope_x = np.gradient(as_floats(hollow) * radius)
    profile = LAMP[0] * -slope_x + LAMP[1] * -slope_y
    return Mark(as_floats(_sign(rng, 0.25) * profile - 0.12 * hollow), contrast=(0.1, 0.75))


def stain(rng: np.random.Generator, site: Site, size: float, scale: float) -> Mark:
    """A dried drop: an uneven blob with a soft edge that is darker than its middle."""
    radius = (9 + 30 * size) * scale
    side = _side_for(2.1 * radius)
    x, y = _grid(side)
    wobble = smooth_noise(rng, (side, side), 0.8 * radius)
    distance = np.hypot(x, y * rng.uniform(0.8, 1.35)) * (1 + 0.16 * wobble)
    soft = rng.uniform(0.10, 0.24) * radius
    inside = 1 / (1 + np.exp(np.clip((distance - radius) / soft, -30, 30)))
    rim = np.exp(-(((distance - radius + soft) / (0.16 * radius)) ** 2))
    mottle = 1 + 0.12 * smooth_noise(rng, (side, side), 0.3 * radius)
    profile = -(inside * mottle + rng.uniform(0, 0.6) * rim * inside)
    return Mark(as_floats(profile), tint=BROWN, contrast=(0.0, 0.65))


def pits(rng: np.random.Generator, site: Site, size: float, scale: float) -> Mark:
    """A cluster of small holes, dark, with a lit far rim."""
    spread = (7 + 20 * size) * scale
    count = int(rng.integers(4, 8) + 14 * size)
    side = _side_for(2.6 * spread)
    x, y = _grid(side)
    hole = np.zeros((side, side), np.float32)
    for _ in range(count):
        at = np.clip(rng.normal(0, 0.8 * spread, 2), -2 * spread, 2 * spread)
        radius = rng.uniform(1.4, 2.4 + 1.5 * size) * scale + 0.14 * site.pitch_px
        away = np.hypot(x - at[0], (y - at[1]) * rng.uniform(0.8, 1.25))
        hole = np.maximum(hole, np.clip(radius + 0.5 - away, 0, 1))
    rim = _shifted(as_floats(hole), 1.2 * scale, 1.5 * scale) * (1 - hole)
    return Mark(as_floats(0.35 * rim - hole), as_floats(0.7 * hole), contrast=(0.3, 1.0))


def crack(rng: np.random.Generator, site: Site, size: float, scale: float) -> Mark:
    """A dark jagged line that thins out and branches."""
    length = (42 + 110 * size) * scale
    trunk = _wander(rng, length, site.heading_rad, 0.5, 5 * scale)
    width = (1.5 + 1.3 * size) * scale + 0.14 * site.pitch_px
    strokes = [(trunk, np.linspace(width, 0.55 * width, len(trunk)))]
    for _ in range(int(rng.integers(1, 4))):
        start = trunk[int(rng.integers(len(trunk) // 4, max(3 * len(trunk) // 4, 2)))]
        course = site.heading_rad + rng.uniform(0.4, 1.0) * _sign(rng, 0.5)
        twig = start + _wander(rng, length * rng.uniform(0.2, 0.45), course, 0.5, 4 * scale)
        strokes.append((twig, np.linspace(0.75 * width, 0.4 * width, len(twig))))
    ink = _ink(_side_for(_reach([path for path, _ in strokes])), strokes)
    lit = _shifted(ink, 1.0 * scale, 1.2 * scale) * (1 - ink)
    return Mark(as_floats(0.22 * lit - ink), as_floats(0.5 * ink), contrast=(0.2, 1.0))


def chip(rng: np.random.Generator, site: Site, size: float, scale: float) -> Mark:
    """A piece broken out of the edge: the dark belt shows, behind a bright fracture."""
    radius = (9 + 17 * size) * scale
    side = _side_for(1.9 * radius)
    x, y = _grid(side)
    angle = np.arctan2(y, x)
    knots = rng.uniform(0.72, 1.15, 12)
    border = np.interp(angle, np.linspace(-np.pi, np.pi, 13), [*knots, knots[0]])
    distance = np.hypot(x, y) - border * radius
    gone = as_floats(np.clip(0.5 - distance / 1.4, 0, 1))
    width = rng.uniform(1.5, 3.0) * scale
    rough = 1 + 0.5 * smooth_noise(rng, (side, side), 3 * scale)
    fracture = np.exp(-(((distance - width) / width) ** 2)) * (1 - gone) * rough
    profile = as_floats(_sign(rng, 0.7) * fracture - 0.1 * gone)
    return Mark(profile, gone, fill=site.behind * rng.uniform(0.76, 1.24), contrast=(0.3, 0.7))


def swarf(rng: np.random.Generator, site: Site, size: float, scale: float) -> Mark:
    """A curled chip of metal that lies on the part, bright, with its shadow."""
    length = (45 + 90 * size) * scale
    path = _arc(length, rng.uniform(-np.pi, np.pi), rng.uniform(2.2, 5.5) * _sign(rng, 0.5), 40)
    path = path + 1.2 * scale * np.sin(np.linspace(0, rng.uniform(4, 14), len(path)))[:, None]
    widths = (2.0 + 1.6 * size) * scale * (0.8 + 0.3 * rng.random(len(path)))
    ink = _ink(_side_for(_reach([path]) + 6 * scale), [(path, widths)])
    shadow = _blurred(_shifted(ink, 3 * scale, 3.5 * scale), 1.4 * scale) * (1 - ink)
    return Mark(as_floats(ink - 0.75 * shadow), as_floats(0.8 * ink), contrast=(0.45, 1.0))


def fibre(rng: np.random.Generator, site: Site, size: float, scale: float) -> Mark:
    """A dark fibre of another material that lies on the part."""
    length = (55 + 120 * size) * scale
    along = np.linspace(0, 1, 40)
    waves = rng.uniform(0.4, 1.3, 2) * np.sin(
        rng.uniform(2, 9, 2) * along[:, None] + rng.uniform(0, 6, 2)
    )
    headings = rng.uniform(-np.pi, np.pi) + waves.sum(axis=1)
    path = np.cumsum(np.stack([np.cos(headings), np.sin(headings)], 1) * length / 40, axis=0)
    path -= path.mean(axis=0)
    widths = np.full(len(path), (1.8 + 1.0 * size) * scale)
    ink = _ink(_side_for(_reach([path]) + 5 * scale), [(path, widths)])
    shadow = _blurred(_shifted(ink, 2 * scale, 2.4 * scale), 1.2 * scale) * (1 - ink)
    return Mark(as_floats(-ink - 0.25 * shadow), as_floats(0.8 * ink), contrast=(0.3, 1.0))


def missing_yarn(rng: np.random.Generator, site: Site, size: float, scale: float) -> Mark:
    """A yarn that is not there for some length: a dark gap along the weave."""
    length = (40 + 150 * size) * scale
    path = _arc(length, site.grain_rad + rng.choice([0.0, np.pi / 2]), 0.0)
    widths = rng.uniform(0.65, 1.05, len(path)) * site.pitch_px
    gap = _blurred(_ink(_side_for(_reach([path])), [(path, widths)]), 0.12 * site.pitch_px)
    flank = _blurred(gap, 0.55 * site.pitch_px) * (1 - gap)
    return Mark(as_floats(0.3 * flank - gap), contrast=(0.25, 1.0))


def knot(rng: np.random.Generator, site: Site, size: float, scale: float) -> Mark:
    """A knot or a slub: a swollen piece of yarn, lit from above, with a shadow below."""
    length = (1.6 + 3.0 * size) * site.pitch_px
    width = (0.75 + 0.55 * size) * site.pitch_px
    side = _side_for(2.4 * length)
    x, y = _grid(side)
    turn = site.grain_rad + rng.choice([0.0, np.pi / 2]) + rng.normal(0, 0.1)
    u, v = x * np.cos(turn) + y * np.sin(turn), -x * np.sin(turn) + y * np.cos(turn)
    body = np.exp(-(np.abs(u / length) ** 2.5 + np.abs(v / width) ** 2.5))
    twist = 1 + 0.08 * np.sin((u + 0.7 * v) * 2 * np.pi / (0.6 * site.pitch_px))
    twist = twist + 0.2 * smooth_noise(rng, (side, side), 0.22 * site.pitch_px)
    shadow = _shifted(as_floats(body), 0.3 * site.pitch_px, 0.45 * site.pitch_px) * (1 - body)
    profile = as_floats(body * twist - 0.8 * shadow)
    return Mark(profile, as_floats(np.clip(1.4 * body, 0, 0.9)), contrast=(0.25, 0.9))


_EVERYWHERE = {
    "scratch": (MarkMaker(scratch),),
    "dent": (MarkMaker(dent),),
    "stain": (MarkMaker(stain),),
    "pits": (MarkMaker(pits),),
}

METAL: dict[str, tuple[MarkMaker, ...]] = {
    **_EVERYWHERE,
    "crack": (MarkMaker(crack), MarkMaker(crack, on_rim=True)),
    "material": (MarkMaker(chip, on_rim=True), MarkMaker(swarf), MarkMaker(fibre)),
}

FABRIC: dict[str, tuple[MarkMaker, ...]] = {
    **_EVERYWHERE,
    "crack": (MarkMaker(crack),),
    "material": (MarkMaker(missing_yarn), MarkMaker(knot)),
}

PLASTIC: dict[str, tuple[MarkMaker, ...]] = {
    **_EVERYWHERE,
    "crack": (MarkMaker(crack), MarkMaker(crack, on_rim=True)),
    "material": (MarkMaker(chip, on_rim=True), MarkMaker(fibre)),
}
