from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from stages.segmentation.surface import CELLS_PX, SurfaceModel, anomaly_map, measures
from surfaces import COMPONENTS, random_surface

CELL_PX = CELLS_PX[0]
SIZE_PX = (64, 48)


def pictures(count: int, channels: int, height: int = 64, width: int = 48) -> np.ndarray:
    """(N, C, H, W) grey levels."""
    rng = np.random.default_rng(channels)
    return rng.integers(0, 256, (count, channels, height, width)).astype(np.float64)


def seen(levels: np.ndarray) -> Tensor:
    return torch.from_numpy(levels).float() / 127.5 - 1


@pytest.mark.parametrize("channels", [1, 3])
def test_measures_are_those_of_each_cell_less_those_of_the_image(channels: int) -> None:
    levels = pictures(2, channels)

    found = measures(seen(levels), CELL_PX).numpy()

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


def test_a_distance_is_mahalanobis_of_what_the_components_leave() -> None:
    """The oracle inverts a covariance; the model has the Cholesky factor of the inverse."""
    (model,), images = random_surface(1, SIZE_PX, cells_px=(16,)).sizes, seen(pictures(2, 1))
    assert len(model.components) == COMPONENTS
    root = np.random.default_rng(0).normal(size=(4, 3, 4, 4))
    covariance = root @ root.swapaxes(-1, -2) + np.eye(4)
    factor = np.linalg.cholesky(np.linalg.inv(covariance))
    model.whitening.copy_(torch.from_numpy(factor))

    found = model.distances(images).numpy()

    scale, components = model.scale.double().numpy(), model.components.double().numpy()
    away = ((measures(images, 16) - model.mean).double().numpy() / scale).reshape(2, -1)
    shares, *_ = np.linalg.lstsq(components.T, away.T, rcond=None)
    left = (away - (components.T @ shares).T).reshape(2, 4, 3, 4) * scale
    squares = np.einsum("brsi,rsij,brsj->brs", left, np.linalg.inv(covariance), left)
    np.testing.assert_allclose(found, np.sqrt(squares), rtol=1e-4)


def test_logits_follow_the_distances_over_the_whole_image() -> None:
    (model,), images = random_surface(3, SIZE_PX, cells_px=(CELL_PX,)).sizes, seen(pictures(3, 3))

    logits = model(images)

    assert logits.shape == (3, 64, 48)
    assert logits.dtype == torch.float32
    expected = -2.0 + 0.5 * model.distances(images).log()
    middles = logits[:, CELL_PX // 2 :: CELL_PX, CELL_PX // 2 :: CELL_PX]
    neighbours = 1 - (15 / 16) ** 2  # their share half a pixel from the middle
    assert torch.allclose(
        middles, expected, atol=neighbours * float(expected.max() - expected.min())
    )
    assert float(logits.min()) >= float(expected.min()) - 1e-5
    assert float(logits.max()) <= float(expected.max()) + 1e-5


def test_the_odds_are_the_mean_of_those_by_cells_of_each_size() -> None:
    model, images = random_surface(3, (64, 64)), seen(pictures(2, 3, 64, 64))
    assert [cells.cell_px for cells in model.sizes] == list(CELLS_PX)
    odds = sum(cells(images).double().exp() for cells in model.sizes) / len(CELLS_PX)
    assert torch.allclose(model(images).double().exp(), odds, rtol=1e-5)


def test_cells_that_do_not_fill_the_image_are_left_out() -> None:
    model = SurfaceModel(1, SIZE_PX, components=1000)
    assert [cells.cell_px for cells in model.sizes] == [8, 16]
    assert [len(cells.components) for cells in model.sizes] == [0, 12], "a quarter of the measures"


def test_an_image_has_its_logits_whatever_batch_and_precision_it_comes_in() -> None:
    model, images = random_surface(3, SIZE_PX), seen(pictures(5, 3))
    together = model(images)
    alone = torch.cat([model(image[None]) for image in images])
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model(images)
    assert torch.allclose(together, alone, rtol=0, atol=1e-5)
    assert torch.equal(together, rounded)


@pytest.mark.parametrize("level", [0.0, 255.0])
def test_a_blank_image_has_finite_logits(level: float) -> None:
    assert bool(random_surface(1, SIZE_PX)(seen(np.full((1, 1, *SIZE_PX), level))).isfinite().all())


def test_the_odds_of_network_and_surface_add_up() -> None:
    model, images = random_surface(1, SIZE_PX), seen(pictures(2, 1))
    logits = torch.linspace(-9, 9, 2 * 64 * 48).reshape(2, 64, 48)

    together = anomaly_map(logits, model, images).double()

    odds = logits.double().exp() + model(images).double().exp()
    assert torch.allclose(together, odds / (1 + odds), atol=1e-6)
    assert torch.equal(anomaly_map(logits, None, images), logits.sigmoid())
