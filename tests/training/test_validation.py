from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.errors import InputError
from stages.bundle import BundleManifest, save_bundle
from stages.model_profiles import PROFILES, build_networks
from training.synthesis import AnomalyKind, Synthesizer
from training.validation import ValidationSet, figures, validate, validation_set

KINDS = (AnomalyKind.BLOB, AnomalyKind.SCRATCH)


def painted_set(normals: np.ndarray, seed: int = 0) -> ValidationSet:
    return validation_set(normals[:6], None, Synthesizer(KINDS), KINDS, seed)


def test_each_normal_comes_untouched_and_twice_painted(normals: np.ndarray) -> None:
    images = painted_set(normals)

    assert np.array_equal(images.images[:6], normals[:6])
    assert not images.masks[:6].any()
    assert images.kinds[:6] == ("",) * 6
    assert images.kinds[6:].count("blob") == 6
    assert images.kinds[6:].count("scratch") == 6
    assert images.masks[6:].any(axis=(1, 2)).all()
    assert images.images.dtype == np.uint8


def test_parts_on_which_no_defect_shows_are_an_input_error() -> None:
    plain = np.full((4, 64, 64, 1), 120, np.uint8)
    kinds = (AnomalyKind.DUPLICATE,)

    with pytest.raises(InputError, match=r"kinds of defects \(duplicate\) shows.*--option kinds"):
        validation_set(plain, None, Synthesizer(kinds), kinds, seed=0)


def test_the_set_repeats_for_a_seed(normals: np.ndarray) -> None:
    first, again, other = (painted_set(normals, seed).images for seed in (1, 1, 2))

    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_perfect_scores_and_maps_give_figures_of_one(normals: np.ndarray) -> None:
    images = painted_set(normals)

    perfect = figures(images.masks.any(axis=(1, 2)) * 1.0, images.masks.astype(np.float16), images)

    assert (perfect.image_auroc, perfect.image_ap, perfect.merit) == (1.0, 1.0, 1.0)
    assert perfect.auroc_of_kind == {"blob": 1.0, "scratch": 1.0}


def test_figures_tell_the_kinds_apart(normals: np.ndarray) -> None:
    images = painted_set(normals)
    score = {"": 0.5, "blob": 1.0, "scratch": 0.0}

    mixed = figures(
        np.array([score[kind] for kind in images.kinds]), images.masks.astype(np.float16), images
    )

    assert mixed.auroc_of_kind == {"blob": 1.0, "scratch": 0.0}
    assert mixed.image_auroc == pytest.approx(0.5)


def test_validation_scores_a_bundle_the_same_each_time(
    normals: np.ndarray, tiny_profile: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    manifest = BundleManifest(
        profile=PROFILES[tiny_profile],
        channels=1,
        image_size_px=(64, 64),
        noise_seed=0,
        data_digest="0" * 16,
        versions={},
        created="2026-01-01T00:00:00+00:00",
    )
    bundle = save_bundle(tmp_path / "bundle", manifest, *build_networks(manifest.profile, 1))

    first, again = (validate(bundle, painted_set(normals), "cpu") for _ in range(2))

    assert first == again
    assert 0.0 <= first.image_auroc <= 1.0
