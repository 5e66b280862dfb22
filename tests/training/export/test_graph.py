from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from evaluation.reference import EagerReference
from stages.bundle import Bundle, save_bundle
from stages.exposure import exposure_gain
from stages.reconstruction.paradigms import PARADIGMS
from training.export.graph import EXPORTED, InspectionGraph, lower_median

Changed = Callable[..., Bundle]


@pytest.fixture
def changed(lively: Bundle, tmp_path: Path) -> Changed:
    """The lively bundle without its surface model, its manifest changed."""

    def change(**changes: object) -> Bundle:
        manifest = lively.manifest.model_copy(update=changes)
        return save_bundle(tmp_path / "changed", manifest, *lively.networks())

    return change


def compare(bundle: Bundle, paradigm: str, images: np.ndarray) -> None:
    """The graph gives what the reference gives, image by image."""
    with torch.inference_mode():
        scores, maps, reconstructions = InspectionGraph(bundle, paradigm)(torch.from_numpy(images))
    plain = EagerReference(bundle, "cpu", PARADIGMS[paradigm])
    found = [plain.inspect(image) for image in images]
    np.testing.assert_allclose(scores, [one.score for one in found], rtol=1e-5)
    np.testing.assert_allclose(maps, [one.anomaly_map for one in found], atol=1e-3)
    np.testing.assert_allclose(reconstructions, [one.reconstruction for one in found], atol=2e-3)


@pytest.mark.parametrize("paradigm", EXPORTED)
def test_it_is_the_references_inspection(lively: Bundle, images: np.ndarray, paradigm: str) -> None:
    compare(lively, paradigm, images)


def test_neither_exposure_nor_surface_is_made_up(changed: Changed, images: np.ndarray) -> None:
    compare(changed(exposure_level=None), "norm_guided", images)


def test_exposure_and_surface_matter(lively: Bundle, changed: Changed, images: np.ndarray) -> None:
    def scores(bundle: Bundle) -> np.ndarray:
        with torch.inference_mode():
            return np.asarray(InspectionGraph(bundle, "norm_guided")(torch.from_numpy(images))[0])

    with_both, as_is, no_surface = (
        scores(bundle) for bundle in (lively, changed(exposure_level=None), changed())
    )
    assert np.abs(with_both - no_surface).max() > 1e-3
    assert np.abs(as_is - no_surface).max() > 1e-4


@pytest.mark.parametrize("pixels", [1, 2, 7, 48])
def test_its_median_is_that_of_the_engines(pixels: int) -> None:
    frames = torch.from_numpy(
        np.random.default_rng(pixels).integers(0, 256, (6, 1, 1, pixels), dtype=np.uint8)
    )
    frames[0] = 0
    frames[1, ..., : pixels // 2] = 200
    assert lower_median(frames).tolist() == frames.flatten(1).median(dim=1).values.tolist()
    gains = exposure_gain(frames, 110.0)
    assert gains is not None
    assert gains[0].item() == 4.0
