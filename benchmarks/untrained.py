"""Networks with random weights, and images for them: speed depends on neither."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Frame
from pipeline.errors import ConfigError
from stages.acquisition.simulation import PartRenderer
from stages.bundle import Bundle, BundleManifest, save_bundle
from stages.model_profiles import ModelProfile, untrained_networks
from stages.preprocessing.prepare import prepare

PARADIGM = "norm_guided"
DRAWN = 8
"""Different images; larger batches repeat them."""
SMALLEST_PX = 128
"""Side of a simulated part."""
SIDE_STEP_PX = 32
"""What the preprocessing brings images to multiples of."""


def norm_guided(bundle: Bundle) -> Bundle:
    """The bundle with norm guidance as its own paradigm."""
    return replace(bundle, manifest=bundle.manifest.model_copy(update={"paradigm": PARADIGM}))


def untrained_bundle(profile: ModelProfile, side_px: int, folder: Path) -> Bundle:
    """`untrained_networks` for square RGB images, written to `folder`.

    Raises ConfigError for a side that is no multiple of what profile and preprocessing take.
    """
    step = math.lcm(profile.multiple_of_px, SIDE_STEP_PX)
    if side_px % step:
        raise ConfigError(f"--input-px {side_px}: profile {profile.name} takes multiples of {step}")
    manifest = BundleManifest(
        profile=profile,
        channels=3,
        image_size_px=(side_px, side_px),
        noise_seed=1,
        paradigm=PARADIGM,
        data_digest="0" * 16,
        versions={},
        created="2026-01-01T00:00:00+00:00",
    )
    return save_bundle(folder, manifest, *untrained_networks(profile, 3))


def drawn_images(bundle: Bundle, count: int) -> NDArray[np.uint8]:
    """Simulated parts (count, H, W, C) uint8, prepared for the bundle; DRAWN different ones."""
    height, width = bundle.manifest.image_size_px
    size = (max(SMALLEST_PX, height), max(SMALLEST_PX, width))
    renderer = PartRenderer("moulded_cap", size, seed=3, defect_share=0.5)
    colour = "grey" if bundle.manifest.channels == 1 else "rgb"
    frame = Frame.model_validate(
        {"colour": colour, "bit_depth": 8, "size_px": "any", "input_px": (height, width)}
    )
    parts = [renderer.render(number).image for number in range(min(count, DRAWN))]
    images = np.stack([prepare(part, frame, SMALLEST_PX).image for part in parts])
    return images[np.arange(count) % len(images)]
