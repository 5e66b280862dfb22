from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from evaluation.metrics import (
    auroc,
    average_precision,
    image_levels,
    pixel_levels,
    precision_recall_curve,
    pro,
    pro_curve,
    roc_curve,
)

SEEDS = range(6)


def random_case(seed: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """A few maps with rectangles of defects, coarse values so that many are tied."""
    rng = np.random.default_rng(seed)
    maps, masks = [], []
    for index in range(4):
        mask = np.zeros((24, 20), bool)
        for _ in range(index):
            y, x = rng.integers(0, 16, 2)
            mask[y : y + rng.integers(1, 8), x : x + rng.integers(1, 6)] = True
        noise = rng.integers(0, 60, mask.shape) / 60
        maps.append((noise + 0.3 * mask - 0.2).astype(np.float16))
        masks.append(mask)
    return maps, masks


def naive_pro(maps: Sequence[np.ndarray], masks: Sequence[np.ndarray], limit: float) -> float:
    """PRO by its definition: a loop over thresholds, images and regions."""
    points = [(0.0, 0.0)]
    for threshold in sorted({float(v) for m in maps for v in m.ravel()}, reverse=True):
        overlaps, false, negatives = [], 0, 0
        for anomaly_map, mask in zip(maps, masks, strict=True):
            above = anomaly_map.astype(np.float64) >= threshold
            count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
            overlaps += [above[labels == k].mean() for k in range(1, count)]
            false += int((above & ~mask).sum())
            negatives += int((~mask).sum())
        points.append((false / negatives, float(np.mean(overlaps))))
    area = 0.0
    for (x0, y0), (x1, y1) in pairwise(points):
        if x0 >= limit or x1 == x0:
            continue
        end = min(x1, limit)
        y_end = y0 + (y1 - y0) * (end - x0) / (x1 - x0)
        area += (end - x0) * (y0 + y_end) / 2
    return area / limit


def test_auroc_of_a_case_done_by_hand() -> None:
    levels = image_levels(np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True]))
    assert auroc(levels) == pytest.approx(0.75)
    assert average_precision(levels) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


def test_separated_scores_are_perfect_and_ties_are_a_coin() -> None:
    labels = np.array([False, False, True, True])
    assert auroc(image_levels(np.array([-2.0, -1.0, 3.0, 4.0]), labels)) == 1.0
    assert auroc(image_levels(np.array([4.0, 3.0, -1.0, -2.0]), labels)) == 0.0
    tied = image_levels(np.full(4, 0.5), labels)
    assert auroc(tied) == 0.5
    assert average_precision(tied) == 0.5


@pytest.mark.parametrize("seed", SEEDS)
def test_pixel_metrics_agree_with_scikit_learn(seed: int) -> None:
    maps, masks = random_case(seed)
    levels = pixel_levels(maps, masks)
    truth = np.concatenate([m.ravel() for m in masks])
    values = np.concatenate([m.ravel() for m in maps]).astype(np.float64)
    assert auroc(levels) == pytest.approx(roc_auc_score(truth, values), abs=1e-12)
    expected = average_precision_score(truth, values)
    assert average_precision(levels) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("limit", [0.05, 0.3, 1.0])
def test_pro_agrees_with_its_definition(seed: int, limit: float) -> None:
    maps, masks = random_case(seed)
    assert pro(pixel_levels(maps, masks), limit) == pytest.approx(
        naive_pro(maps, masks, limit), abs=1e-12
    )


def test_pro_weighs_a_small_region_like_a_large_one() -> None:
    mask = np.zeros((40, 40), bool)
    mask[2:22, 2:22] = True
    mask[30:32, 30:32] = True
    found_large = np.zeros(mask.shape, np.float16)
    found_large[2:22, 2:22] = 1.0
    # One region of two is found without a false positive, the other rises with the false rate.
    expected = 0.5 + 0.5 * 0.3 / 2
    assert pro(pixel_levels([found_large], [mask]), 0.3) == pytest.approx(expected)


