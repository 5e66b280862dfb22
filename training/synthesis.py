"""Synthetic anomalies, DiffusionAD (12): S = beta (M*N) + (1 - beta)(M*A) + (1 - M)*N.

Beyond the papers' Perlin masks the kinds follow what goes wrong on real parts, most of it small
and faint: lines, cracks, specks, stains, uneven brightness, dents, warps, and pieces that are
foreign, missing or there twice. beta follows from a contrast drawn in grey levels, so that faint
defects are as frequent as plain ones; none is fainter than what its surroundings do by themselves,
for that would be a lie to the networks. Images are (H, W, C) float32 in whole grey levels [0, 255].
A defect is painted in the box that its region needs; most are small, and painting must cost little
of a training step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

import cv2
import numpy as np
import torch

from training import appearances, shapes, textures
from training.anchors import Anchored, anywhere, at_detail, at_edge
from training.appearances import (
    Appearance,
    Place,
    displaced,
    flat,
    grainy,
    shaded,
    shifted,
    shuffled,
    turned,
    worn,
)
from training.foreground import colour_distance
from training.optics import through_optics
from training.pieces import background_shown, duplicated, smoothed_over
from training.salience import natural_contrast
from training.shapes import Box

VISIBLE_LEVELS = 4.0
"""A pixel belongs to the mask only where S and N differ by this many grey levels or, less, lie
within a neighbourhood that does on average."""

MINIMUM_MASK_PX = 5
STROKES_ON_WHOLE = 4
SEVERAL_SHARE = 0.75
"""Most whole images get several paintings of the kinds that crops get, most of them small; the
others those that need the whole image in view, and of which no crop must be cut: inside a large
region nothing tells what is wrong."""

STRONGEST_LEVELS = 110.0
MOST_OF_STRONGEST = 0.7
EVEN = (shifted, flat)
"""Appearances that change a region alike everywhere."""
FAINTEST_NATURAL = 2.0
"""Such a region differs by so many times the contrast that the surface around has by itself, seen
through the same shape."""
ATTEMPTS = 6
MARGIN_PX = 8
"""Around what is painted, for the flanks of a dent and the neighbours of a pixel."""


class AnomalyKind(StrEnum):
    """The kinds of synthetic anomalies; a training may switch each off."""

    PERLIN = "perlin"
    SCRATCH = "scratch"
    CRACK = "crack"
    SPECK = "speck"
    BLOB = "blob"
    STAIN = "stain"
    DRIFT = "drift"
    WARP = "warp"
    DENT = "dent"
    TRANSPLANT = "transplant"
    WEAR = "wear"
    CHIP = "chip"
    STEP = "step"
    DUPLICATE = "duplicate"
    MISSING = "missing"


@dataclass(frozen=True)
class Batch:
    """`images` S and `normals` N (B, C, H, W) float32 in [-1, 1], `masks` (B, 1, H, W) and
    `labels` y (B,) 0/1. `may_be_cut`: (B,) whether a crop of the image tells what the mask says.
    """

    images: torch.Tensor
    normals: torch.Tensor
    masks: torch.Tensor
    labels: torch.Tensor
    may_be_cut: tuple[bool, ...] = ()


@dataclass(frozen=True)
class _Recipe:
    """How a kind is painted: at least with `faintest_levels`, and what does not change its region
    alike with `faintest_spread` times the standard deviation of its surroundings. The shares are
    relative.
    """

    shape: shapes.Shape
    appearances: tuple[Appearance, ...]
    faintest_levels: float
    faintest_spread: float
    share_of_crops: float
    share_of_whole: float
    anchors: tuple[Anchored, ...] = (anywhere,)


class Synthesizer:
    """Paints anomalies of the chosen kinds; all randomness comes from the caller's generator."""

    def __init__(
        self,
        kinds: tuple[AnomalyKind, ...] = tuple(AnomalyKind),
        bank: np.ndarray | None = None,
        optics_share: float = 0.0,
    ) -> None:
        assert kinds, "at least one kind of anomaly"
        self._kinds, self._optics_share = kinds, optics_share
        self._recipes = _recipes(bank)

    def batch(
        self,
        normals: np.ndarray,
        foregrounds: np.ndarray,
        rng: np.random.Generator,
        whole: bool,
        painted: int | None = None,
    ) -> Batch:
        """Paint the last `painted` of `normals` (B, H, W, C) uint8; the others stay normal.

        By default that is half of them, and a single image in every second batch.
        `foregrounds`: (B, H, W) float32 in [0, 1], where there is a part to be damaged. A share of
        the images goes `through_optics` afterwards.
        """
        clean = normals.astype(np.float32)
        images = clean.copy()
        if painted is None:
            painted = len(images) // 2 if len(images) > 1 else int(rng.integers(2))
        may_be_cut = [True] * len(images)
        for i in range(len(images) - painted, len(images)):
            several = whole and rng.random() < SEVERAL_SHARE
            may_be_cut[i] = several or not whole
            for _ in range(STROKES_ON_WHOLE if several else 1):
                self._paint_onto(images[i], foregrounds[i], rng, whole and not several)
        masks = np.zeros(images.shape[:3], np.float32)
        for i in range(len(images) - painted, len(images)):
            masks[i] = visible_change(images[i], clean[i])
        for i in range(len(images)):
            if rng.random() < self._optics_share:
                images[i] = through_optics(images[i], rng)
        return replace(to_batch(images, clean, masks), may_be_cut=tuple(may_be_cut))

    def paint(
        self, image: np.ndarray, foreground: np.ndarray, rng: np.random.Generator, whole: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """One to three anomalies on `image`: (S, mask (H, W) float32 0/1).

        The mask is empty only if nothing visible could be painted, as on an empty foreground.
        """
        painted = image.copy()
        self._paint_onto(painted, foreground, rng, whole)
        return painted, visible_change(painted, image)

    def paint_kind(
        self,
        image: np.ndarray,
        foreground: np.ndarray,
        kind: AnomalyKind,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """One anomaly of `kind`, by (12); whole grey levels, as a camera would give them."""
        painted = image.copy()
        stroke = self._stroke(image, foreground, kind, rng)
        if stroke is not None:
            box, piece = stroke
            box.cut(painted)[...] = piece
        return painted

    def _paint_onto(
        self, image: np.ndarray, foreground: np.ndarray, rng: np.random.Generator, whole: bool
    ) -> None:
        """One to three anomalies that can be seen, onto the image itself."""
        shares = np.array([self._share(kind, whole) for kind in self._kinds])
        wanted = int(rng.choice([1, 1, 1, 2, 3] if whole else [1, 1, 1, 1, 2]))
        for _ in range(ATTEMPTS):
            kind = self._kinds[int(rng.choice(len(shares), p=shares / shares.sum()))]
            stroke = self._stroke(image, foreground, kind, rng)
            if stroke is None:
                continue
            box, piece = stroke
            if visible_change(piece, box.cut(image)).sum() >= MINIMUM_MASK_PX:
                box.cut(image)[...] = piece
                wanted -= 1
            if wanted == 0:
                break

    def _stroke(
        self,
        image: np.ndarray,
        foreground: np.ndarray,
        kind: AnomalyKind,
        rng: np.random.Generator,
    ) -> tuple[Box, np.ndarray] | None:
        """A box of the image and what (12) makes of it, (h, w, C); None if there is no region, or
        what would be painted is hardly different from what is there.
        """
        recipe = self._recipes[kind]
        height, width = foreground.shape
        anchored = recipe.anchors[int(rng.integers(len(recipe.anchors)))]
        anchor = anchored(image, foreground, rng)
        region = recipe.shape(height, width, anchor, rng)
        place = _place(image, foreground, region)
        if place is None:
            return None
        appearance = recipe.appearances[int(rng.integers(len(recipe.appearances)))]
        other = np.clip(appearance(place, rng), 0.0, 255.0)
        change = place.weights * (other - place.piece)  # M (A - N)
        full = cv2.norm(change, cv2.NORM_L1) / max(cv2.norm(place.weights, cv2.NORM_L1), 1e-6)
        contrast = _contrast(recipe, place, appearance in EVEN, rng)
        if full < contrast.faintest:
            return None
        share = np.float32(min(1.0, contrast.wanted / max(full, 1e-6)))  # 1 - beta
        return place.box, np.round(place.piece + share * change)

    def _share(self, kind: AnomalyKind, whole: bool) -> float:
        recipe = self._recipes[kind]
        return recipe.share_of_whole if whole else recipe.share_of_crops


def visible_change(painted: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Where two (H, W, C) images differ visibly, (H, W) float32 0 or 1; see VISIBLE_LEVELS."""
    change = colour_distance(painted, image)
    around = np.asarray(cv2.blur(change, (3, 3)))
    visible = (change >= 1.0) & (np.maximum(change, around) >= VISIBLE_LEVELS)
    return np.asarray(visible, dtype=np.float32)


def to_batch(images: np.ndarray, normals: np.ndarray, masks: np.ndarray) -> Batch:
    """(B, H, W, C) grey levels and (B, H, W) masks as tensors; y = 1 where a mask has a pixel."""
    region = torch.from_numpy(masks)[:, None]
    return Batch(_planes(images), _planes(normals), region, region.amax(dim=(1, 2, 3)))


def _planes(images: np.ndarray) -> torch.Tensor:
    planes = torch.from_numpy(images).permute(0, 3, 1, 2)
    return planes.clone(memory_format=torch.contiguous_format).div_(127.5).sub_(1.0)


def _recipes(bank: np.ndarray | None) -> Mapping[AnomalyKind, _Recipe]:
    kind, texture = AnomalyKind, appearances.of_bank(bank)
    own: tuple[Appearance, ...] = (turned, shuffled)
    shades, any_colour = (shifted, shifted, flat), (shifted, flat)
    rough, missing = (flat, grainy, shifted), (background_shown, smoothed_over)
    return {
        kind.PERLIN: _Recipe(shapes.perlin_region, (texture, *own, *any_colour), 10, 2, 1.0, 1.0),
        kind.SCRATCH: _Recipe(shapes.scratch, (*shades, shaded), 14, 3, 3.0, 1.0),
        kind.CRACK: _Recipe(shapes.crack, shades, 14, 3, 3.0, 1.0),
        kind.SPECK: _Recipe(shapes.specks, any_colour, 18, 4, 2.5, 1.0),
        kind.BLOB: _Recipe(shapes.blob, (*any_colour, texture, *own), 10, 2, 1.5, 1.0),
        kind.STAIN: _Recipe(shapes.stain, shades, 8, 2, 1.5, 1.5),
        kind.DRIFT: _Recipe(shapes.drift, shades, 10, 1.5, 0.05, 2.0),
        kind.WARP: _Recipe(shapes.stain, (displaced,), 0, 0, 0.1, 0.2),
        kind.DENT: _Recipe(shapes.stain, (shaded,), 10, 2, 1.5, 1.0),
        kind.TRANSPLANT: _Recipe(shapes.patch, own, 10, 2, 0.7, 0.7),
        kind.WEAR: _Recipe(shapes.area, (worn,), 0, 0, 0.2, 1.0),
        kind.CHIP: _Recipe(shapes.blob, rough, 14, 3, 0.7, 0.5, (at_edge,)),
        kind.STEP: _Recipe(shapes.step, (shifted, shifted, worn), 10, 1.2, 0.0, 2.0),
        kind.DUPLICATE: _Recipe(shapes.piece, (duplicated,), 0, 0, 0.7, 0.7),
        kind.MISSING: _Recipe(shapes.piece, missing, 0, 0, 0.7, 0.7, (at_edge, at_detail)),
    }


def _place(image: np.ndarray, foreground: np.ndarray, region: np.ndarray) -> Place | None:
    """The box of what of a region (H, W) lies on the part; None if nothing does."""
    box = shapes.bounds(region, MARGIN_PX)
    if box is None:
        return None
    on_part = box.cut(region) * box.cut(foreground)
    if on_part.max() <= shapes.NEGLIGIBLE:
        return None
    return Place(image, foreground, box, on_part, textures.in_channels(on_part, image.shape[2]))


class _Contrast(NamedTuple):
    """Mean change inside a region, in grey levels: the least that counts, and what is wanted."""

    faintest: float
    wanted: float


def _contrast(recipe: _Recipe, place: Place, even: bool, rng: np.random.Generator) -> _Contrast:
    """`even`: the whole region changes alike, so that its shape is seen."""
    if not recipe.faintest_levels:  # as it comes
        return _Contrast(0.0, math.inf)
    if even:
        usual = FAINTEST_NATURAL * natural_contrast(place)
    else:
        usual = recipe.faintest_spread * float(np.mean(cv2.meanStdDev(place.piece)[1]))
    faintest = max(recipe.faintest_levels, usual)
    faintest = min(faintest, MOST_OF_STRONGEST * STRONGEST_LEVELS)
    wanted = math.exp(rng.uniform(math.log(faintest), math.log(STRONGEST_LEVELS)))
    return _Contrast(faintest, wanted)
