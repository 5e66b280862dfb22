"""The contrast that a surface has by itself, seen through the shape of a defect."""

from __future__ import annotations

import numpy as np
import pytest

from training import shapes, textures
from training.appearances import Place
from training.salience import natural_contrast
from training.synthesis import AnomalyKind, Synthesizer

SIDE = 128


def place_of(image: np.ndarray, region: np.ndarray) -> Place:
    box = shapes.bounds(region, 8)
    assert box is not None
    whole = np.ones(image.shape[:2], np.float32)
    cut = box.cut(region)
    return Place(image, whole, box, cut, textures.in_channels(cut, image.shape[2]))


def line(along: str, length: int = 40) -> np.ndarray:
    region = np.zeros((SIDE, SIDE), np.float32)
    start = (SIDE - length) // 2
    if along == "down":
        region[start : start + length, 64] = 1.0
    else:
        region[64, start : start + length] = 1.0
    return region


def streaked(rng: np.random.Generator) -> np.ndarray:
    """Ground metal: every column has a brightness of its own."""
    columns = 110.0 + 20.0 * rng.standard_normal((1, SIDE, 1))
    return np.repeat(columns, SIDE, axis=0).astype(np.float32)


def test_an_even_surface_has_no_contrast_of_its_own() -> None:
    image = np.full((SIDE, SIDE, 1), 90.0, np.float32)
    assert natural_contrast(place_of(image, line("down"))) == pytest.approx(0.0, abs=1e-3)


def test_across_the_grain_a_line_is_seen_that_is_lost_along_it() -> None:
    image = streaked(np.random.default_rng(0))
    along, across = (natural_contrast(place_of(image, line(way))) for way in ("down", "across"))
    assert along > 20.0  # the deviation of the columns
    assert across < along / 3


def test_a_single_speck_has_the_contrast_of_the_noise_and_a_large_one_less() -> None:
    noise = np.random.default_rng(1).normal(100.0, 10.0, (SIDE, SIDE, 1)).astype(np.float32)
    small, large = np.zeros((2, SIDE, SIDE), np.float32)
    small[64, 64] = 1.0
    large[50:80, 50:80] = 1.0
    # 0.995 of the absolute values of a normal distribution lie within 2.81 deviations
    assert natural_contrast(place_of(noise, small)) == pytest.approx(10.0 * 2.81, rel=0.15)
    assert natural_contrast(place_of(noise, large)) < 4.0


def test_what_lies_beyond_reach_does_not_count() -> None:
    image = np.full((SIDE, SIDE, 1), 90.0, np.float32)
    region = np.zeros((SIDE, SIDE), np.float32)
    region[10:14, 10:14] = 1.0
    image[110:, 110:] = 250.0
    assert natural_contrast(place_of(image, region)) == pytest.approx(0.0, abs=1e-3)


def test_a_region_that_fills_everything_has_nothing_around_it() -> None:
    image = streaked(np.random.default_rng(2))
    assert natural_contrast(place_of(image, np.ones((SIDE, SIDE), np.float32))) == 0.0


def strongest_changes(kind: AnomalyKind, spread: float) -> list[float]:
    """Of many paintings on noise of this standard deviation, those that changed anything."""
    rng = np.random.default_rng(7)
    noise = 120 + spread * rng.standard_normal((128, 128, 1))
    image = np.clip(np.round(noise), 0, 255).astype(np.float32)
    everything = np.ones((128, 128), np.float32)
    found = [
        float(np.abs(Synthesizer().paint_kind(image, everything, kind, rng) - image).max())
        for _ in range(60)
    ]
    return [change for change in found if change > 0]


@pytest.mark.parametrize("spread", [6.0, 20.0])
def test_a_transplant_is_no_fainter_than_its_surroundings(spread: float) -> None:
    assert min(strongest_changes(AnomalyKind.TRANSPLANT, spread)) >= 0.9 * spread


@pytest.mark.parametrize("kind", [AnomalyKind.SPECK, AnomalyKind.CRACK])
def test_the_rougher_the_surface_the_stronger_is_the_faintest_defect(kind: AnomalyKind) -> None:
    smooth, rough = (min(strongest_changes(kind, spread)) for spread in (1.0, 40.0))
    assert smooth < 40.0
    assert rough > 1.3 * smooth
