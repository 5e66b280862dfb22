from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from stages.segmentation.surface import CELL_PX, SurfaceModel, anomaly_map, measures


def pictures(count: int, channels: int, height: int = 64, width: int = 48) -> np.ndarray:
    """(N, C, H, W) grey levels."""
    rng = np.random.default_rng(channels)
    return rng.integers(0, 256, (count, channels, height, width)).astype(np.float64)


def seen(levels: np.ndarray) -> Tensor:
    return torch.from_numpy(levels).float() / 127.5 - 1


def random_model(channels: int, size_px: tuple[int, int] = (64, 48)) -> SurfaceModel:
    generator = torch.Generator().manual_seed(2)
    model = SurfaceModel(channels, size_px)
    for buffer in (model.mean, model.whitening):
        buffer.copy_(torch.randn(buffer.shape, generator=generator))
    model.slope.fill_(0.5)
    model.offset.fill_(-2.0)
    return model


@pytest.mark.parametrize("channels", [1, 3])
def test_measures_are_those_of_each_cell_less_those_of_the_image(channels: int) -> None:
    levels = pictures(2, channels)

    found = measures(seen(levels)).numpy()

    grey = (levels - 127.5).mean(axis=1)
    across = np.abs(np.diff(grey, axis=2, append=grey[:, :, -1:]))
    down = np.abs(np.diff(grey, axis=1, append=grey[:, -1:]))
    of_cells = np.empty((2, 8, 6, channels + 3))
    for row in range(8):
        for column in range(6):
            y, x = row * CELL_PX, column * CELL_PX
            cell = np.s_[..., y : y + CELL_PX, x : x + CELL_PX]
            contrasts = [
                grey[cell].std(axis=(1, 2)),
                *(d[cell].mean((1, 2)) for d in (across, down)),
            ]
            of_cells[:, row, column, :channels] = levels[cell].mean(axis=(2, 3))
            of_cells[:, row, column, channels:] = np.log(np.stack(contrasts, axis=-1) + 0.5)
    expected = of_cells - of_cells.mean(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_a_distance_is_mahalanobis() -> None:
    """The oracle inverts a covariance; the model has the Cholesky factor of the inverse."""
    model, images = random_model(1), seen(pictures(2, 1))
    root = np.random.default_rng(0).normal(size=(8, 6, 4, 4))
    covariance = root @ root.swapaxes(-1, -2) + np.eye(4)
    factor = np.linalg.cholesky(np.linalg.inv(covariance))
    model.whitening.copy_(torch.from_numpy(factor))

    found = model.distances(images).numpy()

    away = (measures(images) - model.mean).double().numpy()
    squares = np.einsum("brsi,rsij,brsj->brs", away, np.linalg.inv(covariance), away)
    np.testing.assert_allclose(found, np.sqrt(squares), rtol=1e-4)


def test_logits_follow_the_distances_over_the_whole_image() -> None:
    model, images = random_model(3), seen(pictures(3, 3))

    logits = model(images)

    assert logits.shape == (3, 64, 48)
    assert logits.dtype == torch.float32
    expected = -2.0 + 0.5 * model.distances(images).log()
    middles = logits[:, CELL_PX // 2 :: CELL_PX, CELL_PX // 2 :: CELL_PX]
    assert torch.allclose(middles, expected, atol=0.08 * float(expected.max() - expected.min()))
    assert float(logits.min()) >= float(expected.min()) - 1e-5
    assert float(logits.max()) <= float(expected.max()) + 1e-5


def test_an_image_has_its_logits_whatever_batch_and_precision_it_comes_in() -> None:
    model, images = random_model(3), seen(pictures(5, 3))
    together = model(images)
    alone = torch.cat([model(image[None]) for image in images])
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model(images)
    assert torch.equal(together, alone)
    assert torch.equal(together, rounded)


@pytest.mark.parametrize("level", [0.0, 255.0])
def test_a_blank_image_has_finite_logits(level: float) -> None:
    assert bool(random_model(1)(seen(np.full((1, 1, 64, 48), level))).isfinite().all())


def test_the_odds_of_network_and_surface_add_up() -> None:
    model, images = random_model(1), seen(pictures(2, 1))
    logits = torch.linspace(-9, 9, 2 * 64 * 48).reshape(2, 64, 48)

    together = anomaly_map(logits, model, images).double()

    odds = logits.double().exp() + model(images).double().exp()
    assert torch.allclose(together, odds / (1 + odds), atol=1e-6)
    assert torch.equal(anomaly_map(logits, None, images), logits.sigmoid())
