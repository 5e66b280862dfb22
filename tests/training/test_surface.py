from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from stages.bundle import Bundle, BundleManifest, save_bundle
from stages.exposure import to_network_range
from stages.inspector import Inspector
from stages.model_profiles import ModelProfile, build_networks
from stages.segmentation.surface import CELLS_PX, EXPLAINED_FROM_PX, CellModel, measures
from training.surface import PARTS_PER_COMPONENT, farthest_cells, fitted, scaled

LEVEL = 110.0
CELL_PX = CELLS_PX[0]
HALVES = np.where(np.arange(96) < 48, -1.0, 1.0)


def parts(count: int, seed: int = 0) -> np.ndarray:
    """(N, 96, 96, 1) uint8: rougher and lighter from left to right, each a little different: as a
    whole, and with a standard deviation of 8 grey levels in how light it is above and below.
    """
    rng = np.random.default_rng(seed)
    across = np.linspace(0, 1, 96)
    level = 80 + 60 * across + rng.normal(0, 4, (count, 1, 1))
    level = level + rng.normal(0, 8, (count, 1, 1)) * HALVES[:, None]
    noise = (
        rng.normal(0, 1, (count, 96, 96)) * (4 + 10 * across) * rng.uniform(0.8, 1.2, (count, 1, 1))
    )
    return np.clip(np.rint(level + noise), 0, 255).astype(np.uint8)[..., None]


def seen(images: np.ndarray) -> Tensor:
    return to_network_range(torch.from_numpy(images).permute(0, 3, 1, 2), None)


def small_cells(images: np.ndarray) -> CellModel:
    (model,) = fitted(images, None, (CELL_PX,)).sizes
    return model


def larger_cells(images: np.ndarray, components: int) -> CellModel:
    (model,) = fitted(images, None, (EXPLAINED_FROM_PX,), components).sizes
    assert len(model.components) == components
    return model


def farthest(model: CellModel, images: np.ndarray) -> np.ndarray:
    return model.distances(seen(images)).flatten(1).amax(dim=1).numpy()


def tilted(images: np.ndarray, levels: float, columns: slice = np.s_[:]) -> np.ndarray:
    """Lighter below and darker above."""
    shown = images.astype(float)
    shown[:, :, columns] += levels * HALVES[:, None, None]
    return np.clip(shown, 0, 255).astype(np.uint8)


def test_distances_are_in_standard_deviations_of_good_parts() -> None:
    """Above they are by 8 grey levels darker or lighter than below."""
    model, fresh = small_cells(parts(300)), parts(100, seed=1)

    def squares(images: np.ndarray) -> float:
        away = measures(seen(images), CELL_PX) - model.mean
        whitened = torch.einsum("brsi,rsij->brsj", away, model.whitening)
        return whitened.square().sum(dim=-1).mean().item()

    assert 1 < squares(fresh) < 4.5  # of four measures, three of which say much the same
    assert squares(tilted(fresh, 24)) - squares(fresh) == pytest.approx(3**2, rel=0.2)
    assert squares(fresh + 12) == pytest.approx(squares(fresh), rel=0.05)  # lighter as a whole


def test_what_good_parts_share_as_a_whole_is_taken_away() -> None:
    """Each is lighter below or above as a whole; a part that is so on one side only is not one."""
    fresh = parts(40, seed=1)
    whole, one_side = tilted(fresh, 24), tilted(fresh, 24, np.s_[:32])
    plain, knowing = (larger_cells(parts(300), components) for components in (0, 20))

    def told(model: CellModel, images: np.ndarray) -> float:
        return float(np.median(farthest(model, images)) / np.median(farthest(model, fresh)))

    assert told(plain, whole) > 1.3
    assert told(knowing, whole) < 1.1
    assert told(knowing, one_side) > 1.5 * told(plain, one_side)


