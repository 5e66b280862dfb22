"""The noise of a model bundle: fixed by its seed, so that a frame scores the same in every run."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from stages.reconstruction.paradigms import NOISE_SCALES


class NoiseFields:
    """Standard normal fields (C, H, W) float32 by number, for images of `shape` (H, W, C).

    All are drawn on the CPU, so that every device gets the same. Those of the two noise scales are
    kept on the device; any other is drawn when it is asked for, from seed and number alone, so that
    neither the order of asking nor the batch changes it, and hundreds of them need no memory.
    """

    def __init__(
        self, seed: int, shape: tuple[int, int, int], device: torch.device | str = "cpu"
    ) -> None:
        height, width, channels = shape
        self._seed, self._size, self._device = seed, (channels, height, width), device
        self._scales = self._draw(NOISE_SCALES, seed)

    def __getitem__(self, index: int) -> Tensor:
        """The field of this number, from 0 on, on the device."""
        assert index >= 0, "fields are numbered from 0 on"
        if index < NOISE_SCALES:
            return self._scales[index]
        derived = np.random.SeedSequence((self._seed, index)).generate_state(1)
        return self._draw(1, int(derived[0]))[0]

    def _draw(self, count: int, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        fields = torch.randn((count, *self._size), generator=generator)
        return fields.contiguous(memory_format=torch.channels_last).to(self._device)
