"""The smallest profile with everything that a profile has; other tests change what they need."""

from __future__ import annotations

from stages.model_profiles import ModelProfile
from stages.reconstruction.unet import UNetSizes
from stages.segmentation.network import SegmentationSizes

TINY = ModelProfile(
    name="tiny",
    unet=UNetSizes(
        width=8,
        multipliers=(1, 2),
        blocks_per_level=1,
        attention_levels=(1,),
        heads=2,
        groups=4,
        unshuffle=4,
        resample_in_blocks=False,
    ),
    segmentation=SegmentationSizes(widths=(8, 16), unshuffle=2, groups=0, difference=True),
)
