from __future__ import annotations

import numpy as np
import pytest

from evaluation.datasets import GOOD, LabelledPart
from evaluation.near_threshold import (
    PAIRS,
    ScoredPart,
    blend,
    blends_near,
    in_turn,
    pairs_across,
    scored,
)
from evaluation.reference import Inspected

BLANK = np.zeros((8, 8, 1), np.float16)


def inspect(image: np.ndarray) -> Inspected:
    """A score that rises steeply where the mean grey level passes 100."""
    level = float(image.mean())
    return Inspected(1 / (1 + np.exp(-(level - 100.0))), BLANK[..., 0], BLANK)


def part(name: str, kind: str, level: int) -> ScoredPart:
    image = np.random.default_rng(level).integers(level - 9, level + 10, (8, 8, 3), np.uint8)
    return scored(LabelledPart(name, kind, image, None), inspect)


PARTS = [
    part("dark", GOOD, 40),
    part("a", "dent", 160),
    part("grey", GOOD, 80),
    part("b", "dent", 170),
    part("c", "pits", 180),
    part("missed", "pits", 60),
    part("overkill", GOOD, 190),
]


def test_blends_come_near_the_threshold_from_both_sides() -> None:
    done: list[int] = []
    found = blends_near(PARTS, 0.5, 0.2, inspect, done.append)
    apart = np.array([one.inspected.score for one in found]) - 0.5
    assert np.abs(apart).max() <= 0.2
    assert (apart > 0).sum() >= 6
    assert (apart <= 0).sum() >= 6
    assert np.abs(apart).min() < 0.01
    assert done == [1] * 6
    assert len({one.name for one in found}) == len(found)
    for one in found:
        assert one.image.dtype == np.uint8
        assert one.inspected.score == inspect(one.image).score


def test_a_good_part_that_passes_is_blended_with_the_rejected_one_that_it_looks_like() -> None:
    pairs = [(passed.name, rejected.name) for passed, rejected in pairs_across(PARTS, 0.5)]
    assert len(pairs) == 6 < PAIRS
    assert pairs[:3] == [("grey", "a"), ("grey", "c"), ("grey", "b")]
    assert pairs[3:6] == [("dark", "a"), ("dark", "c"), ("dark", "b")]


def test_without_good_and_defective_parts_any_will_do() -> None:
    pairs = list(pairs_across([PARTS[5], PARTS[6]], 0.5))
    assert [(passed.name, rejected.name) for passed, rejected in pairs] == [("missed", "overkill")]


@pytest.mark.parametrize("threshold", [-0.1, 1.0])
def test_nothing_can_be_blended_where_all_verdicts_are_equal(threshold: float) -> None:
    assert blends_near(PARTS, threshold, 1.0, inspect, lambda _done: None) == []


def test_kinds_take_turns() -> None:
    assert [one.name for one in in_turn(PARTS)] == [
        "dark", "a", "c", "grey", "b", "missed", "overkill"
    ]  # fmt: skip


def test_a_blend_is_rounded_to_grey_levels() -> None:
    first, second = np.full((2, 2, 1), 10, np.uint8), np.full((2, 2, 1), 13, np.uint8)
    assert blend(first, second, 0.0).max() == 10
    assert blend(first, second, 1.0).min() == 13
    assert blend(first, second, 0.5).tolist() == np.full((2, 2, 1), 12).tolist()
    assert blend(second, first, 0.4).max() == 12


def test_the_search_ends_where_grey_levels_tell_no_more() -> None:
    """Between 100 and 101 there is no image in between."""
    seen: list[float] = []

    def step(image: np.ndarray) -> Inspected:
        seen.append(float(image.mean()))
        return Inspected(float(image.mean() > 100), BLANK[..., 0], BLANK)

    flat = [
        ScoredPart(name, GOOD, image, step(image))
        for name, image in (
            ("low", np.full((8, 8, 1), 100, np.uint8)),
            ("high", np.full((8, 8, 1), 101, np.uint8)),
        )
    ]
    assert blends_near(flat, 0.5, 0.4, step, lambda _done: None) == []
    assert len(seen) <= 2 + 2
