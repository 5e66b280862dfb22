"""The denoising U-Net: predicts the noise in a noised image.

Blocks stand in reading order: time embedding, residual block, attention, the U-Net of them. The
sizes of the paper (`stages.model_profiles`) give the network of the released code: residual blocks
with an added time embedding, resampling inside residual blocks, attention at the coarse levels.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from pydantic import ConfigDict, Field, PositiveInt
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name that every torch program uses

Resampling = Literal["none", "down", "up"]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class UNetSizes:
    """Sizes of a U-Net; level 0 is the finest, after `unshuffle` folded pixels into channels."""

    width: PositiveInt
    multipliers: Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
    blocks_per_level: PositiveInt
    attention_levels: tuple[int, ...]
    heads: PositiveInt
    groups: PositiveInt
    unshuffle: PositiveInt
    resample_in_blocks: bool

    @property
    def multiple_of_px(self) -> int:
        """Height and width of an image must be multiples of this."""
        return int(self.unshuffle * 2 ** (len(self.multipliers) - 1))


class TimeEmbedding(nn.Module):
    """Sinusoids of the time step, then two linear layers: (B,) int64 -> (B, 4 width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.expand = nn.Linear(width, 4 * width)
        self.mix = nn.Linear(4 * width, 4 * width)

    def forward(self, t: Tensor) -> Tensor:
        half = self.width // 2
        rates = torch.arange(half, device=t.device, dtype=torch.float32) * (-math.log(1e4) / half)
        angles = t.to(torch.float32)[:, None] * rates.exp()  # (B, width / 2)
        waves = torch.cat((angles.sin(), angles.cos()), dim=1)  # (B, width)
        embedding: Tensor = self.mix(F.silu(self.expand(waves)))  # (B, 4 width)
        return embedding


def resample(x: Tensor, how: Resampling) -> Tensor:
    """Halves (mean) or doubles (nearest) height and width of (B, C, H, W), or leaves them."""
    if how == "down":
        return F.avg_pool2d(x, 2)
    if how == "up":
        return F.interpolate(x, scale_factor=2.0, mode="nearest")
    return x


class ResidualBlock(nn.Module):
    """Two normalised convolutions with the time step added between: (B, C, H, W) -> (B, C', ...).

    The last convolution starts at zero, so that a new network begins as the identity.
    """

    def __init__(
        self,
        channels: int,
        out_channels: int,
        sizes: UNetSizes,
        how: Resampling = "none",
    ) -> None:
        super().__init__()
        self.how = how
        self.norm_in = nn.GroupNorm(sizes.groups, channels)
        self.conv_in = nn.Conv2d(channels, out_channels, 3, padding=1)
        self.time = nn.Linear(4 * sizes.width, out_channels)
        self.norm_out = nn.GroupNorm(sizes.groups, out_channels)
        self.conv_out = _zeroed(nn.Conv2d(out_channels, out_channels, 3, padding=1))
        self.skip = (
            nn.Identity() if channels == out_channels else nn.Conv2d(channels, out_channels, 1)
        )

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        h = resample(F.silu(self.norm_in(x)), self.how)
        h = self.conv_in(h) + self.time(F.silu(time))[:, :, None, None]  # (B, C', H', W')
        h = self.conv_out(F.silu(self.norm_out(h)))
        out: Tensor = self.skip(resample(x, self.how)) + h
        return out


class Attention(nn.Module):
    """Multi-head self-attention over all positions of (B, C, H, W), added to its input.

    PyTorch's fused kernels want the channels of a position side by side in memory, which is
    channels_last; on a GPU, group norm gives the default layout whatever it is given.
    """

    def __init__(self, channels: int, sizes: UNetSizes) -> None:
        super().__init__()
        self.heads = sizes.heads
        self.norm = nn.GroupNorm(sizes.groups, channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = _zeroed(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        qkv = self.qkv(self.norm(x)).contiguous(memory_format=torch.channels_last)
        qkv = qkv.reshape(batch, 3, self.heads, -1, height * width)
        q, k, v = qkv.transpose(3, 4).unbind(
            1
        )  # each (B, heads, H W, C / heads), its last stride 1
        h = F.scaled_dot_product_attention(q, k, v)
        h = h.transpose(2, 3).reshape(batch, channels, height, width)
        out: Tensor = x + self.out(h)
        return out


class Resample(nn.Module):
    """Resampling between two levels without weights, where the sizes ask for the cheap form."""

    def __init__(self, how: Resampling) -> None:
        super().__init__()
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        return resample(x, self.how)


class Step(nn.Module):
    """One entry of the U-Net's way down or up: its blocks one after another."""

    def __init__(self, *blocks: nn.Module) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x, time) if isinstance(block, ResidualBlock) else block(x)
        return x


class UNet(nn.Module):
    """`eps_theta(x_t, t)`: (B, C, H, W) float and (B,) int64 -> predicted noise (B, C, H, W).

    H and W must be multiples of `sizes.multiple_of_px`; every output of the way down is joined
    to the way up.
    """

    def __init__(self, channels: int, sizes: UNetSizes) -> None:
        super().__init__()
        self.sizes = sizes
        folded = channels * sizes.unshuffle**2
        self.time_embedding = TimeEmbedding(sizes.width)
        self.stem = nn.Conv2d(folded, sizes.width, 3, padding=1)
        self.down, skips = _way_down(sizes)
        deepest = skips[-1]
        self.middle = Step(
            ResidualBlock(deepest, deepest, sizes),
            Attention(deepest, sizes),
            ResidualBlock(deepest, deepest, sizes),
        )
        self.up = _way_up(sizes, skips)
        finest = sizes.width * sizes.multipliers[0]
        self.norm_out = nn.GroupNorm(sizes.groups, finest)
        self.head = _zeroed(nn.Conv2d(finest, folded, 3, padding=1))

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        time = self.time_embedding(t)
        h = self.stem(F.pixel_unshuffle(x_t, self.sizes.unshuffle))  # (B, width, H / u, W / u)
        skips = [h]
        for step in self.down:
            h = step(h, time)
            skips.append(h)
        h = self.middle(h, time)
        for step in self.up:
            h = step(torch.cat((h, skips.pop()), dim=1), time)
        eps: Tensor = self.head(F.silu(self.norm_out(h)))  # (B, C u u, H / u, W / u)
        return F.pixel_shuffle(eps, self.sizes.unshuffle)


def _way_down(sizes: UNetSizes) -> tuple[nn.ModuleList, list[int]]:
    """The steps from fine to coarse, and the channels of everything that they leave as skips."""
    steps, skips = nn.ModuleList(), [sizes.width]
    for level, multiplier in enumerate(sizes.multipliers):
        out_channels = sizes.width * multiplier
        for _ in range(sizes.blocks_per_level):
            steps.append(_block_step(skips[-1], out_channels, level, sizes))
            skips.append(out_channels)
        if level < len(sizes.multipliers) - 1:
            steps.append(Step(_resampling(out_channels, sizes, "down")))
            skips.append(out_channels)
    return steps, skips


def _way_up(sizes: UNetSizes, skips: list[int]) -> nn.ModuleList:
    """The steps from coarse to fine; each takes one skip, the last of a level also doubles it."""
    steps, channels, left = nn.ModuleList(), skips[-1], list(skips)
    for level in reversed(range(len(sizes.multipliers))):
        out_channels = sizes.width * sizes.multipliers[level]
        for _ in range(sizes.blocks_per_level + 1):
            step = _block_step(channels + left.pop(), out_channels, level, sizes)
            steps.append(step)
            channels = out_channels
        if level > 0:
            step.blocks.append(_resampling(out_channels, sizes, "up"))
    return steps


def _block_step(channels: int, out_channels: int, level: int, sizes: UNetSizes) -> Step:
    block = ResidualBlock(channels, out_channels, sizes)
    if level in sizes.attention_levels:
        return Step(block, Attention(out_channels, sizes))
    return Step(block)


def _resampling(channels: int, sizes: UNetSizes, how: Resampling) -> nn.Module:
    if sizes.resample_in_blocks:
        return ResidualBlock(channels, channels, sizes, how)
    return Resample(how)


def _zeroed(conv: nn.Conv2d) -> nn.Conv2d:
    nn.init.zeros_(conv.weight)
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    return conv
