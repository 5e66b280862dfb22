"""The whole inspection of an image as one graph of tensors: what an exported file holds.

The same functions, in the same order, as the engines of the line's two processes call, in float32;
but for three of PyTorch's own that a file cannot hold, each with the same result: its median, a
convolution that switches autocast off, and its sigmoid: onnxruntime's is 0 from a logit of -20 on,
where scores of good parts lie.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stages.bundle import Bundle
from stages.exposure import (
    gain_from_medians,
    lower_median,
    to_network_range,
    with_gain,
    without_gain,
)
from stages.reconstruction.noise import NoiseFields
from stages.reconstruction.paradigms import PARADIGMS, noise_model, scales_at_once
from stages.reconstruction.schedule import Schedule
from stages.segmentation.anomaly import proven_score
from stages.segmentation.network import SegmentationNetwork
from stages.segmentation.surface import joint_logits

EXPORTED = ("one_step", "norm_guided")
"""The paradigms of PARADIGMS that run the U-Net once."""


class InspectionGraph(nn.Module):
    """A bundle's networks, noise, exposure and surface model under one paradigm of EXPORTED."""

    noise: Tensor
    betas: Tensor
    alpha_bars: Tensor

    def __init__(self, bundle: Bundle, paradigm: str) -> None:
        assert paradigm in EXPORTED
        super().__init__()
        manifest = bundle.manifest
        self.shape = (*manifest.image_size_px, manifest.channels)
        self._run = PARADIGMS[paradigm]
        self._settings = manifest.profile.diffusion
        self._top_k = manifest.profile.top_k
        self._exposure_level = manifest.exposure_level
        self.unet, self.segmentation = bundle.networks()
        self.surface = bundle.surface()
        _make_exportable(self.segmentation)
        fields = NoiseFields(manifest.noise_seed, self.shape)
        scales = [fields[index].contiguous() for index in range(scales_at_once(paradigm))]
        schedule = self._settings.make_schedule()
        self.register_buffer("noise", torch.stack(scales))
        self.register_buffer("betas", schedule.betas)
        self.register_buffer("alpha_bars", schedule.alpha_bars)
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, H, W, C) uint8 -> raw scores (B,) float32, anomaly maps (B, H, W) float16 in [0, 1],
        reconstructions (B, H, W, C) float16 in [-1, 1].
        """
        frames = images.permute(0, 3, 1, 2)
        level = self._exposure_level
        gain = None if level is None else gain_from_medians(lower_median(frames), level)
        x_0 = to_network_range(frames, gain)
        x_0_hat = self._reconstruct(x_0, gain)
        logits = self.segmentation(x_0, with_gain(x_0_hat, gain))[:, 0]
        maps = 1.0 / (1.0 + (-joint_logits(logits, self.surface, x_0)).exp())
        return proven_score(maps, x_0_hat, self._top_k), maps.half(), x_0_hat.permute(0, 2, 3, 1)

    def _reconstruct(self, x_0: Tensor, gain: Tensor | None) -> Tensor:
        """(B, C, H, W) float16, as one process of the line hands it to the next."""
        schedule = Schedule(self.betas, self.alpha_bars)
        model = noise_model(self.unet, schedule, self._settings)
        x_0_hat = self._run(model, schedule, x_0, self.noise, self._settings)
        return without_gain(x_0_hat, gain).half()


def _make_exportable(network: SegmentationNetwork) -> None:
    """Folds norms away, as the line's engine does, and computes in float32 without autocast."""
    network.fold_norms()
    head = network.head
    plain = nn.Conv2d(head.in_channels, head.out_channels, 3, padding=1)
    plain.load_state_dict(head.state_dict())
    network.head = plain
