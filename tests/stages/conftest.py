"""Small bundles with lively random weights: every layer contributes, nothing starts at zero."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from stages.bundle import Bundle, BundleManifest, save_bundle
from stages.model_profiles import ModelProfile, build_networks
from tiny_profile import TINY

LIVELY = replace(
    TINY,
    unet=replace(TINY.unet, unshuffle=2, resample_in_blocks=True),
    segmentation=replace(TINY.segmentation, groups=4),
)


def enliven(network: nn.Module) -> None:
    """Gives the layers that start at zero random weights, so that they change the output."""
    for parameter in network.parameters():
        if not bool(parameter.any()):
            nn.init.normal_(parameter, std=0.1)


@pytest.fixture
def tiny() -> ModelProfile:
    return LIVELY


@pytest.fixture
def make_manifest() -> Callable[..., BundleManifest]:
    def make(profile: ModelProfile = LIVELY, **changes: object) -> BundleManifest:
        entries: dict[str, object] = {
            "profile": profile,
            "channels": 3,
            "image_size_px": (64, 32),
            "noise_seed": 11,
            "preprocessing": {"gain": 1.5, "roi": [0, 0, 64, 32], "flip": False},
            "data_digest": "d1",
            "versions": {"torch": "2"},
            "validation": {"image_auroc": 0.987654321},
            "created": "2026-11-22T07:15:02Z",
        }
        return BundleManifest.model_validate({**entries, **changes})

    return make


@pytest.fixture
def make_bundle(
    tmp_path: Path, make_manifest: Callable[..., BundleManifest]
) -> Callable[..., Bundle]:
    def make(profile: ModelProfile = LIVELY, seed: int = 0, **changes: object) -> Bundle:
        manifest = make_manifest(profile, **changes)
        torch.manual_seed(seed)
        unet, segmentation = build_networks(profile, manifest.channels)
        enliven(unet)
        enliven(segmentation)
        return save_bundle(tmp_path / "bundle", manifest, unet, segmentation)

    return make


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Sets PyTorch's number of threads for one test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)
