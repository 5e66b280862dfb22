from __future__ import annotations

import cv2
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


@pytest.mark.parametrize("shape", ALL, ids=lambda shape: shape.__name__)
@pytest.mark.parametrize("size", [(32, 32), (48, 200), (512, 512)])
def test_regions_fit_images_of_any_size_and_reach_over_their_edges(
    shape: shapes.Shape, size: tuple[int, int]
) -> None:
    height, width = size
    corners = [(0.0, 0.0), (0.0, width - 1.0), (height - 1.0, 0.0), (height - 1.0, width - 1.0)]

    drawn = [
        shape(height, width, anchor, np.random.default_rng(seed))
        for seed in range(6)
        for anchor in corners
    ]

    assert all(region.shape == size and region.dtype == np.float32 for region in drawn)
    assert all(np.isfinite(region).all() for region in drawn)
    assert min(region.min() for region in drawn) >= 0.0
    assert max(region.max() for region in drawn) <= 1.0 + 1e-6
    edges = [(region[0], region[-1], region[:, 0], region[:, -1]) for region in drawn]
    assert any(max(edge.max() for edge in four) > 0.3 for four in edges)


def test_a_line_that_leaves_the_image_at_once_is_empty() -> None:
    drawn = [shapes.crack(64, 64, (0.0, 0.0), np.random.default_rng(seed)) for seed in range(40)]

    assert any(region.max() == 0.0 for region in drawn)
    assert any(region.max() > 0.3 for region in drawn)


@pytest.mark.parametrize("shape", [shapes.blob, shapes.stain, shapes.drift, shapes.patch])
def test_soft_regions_fade_out_before_the_box_that_they_are_drawn_in_ends(
    shape: shapes.Shape,
) -> None:
    beside_nothing = []
    for seed in range(30):
        region = shape(200, 160, (90.0, 70.0), np.random.default_rng(seed))
        nothing = cv2.dilate((region == 0.0).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        if nothing.any():
            beside_nothing.append(region[nothing].max())

    assert len(beside_nothing) > 5
    assert max(beside_nothing) < 0.03


def test_wide_blurs_are_drawn_as_smoothly_as_narrow_ones() -> None:
    """A stain is coarsest where it is blurred most; steps of its pixels would show."""
    for seed in range(20):
        region = shapes.stain(512, 512, (256.0, 256.0), np.random.default_rng(seed))
        assert np.abs(np.diff(region, axis=1)).max() < 0.2


def test_bounds_hold_all_that_matters_and_a_margin_inside_the_image() -> None:
    region = np.zeros((40, 50), np.float32)
    region[3:10, 20:31] = 0.5
    region[30, 40] = shapes.NEGLIGIBLE / 2.0

    assert shapes.bounds(region, 0) == shapes.Box(3, 20, 10, 31)
    assert shapes.bounds(region, 5) == shapes.Box(0, 15, 15, 36)
    assert shapes.bounds(np.zeros((40, 50), np.float32), 5) is None


def test_a_box_is_cut_at_the_edges_of_the_image() -> None:
    box = shapes.Box.between(40, 50, (-3.2, 44.5), (10.1, 80.0))

    assert box == shapes.Box(0, 44, 12, 50)
    assert (box.height, box.width, box.empty) == (12, 6, False)
    assert box.within((5.0, 45.0)) == (5.0, 1.0)
    assert np.shares_memory(box.cut(region := np.zeros((40, 50, 3))), region)
    assert shapes.Box.between(40, 50, (60.0, 5.0), (70.0, 9.0)).empty


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
