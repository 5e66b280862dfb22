from __future__ import annotations

import numpy as np

from evaluation.case_strips import GAP_PX, PANEL_PX, heat, strip
from evaluation.cases import Case, Extremes
from evaluation.datasets import LabelledPart


def part(kind: str, size_px: tuple[int, int] = (4, 4), channels: int = 1) -> LabelledPart:
    image = np.zeros((*size_px, channels), np.uint8)
    return LabelledPart(kind, kind, image, np.zeros(size_px, bool))


def seen(kind: str, scores: list[float], keep: int) -> Extremes:
    extremes = Extremes(keep)
    for score in scores:
        extremes.see(part(kind), score, np.zeros((4, 4), np.float16), np.zeros((4, 4, 1)))
    return extremes


def scores_of(cases: list[Case]) -> list[float]:
    return [case.score for case in cases]


def test_hardest_defects_have_the_lowest_scores() -> None:
    extremes = seen("dent", [0.5, 0.1, 0.9, 0.3, 0.7, 0.2], keep=2)
    assert scores_of(extremes.hardest("dent")) == [0.1, 0.2]
    assert scores_of(extremes.easiest("dent")) == [0.9, 0.7]


def test_hardest_good_parts_have_the_highest_scores() -> None:
    extremes = seen("good", [0.5, 0.1, 0.9, 0.3, 0.7, 0.2], keep=2)
    assert scores_of(extremes.hardest("good")) == [0.9, 0.7]
    assert scores_of(extremes.easiest("good")) == [0.1, 0.2]


def test_few_parts_are_shown_once() -> None:
    extremes = seen("dent", [0.5, 0.1, 0.9], keep=2)
    assert scores_of(extremes.hardest("dent")) == [0.1, 0.5]
    assert scores_of(extremes.easiest("dent")) == [0.9]
    assert extremes.hardest("stain") == []


def test_nothing_is_kept_where_nothing_is_wanted() -> None:
    assert seen("dent", [0.5, 0.1], keep=0).hardest("dent") == []


def test_reconstructions_are_kept_as_grey_levels() -> None:
    extremes = Extremes(1)
    reconstruction = np.array([[[-1.0], [0.0], [1.0], [1.5]]], np.float16)
    extremes.see(part("dent"), 0.5, np.zeros((1, 4), np.float16), reconstruction)
    kept = extremes.hardest("dent")[0].reconstruction
    assert kept.dtype == np.uint8
    assert kept.ravel().tolist() == [0, 128, 255, 255]


def test_a_strip_shows_input_reconstruction_map_and_mask() -> None:
    labelled = part("dent", channels=3)
    labelled.image[...] = (200, 100, 50)  # RGB
    assert labelled.mask is not None
    labelled.mask[...] = True
    reconstruction = np.full((4, 4, 3), 90, np.uint8)
    picture = strip(Case(labelled, 0.5, reconstruction, np.ones((4, 4), np.float16)))
    assert picture.shape == (PANEL_PX, 4 * PANEL_PX + 3 * GAP_PX, 3)
    middles = [picture[128, 128 + index * (PANEL_PX + GAP_PX)].tolist() for index in range(4)]
    assert middles[0] == [50, 100, 200]  # BGR, as files are written
    assert middles[1] == [90, 90, 90]
    assert middles[2] == heat(np.ones((1, 1)))[0, 0].tolist()
    assert middles[3] == [255, 255, 255]


def test_a_mask_that_is_not_known_is_neither_black_nor_white() -> None:
    labelled = part("dent")._replace(mask=None)
    grey = np.zeros((4, 4, 1), np.uint8)
    picture = strip(Case(labelled, 0.5, grey, np.zeros((4, 4), np.float16)))
    assert 0 < picture[128, -1, 0] < 255


def test_a_long_part_keeps_its_proportions() -> None:
    labelled = part("dent", size_px=(10, 80))
    grey = np.zeros((10, 80, 1), np.uint8)
    picture = strip(Case(labelled, 0.5, grey, np.zeros((10, 80), np.float16)))
    assert picture.shape == (64, 4 * 512 + 3 * GAP_PX, 3)


def test_heat_grows_brighter_with_the_probability() -> None:
    levels = heat(np.linspace(0, 1, 50)[None]).astype(int).sum(axis=2).ravel()
    assert (np.diff(levels) >= 0).all()
    assert levels[0] < 20
    assert levels[-1] > 500
