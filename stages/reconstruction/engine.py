"""The batched reconstruction engine: images in, the same parts without defects out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.errors import BundleError
from stages.bundle import Bundle
from stages.device import Precision
from stages.execution import Execution, check_batch, to_network_range
from stages.reconstruction.paradigms import NOISE_SCALES, PARADIGMS, noise_model


class Reconstructor:
    """Runs the bundle's paradigm with the bundle's noise, so that a frame always looks the same."""

    def __init__(self, bundle: Bundle, device: str = "auto", precision: Precision = "auto") -> None:
        manifest = bundle.manifest
        if manifest.paradigm not in PARADIGMS:
            raise BundleError(
                f"the model bundle {bundle.folder} asks for the paradigm {manifest.paradigm!r}, "
                f"this program has {sorted(PARADIGMS)}: use the program that it was made with"
            )
        self.execution = Execution(device, precision)
        self._paradigm = PARADIGMS[manifest.paradigm]
        self._settings = manifest.profile.diffusion
        self._shape = (*manifest.image_size_px, manifest.channels)
        self._unet, _ = bundle.networks()
        self.execution.place(self._unet)
        self._schedule = self._settings.make_schedule().to(self.execution.device)
        self._model = noise_model(self._unet, self._schedule, self._settings)
        noise = noise_fields(manifest.noise_seed, self._shape)
        self._noise = noise.to(self.execution.device)

    def reconstruct(self, images: NDArray[np.uint8]) -> NDArray[np.float16]:
        """(B, H, W, C) uint8 -> (B, H, W, C) float16 in [-1, 1].

        Raises InputError for another type, or a size that the bundle was not made for.
        """
        check_batch(images, np.uint8, self._shape)
        with self.execution.run():
            x_0 = to_network_range(self.execution.upload(images, passes=NOISE_SCALES))
            x_0_hat = self._paradigm(self._model, self._schedule, x_0, self._noise, self._settings)
            x_0_hat = x_0_hat[: len(images)].half().permute(0, 2, 3, 1)
            array = self.execution.download(x_0_hat)
        return cast("NDArray[np.float16]", array)

    def warm_up(self, batch_sizes: Iterable[int]) -> None:
        """Runs each batch size once, so that the first part of a shift is not the slow one."""
        for size in batch_sizes:
            self.reconstruct(np.zeros((size, *self._shape), np.uint8))


def noise_fields(seed: int, shape: tuple[int, int, int]) -> Tensor:
    """(2, C, H, W) float32, one standard normal field a noise scale, for `shape` (H, W, C).

    Drawn on the CPU, so that every device gets the same.
    """
    height, width, channels = shape
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn((NOISE_SCALES, channels, height, width), generator=generator)
    return noise.contiguous(memory_format=torch.channels_last)
