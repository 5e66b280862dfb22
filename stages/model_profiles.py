"""Named sizes of the two networks: `paper` as published, `compact` and `texture` for a CPU.

`compact` folds 4x4 pixels into channels before the U-Net, which keeps fine defects visible at a
hundredth of the published cost. Its segmentation network looks at every pixel as it is: lines of
a pixel's width are learnt several times sooner so than from folded pixels. `texture` is for
surfaces that no reconstruction repeats in detail: its segmentation network has to tell a defect
from the texture by itself, and sees twice as far, through more channels, at the same cost.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from pydantic import ConfigDict, PositiveInt
from pydantic.dataclasses import dataclass
from torch import nn

from stages.reconstruction.paradigms import DiffusionSettings
from stages.reconstruction.unet import UNet, UNetSizes
from stages.segmentation.network import SegmentationNetwork, SegmentationSizes


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class ModelProfile:
    """Everything that decides the networks and how they are used, short of their weights.

    `top_k` is the number of pixels whose mean is the score of an image.
    """

    name: str
    unet: UNetSizes
    segmentation: SegmentationSizes
    diffusion: DiffusionSettings = DiffusionSettings()
    top_k: PositiveInt = 50

    @property
    def multiple_of_px(self) -> int:
        """Height and width of an image must be multiples of this."""
        return max(self.unet.multiple_of_px, self.segmentation.multiple_of_px)


PAPER = ModelProfile(
    name="paper",  # 131.7 M + 28.4 M parameters, 563 + 76 GFLOP a pass at 256x256
    unet=UNetSizes(
        width=128,
        multipliers=(1, 1, 2, 2, 4, 4),
        blocks_per_level=2,
        attention_levels=(3, 4, 5),  # 32, 16 and 8 pixels at 256x256
        heads=4,
        groups=32,
        unshuffle=1,
        resample_in_blocks=True,
    ),
    segmentation=SegmentationSizes(
        widths=(64, 128, 256, 512, 512, 512), unshuffle=1, groups=0, difference=False
    ),
)

COMPACT = ModelProfile(
    name="compact",  # 4.0 M + 0.5 M parameters, 2.6 + 5.0 GFLOP a pass at 256x256
    unet=UNetSizes(
        width=32,
        multipliers=(1, 2, 4, 4),
        blocks_per_level=1,
        attention_levels=(2, 3),  # 16 and 8 pixels at 256x256
        heads=4,
        groups=8,
        unshuffle=4,
        resample_in_blocks=False,
    ),
    segmentation=SegmentationSizes(
        widths=(16, 32, 64, 96, 128), unshuffle=1, groups=0, difference=False
    ),
    diffusion=DiffusionSettings(beta_end=1e-2, predicts="image"),
)

TEXTURE = replace(
    COMPACT,
    name="texture",
    segmentation=SegmentationSizes(
        widths=(32, 64, 96, 128, 128), unshuffle=2, groups=0, difference=False
    ),
)

PROFILES: dict[str, ModelProfile] = {profile.name: profile for profile in (PAPER, COMPACT, TEXTURE)}


def build_networks(profile: ModelProfile, channels: int) -> tuple[UNet, SegmentationNetwork]:
    """Fresh networks of a profile for images of 1 or 3 `channels`, with random weights."""
    return UNet(channels, profile.unet), SegmentationNetwork(channels, profile.segmentation)


def untrained_networks(profile: ModelProfile, channels: int) -> tuple[UNet, SegmentationNetwork]:
    """Networks with random weights, always the same.

    The weights keep a signal's strength, which those of networks before their training do not:
    engine and reference could agree about zeros.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        unet, segmentation = build_networks(profile, channels)
        for module in (*unet.modules(), *segmentation.modules()):
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    return unet, segmentation
