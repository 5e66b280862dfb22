"""Synthetic anomalies, DiffusionAD (12): S = beta (M*N) + (1 - beta)(M*A) + (1 - M)*N.

Beyond the papers' Perlin masks the kinds follow what goes wrong on real parts, most of it small
and faint: lines, cracks, specks, stains, uneven brightness, dents, warps and foreign pieces.
beta follows from a contrast drawn in grey levels, so that faint defects are as frequent as plain
ones. Images are (H, W, C) float32 in grey levels [0, 255].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import cv2
import numpy as np
import torch

from training import shapes, textures

VISIBLE_LEVELS = 4.0
"""A pixel belongs to the mask only where S and N differ by this many grey levels or, less, lie
within a neighbourhood that does on average."""

MINIMUM_MASK_PX = 5
STROKES_ON_WHOLE = 4
SEVERAL_SHARE = 0.75
"""Most whole images get several paintings of the kinds that crops get, most of them small; the
others one of those that need the whole image in view."""

TINT_SHARES = (0.6, 0.25, 0.15)
"""How often something lighter or darker has the colour of its place, is grey, or is tinted."""

STRONGEST_LEVELS = 110.0
ATTEMPTS = 6


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


Appearance = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]
"""(image N, region M (H, W) in [0, 1], rng) -> A, of the image's shape."""


@dataclass(frozen=True)
class Batch:
    """`images` S and `normals` N (B, C, H, W) float32 in [-1, 1], `masks` (B, 1, H, W) and
    `labels` y (B,) 0/1.
    """

    images: torch.Tensor
    normals: torch.Tensor
    masks: torch.Tensor
    labels: torch.Tensor


@dataclass(frozen=True)
class _Recipe:
    shape: shapes.Shape
    appearances: tuple[Appearance, ...]
    faintest_levels: float
    share_of_crops: float
    share_of_whole: float


class Synthesizer:
    """Paints anomalies of the chosen kinds; all randomness comes from the caller's generator."""

    def __init__(
        self, kinds: tuple[AnomalyKind, ...] = tuple(AnomalyKind), bank: np.ndarray | None = None
    ) -> None:
        assert kinds, "at least one kind of anomaly"
        self._kinds = kinds
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
        `foregrounds`: (B, H, W) float32 in [0, 1], where there is a part to be damaged.
        """
        clean = normals.astype(np.float32)
        images = clean.copy()
        if painted is None:
            painted = len(images) // 2 if len(images) > 1 else int(rng.integers(2))
        for i in range(len(images) - painted, len(images)):
            several = whole and rng.random() < SEVERAL_SHARE
            for _ in range(STROKES_ON_WHOLE if several else 1):
                images[i], _ = self.paint(images[i], foregrounds[i], rng, whole and not several)
        masks = np.stack([visible_change(*pair) for pair in zip(images, clean, strict=True)])
        return to_batch(images, clean, masks)

    def paint(
        self, image: np.ndarray, foreground: np.ndarray, rng: np.random.Generator, whole: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """One to three anomalies on `image`: (S, mask (H, W) float32 0/1).

        The mask is empty only if nothing visible could be painted, as on an empty foreground.
        """
        shares = np.array([self._share(kind, whole) for kind in self._kinds])
        painted = image
        wanted = int(rng.choice([1, 1, 1, 2, 3] if whole else [1, 1, 1, 1, 2]))
        for _ in range(ATTEMPTS):
            kind = self._kinds[int(rng.choice(len(shares), p=shares / shares.sum()))]
            attempt = self.paint_kind(painted, foreground, kind, rng)
            if visible_change(attempt, painted).sum() >= MINIMUM_MASK_PX:
                painted, wanted = attempt, wanted - 1
            if wanted == 0:
                break
        return painted, visible_change(painted, image)

    def paint_kind(
        self,
        image: np.ndarray,
        foreground: np.ndarray,
        kind: AnomalyKind,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """One anomaly of `kind`, by (12); whole grey levels, as a camera would give them."""
        recipe = self._recipes[kind]
        anchor = _anchor(foreground, rng)
        region = recipe.shape(image.shape[0], image.shape[1], anchor, rng) * foreground
        appearance = recipe.appearances[int(rng.integers(len(recipe.appearances)))]
        other = np.clip(appearance(image, region, rng), 0.0, 255.0)
        contrast = np.exp(rng.uniform(np.log(recipe.faintest_levels), np.log(STRONGEST_LEVELS)))
        beta = _beta_for(image, other, region, float(contrast))
        weight = (1.0 - beta) * region[:, :, None]
        return np.asarray(np.round(image + weight * (other - image)), dtype=np.float32)

    def _share(self, kind: AnomalyKind, whole: bool) -> float:
        recipe = self._recipes[kind]
        return recipe.share_of_whole if whole else recipe.share_of_crops


def visible_change(painted: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Where two (H, W, C) images differ visibly, (H, W) float32 0 or 1; see VISIBLE_LEVELS."""
    change = np.abs(painted - image).max(axis=2)
    around = np.asarray(cv2.blur(change, (3, 3)))
    visible = (change >= 1.0) & (np.maximum(change, around) >= VISIBLE_LEVELS)
    return np.asarray(visible, dtype=np.float32)


