from __future__ import annotations

import tracemalloc

import cv2
import numpy as np
import pytest

from evaluation.masks import _weights, fit_mask
from pipeline.config import Frame, Region

FRAME = Frame(colour="grey", bit_depth=8, size_px="any", input_px=(64, 96))
QUARTER = Frame(colour="grey", bit_depth=8, size_px="any", input_px=(256, 256))
SIZE_PX = (1024, 1024)


def scratch(slope: float) -> np.ndarray:
    """A line of one pixel across an image of 1024 pixels a side."""
    drawn = np.zeros(SIZE_PX, np.uint8)
    cv2.line(drawn, (3, 5), (1000, int(5 + slope * 1000)), 1)
    return drawn > 0


def blob() -> np.ndarray:
    drawn = np.zeros(SIZE_PX, bool)
    drawn[600:700, 52:152] = True
    return drawn


def regions(mask: np.ndarray) -> int:
    return int(cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)[0]) - 1


def by_half(mask: np.ndarray) -> np.ndarray:
    """What covers half of a pixel and more, of a mask that shrinks to a quarter."""
    return np.asarray(mask.reshape(256, 4, 256, 4).mean(axis=(1, 3)) >= 0.5)


def test_a_mask_is_cut_and_resized_like_the_image() -> None:
    drawn = np.zeros((128, 192), bool)
    drawn[32:64, 48:96] = True
    frame = FRAME.model_copy(update={"region": Region(x=48, y=32, width=96, height=32)})
    fitted = fit_mask(drawn, frame)
    expected = np.zeros((64, 96), bool)
    expected[:, :48] = True
    np.testing.assert_array_equal(fitted, expected)


def test_a_line_thinner_than_a_pixel_of_the_networks_stays() -> None:
    thin = np.zeros((1280, 1920), bool)
    thin[100:102] = True
    fitted = fit_mask(thin, FRAME)
    assert fitted[5].all()
    assert fitted.sum() == 96


def test_an_empty_mask_stays_empty() -> None:
    assert not fit_mask(np.zeros((128, 192), bool), FRAME).any()


@pytest.mark.parametrize("slope", [0.0, 0.1, 0.37, 0.9, 1.0])
def test_a_thin_slanting_line_stays_one_region_and_thin(slope: float) -> None:
    fitted = fit_mask(scratch(slope), QUARTER)
    assert regions(fitted) == 1
    assert fitted.any(axis=0).sum() >= 245, "from end to end"
    assert fitted.sum() < 2 * 250


@pytest.mark.parametrize("slope", [0.1, 0.37, 0.9])
def test_a_blob_beside_a_thin_line_changes_neither(slope: float) -> None:
    both = fit_mask(scratch(slope) | blob(), QUARTER)
    np.testing.assert_array_equal(both, fit_mask(scratch(slope), QUARTER) | by_half(blob()))
    assert regions(both) == 2


def test_a_thin_tail_of_a_blob_is_not_cut_off() -> None:
    tailed = blob()
    tailed[650, 152:900] = True
    fitted = fit_mask(tailed, QUARTER)
    assert regions(fitted) == 1
    assert fitted[162, 38:225].all()


def test_two_regions_that_a_gap_parts_stay_two() -> None:
    apart = blob()
    apart[600:700, 162:262] = True
    np.testing.assert_array_equal(fit_mask(apart, QUARTER), by_half(apart))


def test_a_thick_defect_is_where_it_covers_half_of_a_pixel() -> None:
    drawn = np.zeros(SIZE_PX, np.uint8)
    cv2.ellipse(drawn, (500, 480), (210, 93), 31.0, 0.0, 360.0, 1, thickness=-1)
    np.testing.assert_array_equal(fit_mask(drawn > 0, QUARTER), by_half(drawn))


def test_a_mask_that_grows_keeps_its_shape() -> None:
    drawn = np.zeros((32, 32), bool)
    drawn[8:16, 8:16] = True
    drawn[16, 16] = True
    grown = fit_mask(drawn, QUARTER)
    assert regions(grown) == 1
    assert abs(int(grown.sum()) - 64 * drawn.sum()) < 64


@pytest.mark.parametrize(("source", "size"), [(1000, 256), (129, 64), (64, 64), (50, 64)])
def test_weights_are_those_of_resizing_each_pixel_of_the_source(source: int, size: int) -> None:
    how = cv2.INTER_AREA if size < source else cv2.INTER_LINEAR
    whole = cv2.resize(np.eye(source, dtype=np.float32), (source, size), interpolation=how)
    np.testing.assert_array_equal(_weights(source, size), whole)


def test_a_mask_of_the_longest_side_takes_no_memory_by_its_square() -> None:
    tracemalloc.start()
    _weights(20_000, 64)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 50e6
