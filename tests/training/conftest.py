"""A profile small enough to train within a test, textured images of good parts, and a line."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml

from pipeline.config_file import line_file
from stages.model_profiles import PROFILES, ModelProfile
from tiny_profile import TINY
from training.images import ImageSet, image_set


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny() -> ModelProfile:
    return TINY


@pytest.fixture
def tiny_profile(tiny: ModelProfile, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setitem(PROFILES, "tiny", tiny)
    return "tiny"


@pytest.fixture
def tiny_as_compact(tiny_profile: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a command trains unless it is told another profile."""
    monkeypatch.setitem(PROFILES, "compact", PROFILES[tiny_profile])


@pytest.fixture(scope="session")
def normals() -> np.ndarray:
    return brushed_parts()


def brushed_parts() -> np.ndarray:
    """(32, 64, 64, 1) uint8: a gradient with vertical brushing, a little different each time."""
    rng = np.random.default_rng(5)
    ramp = np.linspace(90, 150, 64)[:, None] + 8 * rng.standard_normal((32, 1, 64))
    noise = 3 * rng.standard_normal((32, 64, 64))
    return np.clip(ramp + noise, 0, 255).astype(np.uint8)[..., None]


@pytest.fixture
def good_parts(normals: np.ndarray) -> ImageSet:
    return image_set(normals, [f"part {i}" for i in range(len(normals))])


@pytest.fixture
def line(tmp_path: Path, normals: np.ndarray) -> Path:
    """The configuration of a folder line of 64 px, with 28 images of good parts in `parts`."""
    parts = tmp_path / "parts"
    parts.mkdir()
    for i, image in enumerate(normals[:28]):
        cv2.imwrite(str(parts / f"{i:02d}.png"), image)
    data = yaml.safe_load(line_file(1).read_text())
    data["frame"]["input_px"] = [64, 64]
    data["model"]["bundle"] = str(tmp_path / "bundle")
    path = tmp_path / "line_1.yaml"
    path.write_text(yaml.safe_dump(data))
    return path