def to_batch(images: np.ndarray, normals: np.ndarray, masks: np.ndarray) -> Batch:
    """(B, H, W, C) grey levels and (B, H, W) masks as tensors; y = 1 where a mask has a pixel."""
    region = torch.from_numpy(masks)[:, None]
    return Batch(_planes(images), _planes(normals), region, region.amax(dim=(1, 2, 3)))


def _planes(images: np.ndarray) -> torch.Tensor:
    planes = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    return planes.float() / 127.5 - 1.0


def _recipes(bank: np.ndarray | None) -> Mapping[AnomalyKind, _Recipe]:
    def texture(image: np.ndarray, _: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if bank is not None and rng.random() < 0.7:
            return _piece(bank[int(rng.integers(len(bank)))], image, rng)
        return textures.procedural_texture(image.shape, rng)

    kind = AnomalyKind
    own: tuple[Appearance, ...] = (_turned, _shuffled)
    return {
        kind.PERLIN: _Recipe(shapes.perlin_region, (texture, *own, _shifted, _flat), 10, 1.0, 1.0),
        kind.SCRATCH: _Recipe(shapes.scratch, (_shifted, _shifted, _flat, _shaded), 14, 3.0, 3.0),
        kind.CRACK: _Recipe(shapes.crack, (_shifted, _shifted, _flat), 14, 3.0, 3.0),
        kind.SPECK: _Recipe(shapes.specks, (_shifted, _flat), 18, 2.5, 2.5),
        kind.BLOB: _Recipe(shapes.blob, (_shifted, _flat, texture, *own), 10, 1.5, 1.5),
        kind.STAIN: _Recipe(shapes.stain, (_shifted, _shifted, _flat), 8, 1.5, 1.5),
        kind.DRIFT: _Recipe(shapes.drift, (_shifted, _shifted, _flat), 10, 0.3, 1.5),
        kind.WARP: _Recipe(shapes.stain, (_displaced,), STRONGEST_LEVELS, 0.5, 0.5),
        kind.DENT: _Recipe(shapes.stain, (_shaded,), 10, 1.5, 1.5),
        kind.TRANSPLANT: _Recipe(shapes.patch, (_turned, _shuffled), 10, 0.7, 0.7),
    }


def _beta_for(image: np.ndarray, other: np.ndarray, region: np.ndarray, contrast: float) -> float:
    """The beta of (12) that leaves `contrast` grey levels on average inside the region."""
    difference = float((np.abs(other - image).mean(axis=2) * region).sum())
    full = difference / max(float(region.sum()), 1e-6)
    return max(0.0, 1.0 - contrast / max(full, 1e-6))


def _anchor(foreground: np.ndarray, rng: np.random.Generator) -> shapes.Anchor:
    """A pixel of the part; anywhere if several draws find none."""
    height, width = foreground.shape
    for _ in range(16):
        y, x = int(rng.integers(height)), int(rng.integers(width))
        if foreground[y, x] > 0.5:
            break
    return float(y), float(x)


def _shifted(image: np.ndarray, region: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Lighter or darker by half the range; (12) then draws it back to the wanted contrast.

    Mostly in the colour of the place, as light, scratches and grooves change it, which leaves
    the hue as it is; the rest in grey or with a tint.
    """
    weights = region / max(float(region.sum()), 1e-6)
    colour = (image * weights[:, :, None]).sum(axis=(0, 1))  # (C,)
    level = float(colour.mean())
    darker = level > 215.0 or (level > 40.0 and rng.random() < 0.5)
    tint = (
        colour / max(level, 1.0),
        np.ones(image.shape[2]),
        rng.uniform(0.3, 1.0, image.shape[2]),
    )[int(rng.choice(3, p=TINT_SHARES))]
    return np.asarray(image + (-128.0 if darker else 128.0) * tint, dtype=np.float32)


def _flat(image: np.ndarray, _: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One colour without texture, anything from grey to vivid."""
    grey, vivid = rng.uniform(0.0, 255.0), rng.uniform(0.0, 255.0, image.shape[2])
    colour = grey + rng.random() * (vivid - grey)
    return np.broadcast_to(np.asarray(colour, dtype=np.float32), image.shape)


def _shaded(image: np.ndarray, region: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The light and the dark flank of a dent, a bump or a groove, lit from a random side."""
    angle = rng.uniform(0.0, 2.0 * np.pi)
    soft = cv2.GaussianBlur(region, (0, 0), rng.uniform(0.7, 2.5))
    slope = np.cos(angle) * cv2.Sobel(soft, cv2.CV_32F, 1, 0)
    slope = slope + np.sin(angle) * cv2.Sobel(soft, cv2.CV_32F, 0, 1)
    shading = 160.0 * slope / max(float(np.abs(slope).max()), 1e-6)
    return np.asarray(image + shading[:, :, None], dtype=np.float32)


def _turned(image: np.ndarray, _: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return textures.turned(image, rng)


def _shuffled(image: np.ndarray, _: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return textures.shuffled(image, rng)


def _displaced(image: np.ndarray, _: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return textures.displaced(image, rng)


def _piece(texture: np.ndarray, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random piece of a texture, of the image's size."""
    height, width = image.shape[:2]
    y = int(rng.integers(max(1, texture.shape[0] - height + 1)))
    x = int(rng.integers(max(1, texture.shape[1] - width + 1)))
    piece = texture[y : y + height, x : x + width].astype(np.float32)
    sized = cv2.resize(piece, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(sized).reshape(image.shape)
