"""A profile small enough to train within a test, and textured images of good parts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stages.model_profiles import PROFILES, ModelProfile
from stages.reconstruction.unet import UNetSizes
from stages.segmentation.network import SegmentationSizes
from training.images import ImageSet, image_set

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


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def tiny_profile(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setitem(PROFILES, "tiny", TINY)
    return "tiny"


@pytest.fixture
def normals() -> np.ndarray:
    """(32, 64, 64, 1) uint8: a gradient with vertical brushing, a little different each time."""
    rng = np.random.default_rng(5)
    ramp = np.linspace(90, 150, 64)[:, None] + 8 * rng.standard_normal((32, 1, 64))
    noise = 3 * rng.standard_normal((32, 64, 64))
    return np.clip(ramp + noise, 0, 255).astype(np.uint8)[..., None]


@pytest.fixture
def good_parts(normals: np.ndarray) -> ImageSet:
    return image_set(normals, [f"part {i}" for i in range(len(normals))])
