"""What every way of computing scores is compared with: float32, eager, one image at a time.

The engines' equations with nothing that makes the engines fast: the default memory layout, no
padding, no rounded weights. What the line rounds between its two processes, the
reconstruction to float16, is rounded here too: it is part of what a score is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.bundle import Bundle
from stages.execution import Execution
from stages.exposure import exposure_gain, to_network_range, with_gain, without_gain
from stages.reconstruction.noise import NoiseFields
from stages.reconstruction.paradigms import Paradigm, noise_model
from stages.segmentation.anomaly import image_score
from stages.segmentation.surface import anomaly_map

WORDS = "float32, eager, one image at a time, default memory layout, one thread"


class Inspected(NamedTuple):
    """The raw `score` of one image, its `anomaly_map` (H, W) float16 in [0, 1], and its
    `reconstruction` (H, W, C) float16 in [-1, 1].
    """

    score: float
    anomaly_map: NDArray[np.float16]
    reconstruction: NDArray[np.float16]


class EagerReference:
    """The reference on one device, computed on `threads` of a CPU; None: as many as PyTorch has."""

    def __init__(
        self, bundle: Bundle, device: str, paradigm: Paradigm, threads: int | None = 1
    ) -> None:
        manifest = bundle.manifest
        self._execution = Execution(device, "float32")
        self._settings = manifest.profile.diffusion
        self._top_k = manifest.profile.top_k
        self._exposure_level = manifest.exposure_level
        self._paradigm, self._threads = paradigm, threads
        place = self._execution.device
        unet, self._segmentation = (
            network.requires_grad_(False).to(place) for network in bundle.networks()
        )
        surface = bundle.surface()
        self._surface = None if surface is None else surface.to(place)
        self._schedule = self._settings.make_schedule().to(place)
        self._model = noise_model(unet, self._schedule, self._settings)
        shape = (*manifest.image_size_px, manifest.channels)
        self._noise = _InDefaultLayout(NoiseFields(manifest.noise_seed, shape, place))

    def inspect(self, image: NDArray[np.uint8]) -> Inspected:
        """One prepared image (H, W, C) uint8."""
        with self._execution.run(), on_threads(self._threads or torch.get_num_threads()):
            frame = torch.from_numpy(image).permute(2, 0, 1)[None].contiguous()
            frame = frame.to(self._execution.device)
            gain = exposure_gain(frame, self._exposure_level)
            x_0 = to_network_range(frame, gain)
            x_0_hat = self._paradigm(self._model, self._schedule, x_0, self._noise, self._settings)
            x_0_hat = without_gain(x_0_hat, gain).half()
            logits = self._segmentation(x_0, with_gain(x_0_hat, gain))[:, 0]
            maps = anomaly_map(logits, self._surface, x_0)
            score = float(image_score(maps, self._top_k)[0])
            redrawn = x_0_hat[0].permute(1, 2, 0)
            return Inspected(score, maps[0].half().cpu().numpy(), redrawn.cpu().numpy())


@contextmanager
def on_threads(count: int) -> Iterator[None]:
    """PyTorch computes on so many threads of the CPU inside, and as before after it."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _InDefaultLayout:
    """Noise fields as the engines have them, with their pixels in PyTorch's default order."""

    def __init__(self, fields: NoiseFields) -> None:
        self._fields = fields

    def __getitem__(self, index: int) -> Tensor:
        return self._fields[index].contiguous()
