from __future__ import annotations

import numpy as np
import pytest

from training.contrast import STRONGEST_LEVELS, Faintest, defect, imperfection

FLAT = np.full((9, 9, 1), 100.0, np.float32)
STRIPES = np.where(np.arange(9)[:, None, None] % 2, 90, 110.0).repeat(9, axis=1).astype(np.float32)


@pytest.mark.parametrize(
    ("faintest", "piece", "levels"),
    [
        (Faintest(14, 3), FLAT, 14),
        (Faintest(14, 3), STRIPES, 3 * STRIPES.std()),
        (Faintest(14, 30), STRIPES, 0.7 * STRONGEST_LEVELS),
    ],
    ids=["levels", "spread", "not more than can be painted"],
)
def test_the_least_contrast_follows_the_surroundings(
    faintest: Faintest, piece: np.ndarray, levels: float
) -> None:
    assert faintest.at(piece) == pytest.approx(levels, rel=1e-4)


def test_defects_are_drawn_evenly_on_a_logarithmic_scale() -> None:
    rng = np.random.default_rng(0)
    drawn = [defect(Faintest(10, 2), FLAT, rng) for _ in range(2000)]
    wanted = np.array([contrast.wanted for contrast in drawn])
    assert {contrast.faintest for contrast in drawn} == {10.0}
    assert 10 <= wanted.min() < 11
    assert 0.9 * STRONGEST_LEVELS < wanted.max() <= STRONGEST_LEVELS
    assert np.median(wanted) == pytest.approx(np.sqrt(10 * STRONGEST_LEVELS), rel=0.1)


def test_a_kind_without_a_least_contrast_is_painted_as_it_comes() -> None:
    contrast = defect(Faintest(0, 0), STRIPES, np.random.default_rng(0))
    assert contrast == (0.0, STRONGEST_LEVELS)


def test_imperfections_stay_clearly_below_every_defect() -> None:
    rng = np.random.default_rng(0)
    wanted = [imperfection(Faintest(18, 4), FLAT, rng).wanted for _ in range(500)]
    assert 0.2 * 18 <= min(wanted) < 0.25 * 18
    assert 0.75 * 18 < max(wanted) <= 0.8 * 18
