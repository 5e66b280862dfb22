from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from benchmarks.sizes import SIZES
from stages.model_profiles import COMPACT, build_networks


def weights(name: str) -> int:
    return sum(p.numel() for net in build_networks(SIZES[name], 1) for p in net.parameters())


def test_there_are_four_sizes_and_compact_is_as_it_ships() -> None:
    assert len(SIZES) >= 4
    assert SIZES["compact"] is COMPACT
    assert all(name == profile.name for name, profile in SIZES.items())


def test_widths_grow_from_tiny_to_wide() -> None:
    names = ("tiny", "small", "compact", "wide")
    counts = [weights(name) for name in names]
    assert counts == sorted(set(counts))
    assert counts[0] < counts[2] / 2
    assert counts[3] > 2 * counts[2]


def test_sizes_differ_in_their_networks_alone() -> None:
    for profile in SIZES.values():
        alike = replace(
            profile, name="compact", unet=COMPACT.unet, segmentation=COMPACT.segmentation
        )
        assert alike == COMPACT


@pytest.mark.parametrize("name", SIZES)
def test_every_size_takes_an_image(name: str) -> None:
    unet, segmentation = build_networks(SIZES[name], 1)
    image = torch.zeros(1, 1, 64, 64)
    with torch.inference_mode():
        assert unet.eval()(image, torch.tensor([200])).shape == image.shape
        assert segmentation.eval()(image, image).shape == image.shape
