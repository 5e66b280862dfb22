"""The sizes of networks that the profiles for a CPU are chosen from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from stages.model_profiles import COMPACT, TEXTURE, ModelProfile


def _scaled(name: str, factor: float) -> ModelProfile:
    """`compact` with all its widths times `factor`, still multiples of the norms' groups."""
    unet, segmentation = COMPACT.unet, COMPACT.segmentation
    widths = tuple(_width(width, factor, segmentation.groups) for width in segmentation.widths)
    return replace(
        COMPACT,
        name=name,
        unet=replace(unet, width=_width(unet.width, factor, unet.groups)),
        segmentation=replace(segmentation, widths=widths),
    )


def _width(width: int, factor: float, groups: int) -> int:
    step = max(groups, 2)  # the time embedding needs an even number
    return max(step, round(width * factor / step) * step)


def _fine() -> ModelProfile:
    """`compact` with a U-Net that folds half as many pixels a side, and so sees four times more."""
    return replace(
        COMPACT,
        name="fine",
        unet=replace(COMPACT.unet, unshuffle=max(1, COMPACT.unet.unshuffle // 2)),
    )


SIZES: Mapping[str, ModelProfile] = MappingProxyType(
    {
        profile.name: profile
        for profile in (
            _scaled("tiny", 0.5),
            _scaled("small", 0.75),
            COMPACT,
            TEXTURE,
            _scaled("wide", 1.5),
            _fine(),
        )
    }
)
"""From the cheapest to the dearest."""