def test_components_are_orthonormal_and_there_is_one_for_every_few_parts() -> None:
    for model in fitted(parts(60), None).sizes:
        products = (model.components @ model.components.T).double()
        most = model.mean.numel() // 4 if model.cell_px >= EXPLAINED_FROM_PX else 0
        assert len(products) == min(60 // PARTS_PER_COMPONENT, most)
        assert torch.allclose(products, torch.eye(len(products)).double(), atol=1e-5)


def test_components_that_few_parts_do_not_have_explain_nothing() -> None:
    model = larger_cells(np.repeat(parts(3), 40, axis=0), components=30)
    assert (model.components.norm(dim=1) > 0.5).sum() == 2  # of three points about their mean
    assert bool(model.distances(seen(parts(2, seed=5))).isfinite().all())


def test_an_area_that_is_duller_than_on_good_parts_is_far_away_there() -> None:
    model, (good, dull) = small_cells(parts(100)), parts(2, seed=2)
    area = np.s_[16:64, 48:96]
    dull[area] = cv2.GaussianBlur(dull[..., 0], (0, 0), 1.5)[area][..., None]

    distances = model.distances(seen(np.stack([good, dull])))

    row, column = divmod(int(distances[1].argmax()), 96 // CELL_PX)
    assert distances[1].max() > 3 * distances[0].max()
    assert 16 <= (row + 0.5) * CELL_PX < 64
    assert 48 <= (column + 0.5) * CELL_PX < 96


def test_a_part_that_lies_the_other_way_round_is_far_away() -> None:
    model, fresh = small_cells(parts(100)), parts(10, seed=3)
    nearness = np.median(farthest(model, fresh))
    assert np.median(farthest(model, fresh[:, :, ::-1].copy())) > 2 * nearness


def test_parts_without_any_spread_are_not_far_for_a_grey_level() -> None:
    flat = np.full((30, 64, 64, 3), 20, np.uint8)
    model = small_cells(flat)
    lighter = flat[:1].copy()
    lighter[:, :32] += 2  # a grey level away from the mean in three channels, and a step between
    assert farthest(model, flat[:1]).item() == pytest.approx(0, abs=0.05)
    # Of the least deviations that are believed, half a grey level and a fortieth of a contrast,
    # the step over two grey levels is about fifteen.
    assert np.sqrt(3) < farthest(model, lighter).item() < 16


def test_measures_are_those_at_the_exposure_that_the_networks_see() -> None:
    images = parts(60)
    dark = images // 2
    across = {
        name: fitted(shown, level).sizes[0].mean[0, -1, 0].item()
        for name, shown, level in (
            ("even", images, LEVEL),
            ("dark", dark, LEVEL),
            ("as is", dark, None),
        )
    }
    assert across["dark"] == pytest.approx(across["even"], rel=0.05)
    assert across["as is"] < 0.6 * across["even"]


@pytest.fixture
def bundle(tiny: ModelProfile, tmp_path: Path) -> Bundle:
    """Networks with random weights, whose scores differ from part to part."""
    torch.manual_seed(0)
    unet, segmentation = build_networks(tiny, 1)
    torch.nn.init.normal_(segmentation.head.weight, std=2.0)
    manifest = BundleManifest(
        profile=tiny,
        channels=1,
        image_size_px=(96, 96),
        noise_seed=0,
        exposure_level=LEVEL,
        data_digest="d",
        versions={},
        created="2026-11-22T00:00:00+00:00",
    )
    return save_bundle(tmp_path / "plain", manifest, unet, segmentation)


def test_good_parts_get_logits_as_the_networks_give_them(bundle: Bundle) -> None:
    held_out = parts(40, seed=4)
    scores = Inspector(bundle, "cpu").inspect(held_out).scores
    by_network = np.log(scores) - np.log1p(-scores)

    model = scaled(fitted(parts(100), LEVEL), bundle, held_out, "cpu")

    farthest = farthest_cells(model, held_out, LEVEL).T
    assert len(farthest) == len(model.sizes) == 3
    for cells, distances in zip(model.sizes, farthest, strict=True):
        by_surface = (cells.offset + cells.slope * distances.log()).numpy()
        assert cells.slope > 0
        assert np.median(by_surface) == pytest.approx(
            np.median(by_network), abs=0.1 * float(by_network.std())
        )
        tenths = [np.quantile(x, 0.9) - np.quantile(x, 0.1) for x in (by_surface, by_network)]
        assert tenths[0] == pytest.approx(tenths[1], rel=0.1)
