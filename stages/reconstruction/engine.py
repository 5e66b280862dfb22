"""The batched reconstruction engine: images in, the same parts without defects out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pipeline.errors import BundleError, ConfigError
from stages.bundle import Bundle
from stages.device import Precision
from stages.execution import Execution, check_batch
from stages.exposure import exposure_gain, to_network_range, without_gain
from stages.lanes.flight import Flight
from stages.lanes.open import check_lane, open_lane
from stages.reconstruction.noise import NoiseFields
from stages.reconstruction.paradigms import (
    PARADIGMS,
    fresh_noise,
    noise_model,
    scales_at_once,
)


class Reconstructor:
    """Runs one paradigm with the bundle's noise, so that a frame always looks the same.

    `paradigm` None is the bundle's own. Raises BundleError for a bundle that asks for an unknown
    one, ConfigError for another name that is unknown.
    """

    def __init__(
        self,
        bundle: Bundle,
        device: str = "auto",
        precision: Precision = "auto",
        paradigm: str | None = None,
    ) -> None:
        manifest = bundle.manifest
        self.paradigm = _known_paradigm(bundle, paradigm)
        self.execution = Execution(device, precision)
        self._settings = manifest.profile.diffusion
        self._run = PARADIGMS[self.paradigm]
        self._shape = (*manifest.image_size_px, manifest.channels)
        self._exposure_level = manifest.exposure_level
        self._unet, _ = bundle.networks()
        self.execution.place(self._unet)
        self._schedule = self._settings.make_schedule().to(self.execution.device)
        self._model = noise_model(self._unet, self._schedule, self._settings)
        self._noise = NoiseFields(manifest.noise_seed, self._shape, self.execution.device)
        self._lane = open_lane(
            self.execution,
            self._redraw,
            [np.zeros(self._shape, np.uint8)],
            passes=scales_at_once(self.paradigm),
            capturable=not fresh_noise(self.paradigm, self._settings),
        )

    def reconstruct(self, images: NDArray[np.uint8]) -> NDArray[np.float16]:
        """(B, H, W, C) uint8 -> (B, H, W, C) float16 in [-1, 1], at each image's own exposure.

        Raises InputError for another type, or a size that the bundle was not made for.
        """
        return self.land(self.submit(images))

    def submit(self, images: NDArray[np.uint8]) -> Flight:
        """Starts what `reconstruct` does; on a GPU the next batch may be submitted meanwhile."""
        check_batch(images, np.uint8, self._shape)
        return self._lane.submit(images)

    def land(self, flight: Flight) -> NDArray[np.float16]:
        """The reconstructions of a batch that was submitted, once they are there."""
        (reconstructions,) = flight.land()
        return cast("NDArray[np.float16]", reconstructions)

    def _redraw(self, frames: Tensor) -> tuple[Tensor]:
        """(B, C, H, W) uint8 on the device -> (B, H, W, C) float16."""
        gain = exposure_gain(frames, self._exposure_level)
        x_0 = to_network_range(frames, gain)
        x_0_hat = self._run(self._model, self._schedule, x_0, self._noise, self._settings)
        return (without_gain(x_0_hat, gain).half().permute(0, 2, 3, 1).contiguous(),)

    def open_for(self, most: int) -> None:
        """Runs, or captures, what batches of up to `most` images need before the first part."""
        self.warm_up(self._lane.warm_sizes(most))

    def warm_up(self, batch_sizes: Iterable[int]) -> None:
        """Runs each batch size once, so that the first part of a shift is not the slow one."""
        for size in batch_sizes:
            self.reconstruct(np.zeros((size, *self._shape), np.uint8))


def check_paradigm(bundle: Bundle, device: str, paradigm: str) -> None:
    """Raises ConfigError where a `Reconstructor` of these would, without building one."""
    name = _known_paradigm(bundle, paradigm)
    check_lane(Execution(device), not fresh_noise(name, bundle.manifest.profile.diffusion))


def _known_paradigm(bundle: Bundle, wanted: str | None) -> str:
    if wanted is not None and wanted not in PARADIGMS:
        raise ConfigError(f"unknown denoising paradigm {wanted!r}: choose one of {list(PARADIGMS)}")
    own = bundle.manifest.paradigm
    if wanted is None and own not in PARADIGMS:
        raise BundleError(
            f"the model bundle {bundle.folder} asks for the paradigm {own!r}, this program has "
            f"{list(PARADIGMS)}: use the program that it was made with"
        )
    return wanted or own
