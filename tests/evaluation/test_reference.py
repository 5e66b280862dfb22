from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from evaluation.reference import EagerReference, on_threads
from stages.bundle import Bundle, load_bundle, save_bundle
from stages.inspector import Inspector
from stages.model_profiles import build_networks
from stages.reconstruction.paradigms import PARADIGMS
from surfaces import random_surface

IMAGES = np.random.default_rng(5).integers(0, 256, (3, 64, 64, 1), dtype=np.uint8)


@pytest.fixture
def bundle(tiny_line: Path, tmp_path: Path) -> Bundle:
    return lively(tiny_line, tmp_path)


def lively(tiny_line: Path, folder: Path, **changes: object) -> Bundle:
    """The line's bundle with random weights in every layer, so that all of them matter."""
    manifest = load_bundle(tiny_line.parent / "bundle").manifest.model_copy(update=changes)
    torch.manual_seed(3)
    networks = build_networks(manifest.profile, manifest.channels)
    for parameter in (one for network in networks for one in network.parameters()):
        if not bool(parameter.any()):
            nn.init.normal_(parameter, std=0.1)
    return save_bundle(folder / "lively", manifest, *networks)


@pytest.mark.parametrize("paradigm", ["norm_guided", "one_step", "ddim"])
def test_it_is_the_engines_score_up_to_rounding(bundle: Bundle, paradigm: str) -> None:
    fast = Inspector(bundle, "cpu", "float32", paradigm).inspect(IMAGES)
    plain = EagerReference(bundle, "cpu", PARADIGMS[paradigm])
    for image, score, anomaly_map in zip(IMAGES, fast.scores, fast.anomaly_maps, strict=True):
        found = plain.inspect(image)
        assert found.score == pytest.approx(float(score), abs=1e-5)
        assert found.anomaly_map.dtype == np.float16
        assert found.anomaly_map.shape == (64, 64)
        np.testing.assert_allclose(found.anomaly_map, anomaly_map, atol=2e-3)


def test_exposure_is_evened_as_in_the_engines(tiny_line: Path, tmp_path: Path) -> None:
    bundle = lively(tiny_line, tmp_path, exposure_level=110.0)
    dark = IMAGES // 4
    fast = Inspector(bundle, "cpu", "float32").inspect(dark).scores
    plain = EagerReference(bundle, "cpu", PARADIGMS["norm_guided"])
    found = [plain.inspect(image).score for image in dark]
    np.testing.assert_allclose(found, fast, atol=1e-5)


def test_the_surface_model_counts_as_in_the_engines(bundle: Bundle) -> None:
    surface = random_surface(1, (64, 64), slope=0.02)
    with_surface = save_bundle(bundle.folder, bundle.manifest, *bundle.networks(), surface)
    without = Inspector(bundle, "cpu", "float32").inspect(IMAGES).scores
    fast = Inspector(with_surface, "cpu", "float32").inspect(IMAGES).scores
    plain = EagerReference(with_surface, "cpu", PARADIGMS["norm_guided"])
    found = [plain.inspect(image).score for image in IMAGES]
    np.testing.assert_allclose(found, fast, atol=1e-5)
    assert (fast > without + 0.01).all()


def test_threads_are_as_before_afterwards() -> None:
    before = torch.get_num_threads()
    with on_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
