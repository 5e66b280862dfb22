from __future__ import annotations

import numpy as np
import pytest

from training import shapes

ALL = [
    shapes.perlin_region,
    shapes.scratch,
    shapes.crack,
    shapes.specks,
    shapes.blob,
    shapes.stain,
    shapes.drift,
    shapes.patch,
]


@pytest.mark.parametrize("shape", ALL, ids=lambda shape: shape.__name__)
def test_a_region_lies_in_the_unit_range_and_repeats_for_a_seed(shape: shapes.Shape) -> None:
    drawn = [shape(96, 64, (40.0, 30.0), np.random.default_rng(seed)) for seed in (3, 3, 4)]

    assert drawn[0].shape == (96, 64)
    assert drawn[0].dtype == np.float32
    assert drawn[0].min() >= 0.0
    assert drawn[0].max() <= 1.0 + 1e-6
    assert np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


@pytest.mark.parametrize("shape", ALL, ids=lambda shape: shape.__name__)
def test_most_regions_are_not_empty(shape: shapes.Shape) -> None:
    drawn = [shape(128, 128, (64.0, 64.0), np.random.default_rng(seed)) for seed in range(20)]

    assert sum(region.max() > 0.3 for region in drawn) >= 15


def test_lines_are_thin_and_drifts_are_large() -> None:
    rngs = [np.random.default_rng(seed) for seed in range(20)]

    def share(shape: shapes.Shape) -> float:
        return float(np.mean([(shape(128, 128, (64.0, 64.0), r) > 0.3).mean() for r in rngs]))

    assert share(shapes.scratch) < 0.03
    assert share(shapes.crack) < 0.03
    assert share(shapes.drift) > 0.1


def test_an_ellipse_has_the_area_of_its_radii() -> None:
    class Widest(np.random.Generator):
        def uniform(self, low: float = 0.0, high: float = 1.0, size: object = None) -> float:  # type: ignore[override]
            return high

    rng = Widest(np.random.PCG64(0))

    region = shapes.ellipse(101, 101, (50.0, 50.0), 20.0, rng)

    assert region.sum() == pytest.approx(np.pi * 20.0**2, rel=0.02)
