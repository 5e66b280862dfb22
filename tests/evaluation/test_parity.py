from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from evaluation.parity import BATCH_SIZES, TOLERANCES, Deviation, Mode, Reference, compare
from stages.inspector import Inspection

THRESHOLD = 0.5
SCORES = np.array([0.1, 0.45, 0.499, 0.501, 0.55, 0.9])
IMAGES = [np.full((4, 4, 1), index, np.uint8) for index in range(len(SCORES))]
MAPS = np.zeros((len(SCORES), 4, 4), np.float16)
REFERENCE = Reference(THRESHOLD, SCORES, MAPS)
TOLERANCE = 0.04
"""Log odds: 0.01 of a score at 0.5."""


class Shifted:
    """Gives the reference's scores, each moved by what `shift` says of part and batch size."""

    def __init__(self, shift: Callable[[np.ndarray, int], np.ndarray]) -> None:
        self._shift = shift
        self.batches: list[list[int]] = []

    def inspect(self, images: np.ndarray) -> Inspection:
        parts = images[:, 0, 0, 0].astype(int)
        self.batches.append(parts.tolist())
        scores = (SCORES[parts] + self._shift(parts, len(images))).astype(np.float32)
        return Inspection(scores, MAPS[parts] + np.float16(0.25), images.astype(np.float16))


def compared(engine: Shifted, threads: tuple[int, ...] = (1,)) -> list[Deviation]:
    mode = Mode("shifted", "bfloat16", TOLERANCE, threads, lambda: engine)
    return list(compare(mode, IMAGES, REFERENCE, lambda _done: None))


def moved(by: float, *parts: int) -> Shifted:
    return Shifted(lambda seen, _size: np.where(np.isin(seen, parts), by, 0.0))


def test_every_number_of_threads_and_batch_size_is_tried() -> None:
    engine = moved(0.0)
    found = compared(engine, (1, 2))
    assert [(one.threads, one.batch_size) for one in found] == [
        (threads, size) for threads in (1, 2) for size in BATCH_SIZES
    ]
    assert not any(one.refused for one in found)
    assert {len(batch) for batch in engine.batches} == set(BATCH_SIZES)
    assert engine.batches[:6] == [[0], [1], [2], [3], [4], [5]]
    assert [0, 1, 2, 3, 4, 5, 0] in engine.batches


def test_a_mode_may_have_batch_sizes_of_its_own() -> None:
    mode = Mode("shifted", "bfloat16", TOLERANCE, (1,), lambda: moved(0.0), batch_sizes=(1, 5))
    found = list(compare(mode, IMAGES, REFERENCE, lambda _done: None))
    assert [one.batch_size for one in found] == [1, 5]


def test_figures_of_a_mode_within_its_tolerance() -> None:
    (one, *_) = compared(moved(0.005, 2))
    assert one.allowed == pytest.approx(0.01)
    assert one.near == 2
    assert one.largest_difference == pytest.approx(0.005, rel=1e-4)
    assert one.p99_difference == one.largest_difference
    assert one.largest_share == pytest.approx(0.5, rel=1e-3)
    assert one.largest_map_difference == 0.25
    assert (one.flips, one.wrong, one.not_finite) == (1, 0, 0)
    assert not one.refused


def test_a_score_that_moves_too_far_is_refused_without_a_verdict_that_differs() -> None:
    (one, *_) = compared(moved(0.011, 5))
    assert (one.flips, one.wrong) == (0, 0)
    assert one.largest_share == pytest.approx(1.1, rel=1e-3)
    assert one.refused


@pytest.mark.parametrize(("part", "by"), [(1, 0.06), (4, -0.06)])
def test_a_verdict_that_differs_beyond_the_tolerance_is_refused(part: int, by: float) -> None:
    (one, *_) = compared(moved(by, part))
    assert (one.flips, one.wrong) == (0, 1)
    assert one.refused


def test_what_goes_wrong_in_one_batch_size_alone_is_found() -> None:
    engine = Shifted(lambda parts, size: np.full(len(parts), 0.1 if size == 7 else 0.0))
    assert [one.batch_size for one in compared(engine) if one.refused] == [7]


def test_scores_that_are_not_finite_are_refused() -> None:
    (one, *_) = compared(moved(np.nan, 0, 5))
    assert one.not_finite == 2
    assert one.refused
    assert np.isfinite(one.largest_difference)


def test_what_is_allowed_follows_the_log_odds() -> None:
    scores = np.array([1e-6, 0.01, 0.3, 0.999999])
    allowed = Reference(0.01, scores, MAPS[:4]).allowed(0.1)
    np.testing.assert_allclose(allowed, [0.00099, 0.00099, 0.021, 0.00099], rtol=1e-3)
    low = Reference(1e-6, scores, MAPS[:4])
    assert low.allowed_at_threshold(0.1) == pytest.approx(1e-7, rel=1e-3)
    assert low.near(0.1).tolist() == [True, False, False, False]


def test_a_part_near_the_threshold_is_near_from_both_sides() -> None:
    assert REFERENCE.near(TOLERANCE).tolist() == [False, False, True, True, False, False]
    assert REFERENCE.near(TOLERANCE, 6).tolist() == [False, True, True, True, True, False]


def test_a_threshold_of_0_allows_nothing_but_the_same() -> None:
    reference = Reference(0.0, np.zeros(len(SCORES)), MAPS)
    for by, refused in ((0.0, False), (1e-3, True)):
        engine = Shifted(lambda parts, _size, by=by: by - SCORES[parts])
        mode = Mode("shifted", "bfloat16", TOLERANCE, (1,), lambda engine=engine: engine, (1,))
        (one,) = compare(mode, IMAGES, reference, lambda _done: None)
        assert one.refused == refused
        assert np.isfinite(one.largest_share)


def test_float32_must_agree_more_closely_than_bfloat16() -> None:
    assert TOLERANCES["float32"] * 10 < TOLERANCES["bfloat16"]
