"""Painted images kept with their reconstructions, for a segmentation network that learns alone.

The U-Net takes three quarters of a joint step. Once it is trained, its reconstructions can serve
many steps: a pool of whole images is painted and reconstructed, every step cuts its crops from it,
and a few images are replaced at each step, so that no painting is learnt by heart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from training.balance import defect_weights
from training.painting import Order, Painter
from training.randomness import Use
from training.settings import TrainingSettings

Reconstruct = Callable[[Tensor, int], Tensor]
"""((B, C, H, W) float32 images in [-1, 1], the number of their batch) -> their reconstructions of
the same kind, always the same while the U-Net stays as it is."""

Slot = tuple[Tensor, Tensor, Tensor, Tensor]
"""Image, reconstruction, mask and weights, (C or 1, H, W) float16."""

REFRESHED, PAINTED = 4, 3
"""Images that are reconstructed at once, and how many of them are painted before: most of a
painted image is as normal as one that is not. Of each batch at least one can be cut into crops."""


@dataclass(frozen=True)
class Samples:
    """`images` and `reconstructions` (B, C, h, w) float32 in [-1, 1], `masks` and `weights`
    (`training.balance`) (B, 1, h, w).
    """

    images: Tensor
    reconstructions: Tensor
    masks: Tensor
    weights: Tensor


@dataclass(frozen=True)
class PoolState:
    """What a pool holds: the last of the batches from number `first` to before `following`.

    Its images are painted and reconstructed again from these numbers: stored, those of 256 x 256
    pixels in colour would take as much room as everything else of a training together.
    """

    first: int = 0
    following: int = 0


class ReconstructionPool:
    """Whole images with painted anomalies, their masks, and their reconstructions."""

    def __init__(
        self, painter: Painter, reconstruct: Reconstruct, settings: TrainingSettings
    ) -> None:
        self.state = PoolState()
        self._painter, self._reconstruct = painter, reconstruct
        self._settings = settings
        self._capacity = REFRESHED * math.ceil(settings.pool_images / REFRESHED)
        self._slots: dict[int, Slot] = {}
        self._may_be_cut: dict[int, bool] = {}

    def renew(self, rng: np.random.Generator) -> None:
        """Before each draw: the pool grows by a few images until it is full; then `pool_refresh`
        of the calls replace the oldest few.
        """
        if len(self._slots) < self._capacity or rng.random() < self._settings.pool_refresh:
            self._keep(self.state.following)
            self.state = PoolState(self.state.first, self.state.following + 1)

    def draw(self, rng: np.random.Generator) -> Samples:
        """A batch of crops, or of whole images in `pool_whole_share` of the draws."""
        height, width = self._slots[0][0].shape[1:]
        crop, count = self._settings.crop_px, self._settings.pool_batch_size
        if crop >= min(height, width) or rng.random() < self._settings.pool_whole_share:
            fitting = max(1, round(count * crop * crop / (height * width)))
            return self._cut(rng, range(len(self._slots)), fitting, height, width)
        to_cut = [index for index in range(len(self._slots)) if self._may_be_cut[index]]
        return self._cut(rng, to_cut, count, crop, crop)

    def empty(self) -> None:
        """Forget reconstructions of a U-Net that has learnt on since."""
        self._slots.clear()
        self.state = PoolState(self.state.following, self.state.following)

    def restore(self, state: PoolState) -> None:
        """Hold what a pool in this state held, image by image."""
        self._slots.clear()
        self.state = state
        kept = self._capacity // REFRESHED
        for number in range(max(state.first, state.following - kept), state.following):
            self._keep(number)

    def _keep(self, number: int) -> None:
        """Paint and reconstruct a batch; in a full pool it takes the place of the oldest."""
        batch = self._painter.paint(Order(Use.POOL, number, whole=REFRESHED, painted=PAINTED))
        reconstructions = self._reconstruct(batch.images, number).cpu()
        weights = defect_weights(batch.masks, self._settings.balance)
        planes = (batch.images.half(), reconstructions.half(), batch.masks.half(), weights.half())
        first = REFRESHED * (number - self.state.first)
        for i, slot in enumerate(zip(*planes, strict=True)):
            index = (first + i) % self._capacity
            self._slots[index], self._may_be_cut[index] = slot, batch.may_be_cut[i]

    def _cut(
        self, rng: np.random.Generator, indices: Sequence[int], count: int, height: int, width: int
    ) -> Samples:
        pieces = []
        for _ in range(count):
            slot = self._slots[indices[int(rng.integers(len(indices)))]]
            y = int(rng.integers(slot[0].shape[1] - height + 1))
            x = int(rng.integers(slot[0].shape[2] - width + 1))
            pieces.append([plane[:, y : y + height, x : x + width] for plane in slot])
        images, reconstructions, masks, weights = (
            torch.stack(planes).float() for planes in zip(*pieces, strict=True)
        )
        return Samples(images, reconstructions, masks, weights)
