"""The segmentation network: compares an image with its reconstruction, pixel by pixel.

A convolutional U-Net with bilinear upsampling. The sizes of the paper (`stages.model_profiles`)
give the discriminative network of the released code, which comes from DRAEM.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import ConfigDict, Field, NonNegativeInt, PositiveInt
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name that every torch program uses
from torch.nn.utils.fusion import fuse_conv_bn_eval

from stages.packing import with_relu

PRIOR_LOGIT = -3.0
"""Logit of a fresh network: defects are rare, and training need not learn that first."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class SegmentationSizes:
    """Sizes of a segmentation network; `groups` 0 means batch norm, as published.

    With `difference` the network also sees |image - reconstruction|.
    """

    widths: Annotated[tuple[PositiveInt, ...], Field(min_length=2)]
    unshuffle: PositiveInt
    groups: NonNegativeInt
    difference: bool

    @property
    def multiple_of_px(self) -> int:
        """Height and width of an image must be multiples of this."""
        return int(self.unshuffle * 2 ** (len(self.widths) - 1))


class FullPrecisionConv(nn.Conv2d):
    """A convolution in float32, whatever precision the network around it runs in."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cuda" if x.is_cuda else "cpu", enabled=False):
            return super().forward(x.float())


class ConvNorm(nn.Module):
    """Convolution, norm and ReLU: (B, C, H, W) -> (B, C', H, W)."""

    def __init__(self, channels: int, out_channels: int, groups: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out_channels, 3, padding=1)
        self.norm: nn.Module
        self.norm = nn.GroupNorm(groups, out_channels) if groups else nn.BatchNorm2d(out_channels)
        self.relu: nn.Module = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.relu(self.norm(self.conv(x)))
        return out

    def fold(self) -> None:
        """Make a batch norm, with its running statistics, part of the convolution before it."""
        if isinstance(self.norm, nn.BatchNorm2d):
            self.conv = with_relu(fuse_conv_bn_eval(self.conv.eval(), self.norm.eval()))
            self.norm, self.relu = nn.Identity(), nn.Identity()


def double_conv(channels: int, out_channels: int, groups: int) -> nn.Sequential:
    """Two convolutions at one level: (B, C, H, W) -> (B, C', H, W)."""
    return nn.Sequential(
        ConvNorm(channels, out_channels, groups), ConvNorm(out_channels, out_channels, groups)
    )


class UpLevel(nn.Module):
    """Doubles the coarse map, joins the skip of its level and mixes both."""

    def __init__(self, coarse: int, skip: int, out_channels: int, groups: int) -> None:
        super().__init__()
        self.widen = ConvNorm(coarse, out_channels, groups)
        self.mix = double_conv(out_channels + skip, out_channels, groups)

    def forward(self, coarse: Tensor, skip: Tensor) -> Tensor:
        up = F.interpolate(coarse, scale_factor=2.0, mode="bilinear", align_corners=True)
        mixed: Tensor = self.mix(torch.cat((self.widen(up), skip), dim=1))
        return mixed


class SegmentationNetwork(nn.Module):
    """(B, C, H, W) image and reconstruction in [-1, 1] -> (B, 1, H, W) float32 logits of defect.

    H and W must be multiples of `sizes.multiple_of_px`. The last convolution always runs in
    float32: bfloat16 has too few digits to tell the scores of good parts apart.
    """

    def __init__(self, channels: int, sizes: SegmentationSizes) -> None:
        super().__init__()
        self.sizes = sizes
        folded = channels * (3 if sizes.difference else 2) * sizes.unshuffle**2
        widths, groups = sizes.widths, sizes.groups
        self.down = nn.ModuleList(
            double_conv(before, width, groups)
            for before, width in zip((folded, *widths), widths, strict=False)
        )
        self.up = nn.ModuleList()
        coarse = widths[-1]
        for level in reversed(range(len(widths) - 1)):
            out_channels = widths[max(level - 1, 0)]
            self.up.append(UpLevel(coarse, widths[level], out_channels, groups))
            coarse = out_channels
        self.head: nn.Conv2d = FullPrecisionConv(coarse, sizes.unshuffle**2, 3, padding=1)
        bias = self.head.bias
        assert bias is not None
        nn.init.constant_(bias, PRIOR_LOGIT)

    def forward(self, image: Tensor, reconstruction: Tensor) -> Tensor:
        inputs = [image, reconstruction]
        if self.sizes.difference:
            inputs.append((image - reconstruction).abs())
        h = torch.cat(inputs, dim=1)
        if self.sizes.unshuffle > 1:  # by 1 it would still copy
            h = F.pixel_unshuffle(h, self.sizes.unshuffle)
        skips: list[Tensor] = []
        for level, block in enumerate(self.down):
            h = block(F.max_pool2d(h, 2) if level else h)
            skips.append(h)
        skips.pop()
        for up in self.up:
            h = up(h, skips.pop())
        logits: Tensor = self.head(h)  # (B, u u, H / u, W / u)
        return F.pixel_shuffle(logits, self.sizes.unshuffle) if self.sizes.unshuffle > 1 else logits

    def fold_norms(self) -> None:
        """For inference: the same function with every batch norm folded away, a sixth faster on a
        CPU. It cannot be trained or saved afterwards.
        """
        for module in self.modules():
            if isinstance(module, ConvNorm):
                module.fold()