def test_regions_that_touch_at_a_corner_are_one() -> None:
    mask = np.zeros((16, 16), bool)
    mask[2:6, 2:6] = True
    mask[6:8, 6:8] = True
    found = np.zeros(mask.shape, np.float16)
    found[2:6, 2:6] = 1.0
    share = 16 / 20
    expected = share + (1 - share) * 0.3 / 2
    assert pro(pixel_levels([found], [mask]), 0.3) == pytest.approx(expected)


def test_perfect_maps() -> None:
    _, masks = random_case(3)
    levels = pixel_levels([m.astype(np.float16) for m in masks], masks)
    perfect = pytest.approx(1.0, abs=1e-12)
    assert (auroc(levels), average_precision(levels), pro(levels)) == (perfect, perfect, perfect)


@pytest.mark.parametrize("label", [False, True])
def test_one_class_alone_has_no_metric(label: bool) -> None:
    images = image_levels(np.array([0.2, 0.7]), np.array([label, label]))
    pixels = pixel_levels([np.zeros((8, 8), np.float16)], [np.full((8, 8), label)])
    for levels in (images, pixels):
        assert auroc(levels) is None
        assert average_precision(levels) is None
    assert pro(pixels) is None


def test_no_images_at_all_have_no_metric() -> None:
    assert auroc(image_levels(np.zeros(0), np.zeros(0, bool))) is None
    assert pro(pixel_levels([], [])) is None


def test_a_value_that_is_not_finite_is_refused() -> None:
    with pytest.raises(AssertionError, match="not finite"):
        image_levels(np.array([0.1, np.nan]), np.array([True, False]))


def test_negative_zero_ties_with_zero() -> None:
    maps = [np.array([[0.0, -0.0]], np.float16)]
    assert auroc(pixel_levels(maps, [np.array([[True, False]])])) == 0.5


@pytest.mark.parametrize("seed", SEEDS)
def test_image_metrics_agree_with_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    defective = rng.random(80) < 0.3
    scores = np.round(rng.normal(size=80) + defective, 1).astype(np.float32)
    levels = image_levels(scores, defective)
    assert auroc(levels) == pytest.approx(roc_auc_score(defective, scores), abs=1e-12)
    expected = average_precision_score(defective, scores)
    assert average_precision(levels) == pytest.approx(expected, abs=1e-12)


def test_levels_of_images_add_up() -> None:
    maps, masks = random_case(2)
    together = pixel_levels(maps, masks)
    apart = pixel_levels(maps[:1], masks[:1]) + pixel_levels(maps[1:], masks[1:])
    assert apart.regions == together.regions
    for metric in (auroc, average_precision, pro):
        assert metric(apart) == pytest.approx(metric(together), abs=1e-12)


def test_curves_of_a_case_done_by_hand() -> None:
    levels = image_levels(np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True]))
    roc, precision_recall = roc_curve(levels), precision_recall_curve(levels)
    assert roc.x.tolist() == [0, 0, 0.5, 0.5, 1]
    assert roc.y.tolist() == [0, 0.5, 0.5, 1, 1]
    assert precision_recall.x.tolist() == [0.5, 0.5, 1, 1]
    assert precision_recall.y.tolist() == [1, 0.5, 2 / 3, 0.5]


def test_the_curve_of_regions_weighs_each_the_same() -> None:
    mask = np.array([[True, True, True, True, False, True, False, False]])
    shown = np.array([[0.9, 0.9, 0.2, 0.2, 0.5, 0.9, 0.1, 0.1]], np.float16)
    curve = pro_curve(pixel_levels([shown], [mask]))
    np.testing.assert_allclose(curve.x, [0, 0, 1 / 3, 1 / 3, 1])
    np.testing.assert_allclose(curve.y, [0, 0.75, 0.75, 1, 1])


def test_six_hundred_images_take_seconds() -> None:
    rng = np.random.default_rng(0)
    one = rng.random((60, 256, 256)).astype(np.float16)
    masks = np.zeros(one.shape, bool)
    masks[::2, 40:90, 100:130] = True
    start = time.process_time()
    levels = pixel_levels(list(one) * 10, list(masks) * 10)
    assert None not in (auroc(levels), average_precision(levels), pro(levels), pro(levels, 0.05))
    assert time.process_time() - start < 20
