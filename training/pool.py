"""Painted images kept with their reconstructions, for a segmentation network that learns alone.

The U-Net takes three quarters of a joint step. Once it is trained, its reconstructions can serve
many steps: a pool of whole images is painted and reconstructed, every step cuts its crops from it,
and a few images are replaced at each step, so that no painting is learnt by heart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from training.augment import ViewSource
from training.settings import TrainingSettings
from training.synthesis import Synthesizer

Reconstruct = Callable[[Tensor], Tensor]
"""(B, C, H, W) float32 images in [-1, 1] -> their reconstructions of the same kind."""

REFRESHED, PAINTED = 4, 3
"""Images that are reconstructed at once, and how many of them are painted before: most of a
painted image is as normal as one that is not."""


@dataclass(frozen=True)
class Samples:
    """`images` and `reconstructions` (B, C, h, w) float32 in [-1, 1], `masks` (B, 1, h, w)."""

    images: Tensor
    reconstructions: Tensor
    masks: Tensor


class ReconstructionPool:
    """Whole images with painted anomalies, their masks, and their reconstructions."""

    def __init__(
        self,
        source: ViewSource,
        synthesizer: Synthesizer,
        reconstruct: Reconstruct,
        settings: TrainingSettings,
    ) -> None:
        self._source, self._synthesizer = source, synthesizer
        self._reconstruct, self._settings = reconstruct, settings
        self._slots: list[tuple[Tensor, Tensor, Tensor]] = []
        self._oldest = 0

    def draw(self, rng: np.random.Generator) -> Samples:
        """A batch of crops, or of whole images in `pool_whole_share` of the draws.

        The pool grows by a few images at each draw until it is full; then `pool_refresh` of the
        draws replace a few.
        """
        self._renew(rng)
        height, width = self._slots[0][0].shape[1:]
        crop, count = self._settings.crop_px, self._settings.batch_size
        if crop >= min(height, width) or rng.random() < self._settings.pool_whole_share:
            fitting = max(1, round(count * crop * crop / (height * width)))
            return self._cut(rng, fitting, height, width)
        return self._cut(rng, count, crop, crop)

    def draw_whole(self, rng: np.random.Generator) -> Samples:
        """As many whole images as are painted at once."""
        self._renew(rng)
        return self._cut(rng, REFRESHED, *self._slots[0][0].shape[1:])

    def _renew(self, rng: np.random.Generator) -> None:
        if len(self._slots) < self._settings.pool_images:
            self._slots += self._paint(rng)
        elif rng.random() < self._settings.pool_refresh:
            self._replace(self._paint(rng))

    def _cut(self, rng: np.random.Generator, count: int, height: int, width: int) -> Samples:
        pieces = []
        for _ in range(count):
            slot = self._slots[int(rng.integers(len(self._slots)))]
            y = int(rng.integers(slot[0].shape[1] - height + 1))
            x = int(rng.integers(slot[0].shape[2] - width + 1))
            pieces.append([plane[:, y : y + height, x : x + width] for plane in slot])
        images, reconstructions, masks = (
            torch.stack(planes).float() for planes in zip(*pieces, strict=True)
        )
        return Samples(images, reconstructions, masks)

    def _paint(self, rng: np.random.Generator) -> list[tuple[Tensor, Tensor, Tensor]]:
        views = self._source.draw_whole(rng, REFRESHED)
        batch = self._synthesizer.batch(views.normals, views.foregrounds, rng, True, PAINTED)
        reconstructions = self._reconstruct(batch.images).cpu()
        planes = (batch.images.half(), reconstructions.half(), batch.masks.half())
        return list(zip(*planes, strict=True))

    def _replace(self, fresh: list[tuple[Tensor, Tensor, Tensor]]) -> None:
        for slot in fresh:
            self._slots[self._oldest] = slot
            self._oldest = (self._oldest + 1) % len(self._slots)
