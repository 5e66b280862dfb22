"""Puts defects of drawn size and contrast on good parts, never an invisible one."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from stages.acquisition.simulation.scene import (
    Bools,
    Bytes,
    Floats,
    Mark,
    Product,
    Scene,
    Site,
    as_bytes,
    as_floats,
    scale_of,
)

DEFECT_KINDS: tuple[str, ...] = ("scratch", "dent", "stain", "pits", "crack", "material")
"""Thin line, shading pair, soft blob, small holes, branching line, missing or foreign material."""

NOTICEABLE = 5
"""A pixel belongs to a defect's mask if it differs by at least this many grey levels."""
LEAST_CONTRAST = 10.0
"""Mean absolute difference within the mask, in grey levels, below which a defect is redrawn."""
LEAST_AREA_DESIGN_PX = 30
PLAINEST = 85.0
"""Upper end of the contrast that is drawn, in grey levels over a mark's core."""
ATTEMPTS = 60
TOLERATED = 0.35
"""What is tolerated has so much of the contrast that a defect of its kind and size would have."""


def least_area_px(size_px: tuple[int, int]) -> int:
    """The fewest pixels of a mask: 30 at 512x512, in proportion at other sizes."""
    return max(8, round(LEAST_AREA_DESIGN_PX * scale_of(size_px) ** 2))


def difference(image: Bytes, good: Bytes) -> Floats:
    """(H, W) float32: the largest absolute difference over the channels, in grey levels."""
    apart = cv2.absdiff(image, good)
    return as_floats(apart.max(axis=2) if apart.ndim == 3 else apart)


@dataclass(frozen=True)
class Blemished:
    """`image` like the good part's; `mask` (H, W) bool, the pixels that changed noticeably."""

    image: Bytes
    mask: Bools


def with_defect(product: Product, scene: Scene, kind: str, rng: np.random.Generator) -> Blemished:
    """The part with one defect of this kind; redrawn, larger and plainer, until it is visible."""
    makers = product.marks[kind]
    size, contrast = rng.beta(1.1, 1.6), rng.beta(1.1, 1.5)
    scale = scale_of((scene.image.shape[0], scene.image.shape[1]))
    for _ in range(ATTEMPTS):
        maker = makers[int(rng.integers(len(makers)))]
        site = product.site(rng, scene, maker)
        mark = maker.draw(rng, site, size, scale)
        part = _painted(scene, mark, site, _levels(mark, contrast, product.faintest))
        if part is not None:
            return part
        size, contrast = min(1.0, size + 0.04), min(1.0, contrast + 0.06)
    raise AssertionError(f"no visible {kind} in {ATTEMPTS} attempts")


def with_tolerated_mark(
    product: Product, scene: Scene, kind: str, rng: np.random.Generator
) -> Scene:
    """The part with a mark that looks as this kind of defect does, too faint to be one."""
    plain = with_defect(product, scene, kind, rng).image
    faint = cv2.addWeighted(plain, TOLERATED, scene.image, 1.0 - TOLERATED, 0.0)
    return replace(scene, image=np.asarray(faint, np.uint8))


def _levels(mark: Mark, contrast: float, faintest: float) -> float:
    """Grey levels for a contrast in [0, 1]: geometric, within the mark's part of the range."""
    low, high = mark.contrast
    return float(faintest * (PLAINEST / faintest) ** (low + (high - low) * contrast))


def _painted(scene: Scene, mark: Mark, site: Site, levels: float) -> Blemished | None:
    """The part with the mark on it, or None if it would be too small or too faint."""
    size_px = (scene.surface.shape[0], scene.surface.shape[1])
    frame, patch = _overlap(size_px, site, mark.profile.shape[0])
    below = scene.image[frame].astype(np.float32)
    inside = scene.surface[frame].astype(np.float32) / 255
    core = np.abs(mark.profile)[np.abs(mark.profile) > 0.4 * np.abs(mark.profile).max()]
    change = mark.profile[patch] * (levels / core.mean()) * inside
    opacity = inside * (0 if mark.opacity is None else mark.opacity[patch])
    painted = _mixed(below, as_floats(change), as_floats(opacity), as_floats(inside), mark)
    apart = difference(painted, scene.image[frame])
    noticed = apart >= NOTICEABLE
    if noticed.sum() < least_area_px(size_px) or apart[noticed].mean() < LEAST_CONTRAST:
        return None
    image, mask = scene.image.copy(), np.zeros(size_px, np.bool_)
    image[frame][noticed], mask[frame] = painted[noticed], noticed
    return Blemished(image, mask)


def _mixed(below: Floats, change: Floats, opacity: Floats, inside: Floats, mark: Mark) -> Bytes:
    """The patch with its texture partly hidden and its brightness changed, as uint8."""
    mean = as_floats(np.average(below.reshape(inside.size, -1), 0, inside.ravel() + 1e-3))
    if below.ndim == 3:
        change, opacity = change[..., None] * as_floats(mark.tint), opacity[..., None]
    # A change of light or of reflectance is in proportion to what lies below; cover is not.
    relative = np.clip(below / mean, 0.35, 1.6)
    change = change * (opacity + (1 - opacity) * relative)
    cover = mean if mark.fill is None else mark.fill
    return as_bytes(below + opacity * (cover - below) + change)


def _overlap(
    size_px: tuple[int, int], site: Site, side: int
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """The slices of the frame and of the patch where the two overlap."""
    frame, patch = [], []
    for length, centre in zip(size_px, (site.y_px, site.x_px), strict=True):
        start = round(centre) - side // 2
        low, high = max(0, start), min(length, start + side)
        frame.append(slice(low, max(low, high)))
        patch.append(slice(low - start, max(low, high) - start))
    return (frame[0], frame[1]), (patch[0], patch[1])
