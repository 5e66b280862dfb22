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
from stages.segmentation.surface import CELL_PX, SurfaceModel, measures
from training.surface import fitted, scaled

LEVEL = 110.0
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


def farthest(model: SurfaceModel, images: np.ndarray) -> np.ndarray:
    return model.distances(seen(images)).flatten(1).amax(dim=1).numpy()


def test_distances_are_in_standard_deviations_of_good_parts() -> None:
    """Above they are by 8 grey levels darker or lighter than below."""
    model, fresh = fitted(parts(300), None), parts(100, seed=1)

    def squares(images: np.ndarray) -> float:
        away = measures(seen(images)) - model.mean
        whitened = torch.einsum("brsi,rsij->brsj", away, model.whitening)
        return whitened.square().sum(dim=-1).mean().item()

    tilted = np.clip(fresh + 24 * HALVES[:, None, None], 0, 255).astype(np.uint8)
    assert 1 < squares(fresh) < 4  # of four measures, three of which say much the same
    assert squares(tilted) - squares(fresh) == pytest.approx(3**2, rel=0.2)
    assert squares(fresh + 12) == pytest.approx(squares(fresh), rel=0.05)  # lighter as a whole


def test_an_area_that_is_duller_than_on_good_parts_is_far_away_there() -> None:
    model, (good, dull) = fitted(parts(100), None), parts(2, seed=2)
    area = np.s_[16:64, 48:96]
    dull[area] = cv2.GaussianBlur(dull[..., 0], (0, 0), 1.5)[area][..., None]

    distances = model.distances(seen(np.stack([good, dull])))

    row, column = divmod(int(distances[1].argmax()), 96 // CELL_PX)
    assert distances[1].max() > 3 * distances[0].max()
    assert 16 <= (row + 0.5) * CELL_PX < 64
    assert 48 <= (column + 0.5) * CELL_PX < 96


def test_a_part_that_lies_the_other_way_round_is_far_away() -> None:
    model, fresh = fitted(parts(100), None), parts(10, seed=3)
    nearness = np.median(farthest(model, fresh))
    assert np.median(farthest(model, fresh[:, :, ::-1].copy())) > 2 * nearness


def test_parts_without_any_spread_are_not_far_for_a_grey_level() -> None:
    flat = np.full((30, 64, 64, 3), 20, np.uint8)
    model = fitted(flat, None)
    lighter = flat[:1].copy()
    lighter[:, :32] += 2  # a grey level away from the mean in three channels, and a step between
    assert farthest(model, flat[:1]).item() == pytest.approx(0, abs=0.05)
    # The step over two grey levels is about eight of the least deviations that are believed.
    assert np.sqrt(3) < farthest(model, lighter).item() < 8


def test_measures_are_those_at_the_exposure_that_the_networks_see() -> None:
    images = parts(60)
    dark = images // 2
    across = {
        name: fitted(shown, level).mean[0, -1, 0].item()
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

    gains = LEVEL / np.median(held_out, axis=(1, 2, 3))
    evened = (
        torch.from_numpy(held_out).permute(0, 3, 1, 2)
        * torch.from_numpy(gains)[:, None, None, None]
    )
    distances = model.distances((evened / 127.5 - 1).float()).flatten(1).amax(dim=1)
    by_surface = (model.offset + model.slope * distances.log()).numpy()
    assert model.slope > 0
    assert np.median(by_surface) == pytest.approx(
        np.median(by_network), abs=0.1 * float(by_network.std())
    )
    tenths = [np.quantile(x, 0.9) - np.quantile(x, 0.1) for x in (by_surface, by_network)]
    assert tenths[0] == pytest.approx(tenths[1], rel=0.1)
