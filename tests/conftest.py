"""What the tests of several packages need: a small line with an untrained model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from pipeline.config_file import line_file, load_line, read_yaml
from stages.bundle import BundleManifest, save_bundle
from stages.model_profiles import build_networks
from stages.preprocessing.prepare import preparation_settings
from tiny_profile import TINY

FLAT = replace(
    TINY,
    unet=replace(TINY.unet, multipliers=(1, 1), attention_levels=()),
    segmentation=replace(TINY.segmentation, widths=(8, 8), groups=4),
)
"""Quick to run: as narrow at every level, and without attention."""


@pytest.fixture(scope="session")
def tiny_line(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated line with 64 px input and an untrained bundle; its configuration file."""
    folder = tmp_path_factory.mktemp("line")
    data = read_yaml(line_file(3))
    data["camera"]["size_px"] = [128, 128]
    data["frame"] |= {"colour": "grey", "size_px": [128, 128], "input_px": [64, 64]}
    data["model"] = {"bundle": "bundle", "device": "cpu"}
    data["calibration"]["folder"] = "calibration"
    path = folder / "line.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    torch.manual_seed(0)
    manifest = BundleManifest(
        profile=FLAT,
        channels=1,
        image_size_px=(64, 64),
        noise_seed=1,
        preprocessing=preparation_settings(load_line(path).frame),
        data_digest="0" * 16,
        versions={},
        created="2026-01-01T00:00:00+00:00",
    )
    save_bundle(folder / "bundle", manifest, *build_networks(FLAT, 1))
    return path
