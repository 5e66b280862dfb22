from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from training.augment import ViewSource
from training.painting import Painter
from training.pool import PoolState, ReconstructionPool, Samples
from training.randomness import Randomness
from training.settings import TrainingSettings
from training.synthesis import Synthesizer


class Restorer:
    """A reconstruction that can be told from its image, and a count of the images it was asked."""

    def __init__(self) -> None:
        self.images = 0

    def __call__(self, images: Tensor, number: int) -> Tensor:
        self.images += len(images)
        return -images


def pool_of(normals: np.ndarray, restorer: Restorer, **changes: object) -> ReconstructionPool:
    plain = {"steps": 10, "crop_px": 32, "pool_images": 12, "pool_batch_size": 6}
    entries = {**plain, "pool_whole_share": 0.0, **changes}
    settings = TrainingSettings.model_validate(entries)
    painter = Painter(ViewSource(normals, settings), Synthesizer(), Randomness(0))
    return ReconstructionPool(painter, restorer, settings)


def drawn(pool: ReconstructionPool, rng: np.random.Generator) -> Samples:
    pool.renew(rng)
    return pool.draw(rng)


def test_crops_of_image_reconstruction_and_mask_belong_together(normals: np.ndarray) -> None:
    samples = drawn(pool_of(normals, Restorer()), np.random.default_rng(0))

    assert samples.images.shape == samples.reconstructions.shape == (6, 1, 32, 32)
    assert samples.masks.shape == (6, 1, 32, 32)
    assert torch.equal(samples.reconstructions, -samples.images)
    assert samples.images.abs().max() <= 1
    assert set(samples.masks.unique().tolist()) <= {0.0, 1.0}


def test_a_quarter_of_the_pool_stays_normal(normals: np.ndarray) -> None:
    pool = pool_of(normals, Restorer(), pool_whole_share=1.0, pool_batch_size=96, pool_refresh=0.0)

    rng = np.random.default_rng(0)
    for _ in range(3):
        samples = drawn(pool, rng)

    anomalous = samples.masks.amax(dim=(1, 2, 3))
    assert 0.5 < anomalous.mean().item() < 0.95


def test_whole_images_are_drawn_in_their_share(normals: np.ndarray) -> None:
    pool, rng = pool_of(normals, Restorer(), pool_whole_share=0.5), np.random.default_rng(1)

    sides = [drawn(pool, rng).images.shape[-1] for _ in range(60)]

    assert sides.count(64) == pytest.approx(30, abs=12)
    assert sides.count(32) == 60 - sides.count(64)


def test_no_crop_is_cut_from_a_region_that_only_the_whole_image_shows(
    normals: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.synthesis.SEVERAL_SHARE", 0.0)
    pool, rng = pool_of(normals, Restorer()), np.random.default_rng(5)
    crops = [drawn(pool, rng) for _ in range(12)]
    uncut, rng = pool_of(normals, Restorer(), pool_whole_share=1.0), np.random.default_rng(5)
    wholes = [drawn(uncut, rng) for _ in range(12)]

    assert any(samples.masks.max() == 1.0 for samples in wholes)
    assert all(samples.masks.max() == 0.0 for samples in crops)


@pytest.mark.parametrize(("refresh", "expected"), [(0.0, 12), (1.0, 12 + 17 * 4)])
def test_the_pool_is_filled_once_and_then_refreshed(
    normals: np.ndarray, refresh: float, expected: int
) -> None:
    restorer = Restorer()
    pool, rng = pool_of(normals, restorer, pool_refresh=refresh), np.random.default_rng(2)

    for _ in range(20):
        drawn(pool, rng)

    assert restorer.images == expected


@pytest.mark.parametrize("renewals", [2, 3, 8])
def test_a_pool_is_restored_from_the_numbers_of_its_batches(
    normals: np.ndarray, renewals: int
) -> None:
    pool, rng = pool_of(normals, Restorer(), pool_refresh=1.0), np.random.default_rng(3)
    pool.renew(rng)
    pool.empty()
    for _ in range(renewals):
        pool.renew(rng)
    restorer = Restorer()
    again = pool_of(normals, restorer)
    again.restore(pool.state)

    assert restorer.images == 4 * min(renewals, 3)
    assert again.state == pool.state
    for seed in range(5):
        one, other = (p.draw(np.random.default_rng(seed)) for p in (pool, again))
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.masks, other.masks)


def test_an_emptied_pool_paints_new_images(normals: np.ndarray) -> None:
    pool, rng = pool_of(normals, Restorer()), np.random.default_rng(4)
    first = drawn(pool, rng)
    pool.empty()
    second = drawn(pool, rng)

    assert pool.state == PoolState(first=1, following=2)
    assert not torch.equal(first.images, second.images)
