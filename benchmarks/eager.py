"""The evaluation as the DiffusionAD paper runs it, written plainly: what the engine is measured by.

Nothing here makes anything fast: float32, PyTorch's default memory layout, one image at a time, and
the two noise scales in two passes of the U-Net, one after the other. Noise and equations are those
of the bundle, so that what comes out is the engine's own result.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.bundle import Bundle
from stages.device import choose_device
from stages.exposure import exposure_gain, to_network_range, without_gain
from stages.inspector import Inspection
from stages.reconstruction.diffusion import predict_x_0, q_sample
from stages.reconstruction.noise import NoiseFields
from stages.reconstruction.paradigms import noise_model, norm_guided_estimate
from stages.segmentation.anomaly import image_score

TOLERANCES = {"float32": 2e-4, "bfloat16": 2e-2}
"""By the engine's type, how far it may be from this on average (`Disagreement`)."""


class EagerEvaluation:
    """Norm-guided inspection by the bundle's networks, whatever paradigm the bundle is made for."""

    def __init__(self, bundle: Bundle, device: str = "auto") -> None:
        manifest = bundle.manifest
        self._device = choose_device(device)
        self._settings = manifest.profile.diffusion
        self._top_k = manifest.profile.top_k
        self._exposure_level = manifest.exposure_level
        unet, self._segmentation = (
            network.requires_grad_(False).to(self._device) for network in bundle.networks()
        )
        self._schedule = self._settings.make_schedule().to(self._device)
        self._model = noise_model(unet, self._schedule, self._settings)
        fields = NoiseFields(manifest.noise_seed, (*manifest.image_size_px, manifest.channels))
        self._noise = [fields[scale].contiguous().to(self._device) for scale in range(2)]

    def inspect(self, images: NDArray[np.uint8]) -> Inspection:
        """(B, H, W, C) uint8 of the bundle's size -> what `Inspector` gives, image by image."""
        with torch.inference_mode():
            found = [self._inspect_one(image) for image in images]
        return Inspection(*(np.concatenate(parts) for parts in zip(*found, strict=True)))

    def _inspect_one(self, image: NDArray[np.uint8]) -> Inspection:
        frame = torch.from_numpy(image).permute(2, 0, 1)[None].contiguous().to(self._device)
        gain = exposure_gain(frame, self._exposure_level)
        x_0 = to_network_range(frame, gain)
        x_0_hat = self._reconstruct(x_0)
        anomaly_map = self._segmentation(x_0, x_0_hat)[:, 0].sigmoid()
        return Inspection(
            image_score(anomaly_map, self._top_k).cpu().numpy(),
            anomaly_map.half().cpu().numpy(),
            without_gain(x_0_hat, gain).half().permute(0, 2, 3, 1).cpu().numpy(),
        )

    def _reconstruct(self, x_0: Tensor) -> Tensor:
        """The norm-guided estimate (8) from the one-step estimates of both noise scales."""
        x_fine, alpha_bar_ts = self._estimate(x_0, self._settings.t_small, self._noise[0])
        x_coarse, _ = self._estimate(x_0, self._settings.t_big, self._noise[1])
        return norm_guided_estimate(x_fine, x_coarse, alpha_bar_ts, self._settings.w)

    def _estimate(self, x_0: Tensor, step: int, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The one-step estimate (6) from `step`, one pass of the U-Net; and alpha_bar there."""
        t = torch.full((1,), step, dtype=torch.int64, device=self._device)
        alpha_bar_t = self._schedule.alpha_bar(t)
        x_t = q_sample(x_0, noise, alpha_bar_t)
        return predict_x_0(x_t, self._model(x_t, t), alpha_bar_t), alpha_bar_t


@dataclass(frozen=True)
class Disagreement:
    """Mean absolute differences; reconstructions lie in [-1, 1], the others in [0, 1]."""

    score: float
    anomaly_map: float
    reconstruction: float

    @property
    def largest(self) -> float:
        """Of the three; NaN where one is."""
        return float(np.max([self.score, self.anomaly_map, self.reconstruction]))


def disagreement(found: Inspection, reference: Inspection) -> Disagreement:
    """How far two inspections of the same images are from each other."""
    return Disagreement(
        _mean_difference(found.scores, reference.scores),
        _mean_difference(found.anomaly_maps, reference.anomaly_maps),
        _mean_difference(found.reconstructions, reference.reconstructions),
    )


def _mean_difference(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    return float(np.abs(one.astype(np.float64) - other.astype(np.float64)).mean())
