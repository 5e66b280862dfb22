from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from training.augment import ViewSource
from training.pool import ReconstructionPool
from training.settings import TrainingSettings
from training.synthesis import Synthesizer


class Restorer:
    """A reconstruction that can be told from its image, and a count of the images it was asked."""

    def __init__(self) -> None:
        self.images = 0

    def __call__(self, images: Tensor) -> Tensor:
        self.images += len(images)
        return -images


def pool_of(normals: np.ndarray, restorer: Restorer, **changes: object) -> ReconstructionPool:
    entries = {"steps": 10, "crop_px": 32, "pool_images": 12, "pool_whole_share": 0.0, **changes}
    settings = TrainingSettings.model_validate(entries)
    return ReconstructionPool(ViewSource(normals, settings), Synthesizer(), restorer, settings)


def test_crops_of_image_reconstruction_and_mask_belong_together(normals: np.ndarray) -> None:
    samples = pool_of(normals, Restorer()).draw(np.random.default_rng(0))

    assert samples.images.shape == samples.reconstructions.shape == (4, 1, 32, 32)
    assert samples.masks.shape == (4, 1, 32, 32)
    assert torch.equal(samples.reconstructions, -samples.images)
    assert samples.images.abs().max() <= 1
    assert set(samples.masks.unique().tolist()) <= {0.0, 1.0}


def test_a_quarter_of_the_pool_stays_normal(normals: np.ndarray) -> None:
    pool = pool_of(normals, Restorer(), pool_whole_share=1.0, batch_size=96, pool_refresh=0.0)

    rng = np.random.default_rng(0)
    for _ in range(3):
        samples = pool.draw(rng)

    anomalous = samples.masks.amax(dim=(1, 2, 3))
    assert 0.5 < anomalous.mean().item() < 0.95


def test_whole_images_are_drawn_in_their_share(normals: np.ndarray) -> None:
    pool, rng = pool_of(normals, Restorer(), pool_whole_share=0.5), np.random.default_rng(1)

    sides = [pool.draw(rng).images.shape[-1] for _ in range(60)]

    assert sides.count(64) == pytest.approx(30, abs=12)
    assert sides.count(32) == 60 - sides.count(64)


def test_whole_images_are_there_for_whoever_wants_no_crops(normals: np.ndarray) -> None:
    samples = pool_of(normals, Restorer()).draw_whole(np.random.default_rng(0))

    assert samples.images.shape == (4, 1, 64, 64)
    assert torch.equal(samples.reconstructions, -samples.images)


@pytest.mark.parametrize(("refresh", "expected"), [(0.0, 12), (1.0, 12 + 17 * 4)])
def test_the_pool_is_filled_once_and_then_refreshed(
    normals: np.ndarray, refresh: float, expected: int
) -> None:
    restorer = Restorer()
    pool, rng = pool_of(normals, restorer, pool_refresh=refresh), np.random.default_rng(2)

    for _ in range(20):
        pool.draw(rng)

    assert restorer.images == expected
