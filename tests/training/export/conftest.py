"""A small bundle in which everything counts that a bundle may have, and images of all exposures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from stages.bundle import Bundle, BundleManifest, save_bundle
from stages.model_profiles import build_networks
from stages.reconstruction.paradigms import DiffusionSettings
from surfaces import random_surface
from tiny_profile import TINY
from training.export.onnx_file import write_onnx

SIZE_PX = (64, 48)

EVERYTHING = replace(
    TINY,
    segmentation=replace(TINY.segmentation, unshuffle=1),
    diffusion=DiffusionSettings(beta_end=1e-2, predicts="image"),
)


def lively_bundle(folder: Path, **changes: object) -> Bundle:
    """Random weights in every layer, a surface model, and exposure evened but for `changes`."""
    entries: dict[str, object] = {
        "profile": EVERYTHING,
        "channels": 1,
        "image_size_px": SIZE_PX,
        "noise_seed": 11,
        "exposure_level": 110.0,
        "data_digest": "d1",
        "versions": {},
        "created": "2026-11-22T07:15:02Z",
    }
    torch.manual_seed(3)
    networks = build_networks(EVERYTHING, 1)
    for parameter in (one for network in networks for one in network.parameters()):
        if not bool(parameter.any()):
            nn.init.normal_(parameter, std=0.1)
    nn.init.normal_(networks[1].head.weight, std=1.0)  # else all scores are much the same
    surface = random_surface(1, SIZE_PX, slope=0.02, offset=-3.0)
    return save_bundle(folder, BundleManifest.model_validate(entries | changes), *networks, surface)


@pytest.fixture(scope="session")
def lively(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return lively_bundle(tmp_path_factory.mktemp("lively") / "bundle")


@pytest.fixture(scope="session")
def exported(lively: Bundle) -> Path:
    """The file of it, norm-guided."""
    file = lively.folder.with_name("lively.onnx")
    write_onnx(lively, "norm_guided", file)
    return file


@pytest.fixture(scope="session")
def images() -> np.ndarray:
    """(5, 64, 48, 1) uint8: dark and light ones, two of them beyond what a gain may even out."""
    rng = np.random.default_rng(5)
    blocks = rng.integers(-20, 21, (5, 8, 6)).repeat(8, axis=1).repeat(8, axis=2)
    contrast = np.array([0.2, 1, 2, 3, 1])[:, None, None]
    medians = np.array([4, 40, 110, 150, 235])[:, None, None]
    grain = rng.integers(-10, 11, (5, *SIZE_PX))
    return np.clip(medians + contrast * blocks + grain, 0, 255).astype(np.uint8)[..., None]
