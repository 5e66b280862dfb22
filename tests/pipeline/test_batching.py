"""Batches with deadlines, decision by decision; whole lines are in test_batching_lines."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from pipeline.batching import (
    GRAIN_NS,
    LATEST,
    MEMORY_NS,
    NEVER_NS,
    TRIAL_NS,
    Batcher,
    BatchRecord,
    Costs,
    Refused,
    expected_ns,
    slowest,
)
from pipeline.config import Batch
from pipeline.control import BatchCosts

MS, S = 1_000_000, 1_000_000_000
LINEAR: BatchCosts = ((1, 60.0), (8, 333.0))
"""Milliseconds by size, about as two cores need."""


def known(table: BatchCosts) -> Costs:
    costs = Costs()
    costs.table = table
    return costs


def batcher(
    size: int = 8, max_wait_ms: int = 30, costs: BatchCosts = LINEAR, together: bool = True
) -> Batcher[int]:
    return Batcher(Batch(size=size, max_wait_ms=max_wait_ms), known(costs), together=together)


def filled(waiting: Batcher[int], *limits_ms: float | None, now_ms: int = 0) -> Batcher[int]:
    """With parts 0, 1, ... of these limits, all taken in at once."""
    for part, limit_ms in enumerate(limits_ms):
        limit_ns = None if limit_ms is None else int(limit_ms * MS)
        waiting.add(part, limit_ns, now_ms * MS)
    return waiting


def numbers(refused: Iterable[Refused[int]]) -> list[int]:
    return [part.item for part in refused]


# What batches take


def test_nothing_is_known_before_the_first_batch() -> None:
    costs = Costs()
    assert (costs.table, expected_ns(costs.table, 3)) == ((), 0)
    costs.learn(4, 200 * MS, 0)
    assert costs.table == ((4, 200.0),)


@pytest.mark.parametrize(
    ("parts", "expected_ms"), [(1, 30), (2, 60), (3, 80), (4, 100), (8, 300), (12, 450)]
)
def test_sizes_that_were_not_measured_lie_on_lines(parts: int, expected_ms: int) -> None:
    assert expected_ns(((2, 60.0), (4, 100.0), (8, 300.0)), parts) == expected_ms * MS


def test_nine_in_ten_took_no_longer() -> None:
    costs = Costs()
    for took_ms in range(1, 22):
        costs.learn(1, took_ms * MS, took_ms)
    assert costs.table == ((1, 19.0),)


def test_one_slow_batch_counts_only_until_the_next() -> None:
    costs = Costs()
    costs.learn(1, 3 * S, 0)
    costs.learn(1, 60 * MS, MS)
    assert costs.table == ((1, 60.0),)


def test_old_batches_are_forgotten_but_never_the_newest() -> None:
    costs = Costs()
    for moment_ns in range(20):
        costs.learn(8, 2 * S, moment_ns)
    costs.learn(1, 60 * MS, MEMORY_NS + 10)
    assert costs.table == ((1, 60.0), (8, 2000.0))
    costs.learn(1, 60 * MS, MEMORY_NS + 20)
    assert costs.table == ((1, 60.0),)
    costs.learn(2, 70 * MS, 100 * MEMORY_NS)
    assert costs.table == ((2, 70.0),)


def test_only_so_many_batches_are_remembered() -> None:
    costs = Costs()
    costs.learn(8, 2 * S, 0)
    for moment_ns in range(LATEST):
        costs.learn(1, 60 * MS, moment_ns)
    assert costs.table == ((1, 60.0),)


def test_of_several_workers_the_slowest_counts() -> None:
    assert slowest([]) == ()
    tables: list[BatchCosts] = [((1, 5.0), (8, 20.0)), ((1, 6.0), (4, 9.0)), ()]
    assert slowest(tables) == ((1, 6.0), (4, 9.0), (8, 20.0))


# When a batch leaves


def test_nobody_waits_for_nothing() -> None:
    waiting = batcher()
    assert waiting.due_ns == NEVER_NS
    step = waiting.step(5 * S, closing=True)
    assert (step.batch, step.refused) == ([], [])


def test_a_full_batch_leaves_at_once_in_order_of_arrival() -> None:
    waiting = filled(batcher(size=3), 9000, 8000, 7000)
    assert not waiting.room(0)
    assert waiting.step(0).batch == [0, 1, 2]
    assert waiting.room(0)


def test_a_batch_leaves_when_its_oldest_part_has_waited_long_enough() -> None:
    waiting = filled(batcher(max_wait_ms=30), 9000)
    assert waiting.due_ns == 30 * MS
    waiting.add(1, 9000 * MS, 29 * MS)
    assert waiting.step(29 * MS).batch == []
    assert waiting.step(30 * MS - GRAIN_NS + 1).batch == [0, 1]


def test_parts_without_a_deadline_are_kept_in_order_and_never_refused() -> None:
    waiting = filled(batcher(max_wait_ms=0, together=False), None, None, 0, None)
    step = waiting.step(9 * S)
    assert (step.batch, numbers(step.refused)) == ([0, 1, 3], [2])


def test_nobody_waits_for_company_that_would_make_the_urgent_part_late() -> None:
    later: list[BatchCosts] = [((1, 20.0), (2, 30.0))]
    waiting = batcher(max_wait_ms=10_000)
    waiting.add(0, 500 * MS, 0)
    assert waiting.step(0, later).batch == []
    two_need_ms = 60 + (333 - 60) / 7 + 30
    assert waiting.due_ns == pytest.approx((500 - two_need_ms) * MS, abs=2)
    assert waiting.step(waiting.due_ns - GRAIN_NS, later).batch == []
    assert waiting.step(waiting.due_ns, later).batch == [0]


def test_before_anything_was_measured_half_of_the_time_is_kept_for_it() -> None:
    waiting = filled(batcher(max_wait_ms=10_000, costs=()), 500, now_ms=100)
    assert waiting.due_ns == 300 * MS


def test_at_the_end_nobody_waits_for_company() -> None:
    assert filled(batcher(max_wait_ms=10_000), 9000).step(0, closing=True).batch == [0]


# Who is in it


@pytest.mark.parametrize(("left_ms", "made"), [(80, True), (79.9, False), (0, False), (-50, False)])
def test_a_part_that_cannot_make_it_alone_is_refused(left_ms: float, made: bool) -> None:
    waiting = filled(batcher(max_wait_ms=10_000), 9000, left_ms)
    step = waiting.step(0, [((1, 20.0), (2, 20.0))])
    assert (step.batch, numbers(step.refused)) == (([1], []) if made else ([], [1]))


def test_a_part_at_its_deadline_is_refused_before_anything_was_measured() -> None:
    step = filled(batcher(max_wait_ms=0, costs=()), 10, 11).step(10 * MS)
    assert (step.batch, numbers(step.refused)) == ([1], [0])


def test_a_refusal_says_what_was_missing() -> None:
    waiting = filled(batcher(), 75, 9000)
    (refused,) = waiting.step(25 * MS).refused
    assert refused == Refused(0, 60 * MS, 50 * MS)
    assert refused.text("segmentation") == (
        "too late for segmentation: 60 ms needed from there, 50 ms left"
    )
    late = Refused(0, 60 * MS, 0)
    assert late.text("segmentation") == "the deadline had come when segmentation received the part"


def test_the_urgent_part_goes_first_where_the_others_can_follow() -> None:
    waiting = filled(batcher(max_wait_ms=0), 2000, 2000, 95, 2000)
    first, second = waiting.step(0), waiting.step(60 * MS)
    assert (first.batch, first.refused) == ([2], [])
    assert (second.batch, second.refused) == ([0, 1, 3], [])


def test_under_overload_the_largest_batch_leaves_and_who_is_left_behind_is_told() -> None:
    waiting = filled(batcher(max_wait_ms=0), 90, 100, 340, 345, 350, 355, 360, 365)
    step = waiting.step(0)
    assert step.batch == [2, 3, 4, 5, 6, 7]
    assert numbers(step.refused) == [0, 1]
    assert step.refused[0].needed_ns == expected_ns(LINEAR, 6) + 60 * MS


def test_under_overload_parts_further_behind_are_looked_at() -> None:
    costs = ((1, 50.0), (2, 90.0))
    waiting = filled(batcher(size=2, max_wait_ms=0, costs=costs), 60, 70)
    while waiting.room(0):
        waiting.add(7, 200 * MS, 0)
    step = waiting.step(0)
    assert (step.batch, numbers(step.refused)) == ([7, 7], [0, 1])
    assert waiting.step(0, closing=True).batch == [7, 7]
    assert filled(batcher(size=2, costs=costs), 90, 95).room(0) is False
    one_by_one = batcher(size=2, costs=costs, together=False)
    assert filled(one_by_one, 60, 70).room(0) is False


def test_who_can_still_follow_is_not_refused() -> None:
    waiting = filled(batcher(size=3, max_wait_ms=0, costs=((1, 50.0), (3, 90.0))), 80, 80, 170)
    step = waiting.step(0)
    assert (step.batch, step.refused) == ([0, 1], [])
    assert waiting.step(70 * MS).batch == [2]


def test_where_parts_are_worked_on_one_by_one_all_leave_together() -> None:
    waiting = filled(batcher(max_wait_ms=0, together=False), 100, 100, 59, 9000)
    step = waiting.step(0)
    assert (step.batch, numbers(step.refused)) == ([0, 1, 3], [2])


def test_while_all_are_refused_one_is_tried_now_and_then() -> None:
    waiting = batcher(max_wait_ms=0, costs=((1, 5000.0),))
    tried, refused = [], []
    for part in range(100):
        now_ns = part * 100 * MS
        waiting.add(part, now_ns + 500 * MS, now_ns)
        step = waiting.step(now_ns)
        tried += step.batch
        refused += numbers(step.refused)
    assert tried == list(range(0, 100, TRIAL_NS // (100 * MS)))
    assert sorted(tried + refused) == list(range(100))


def test_a_trial_takes_the_part_with_most_time_and_none_that_is_over() -> None:
    waiting = filled(batcher(costs=((1, 5000.0),)), 400, 500, 450)
    step = waiting.step(0)
    assert (step.batch, numbers(step.refused)) == ([1], [0, 2])
    waiting = filled(batcher(costs=((1, 5000.0),)), 0, -10)
    assert (waiting.step(0).batch, waiting.due_ns) == ([], NEVER_NS)


# What became of batches


def test_a_batch_takes_until_its_last_part_is_out() -> None:
    costs = Costs()
    record = BatchRecord(costs)
    assert record.load().compute_ms is None
    record.begin([1, 2], 0)
    record.begin([3], 10 * MS)
    assert record.busy
    assert (record.began_ns(2), record.began_ns(3), record.began_ns(4)) == (0, 10 * MS, None)
    record.end(1, 40 * MS)
    record.end(4, 50 * MS)
    assert costs.table == ()
    for part in (2, 3):
        record.end(part, 60 * MS)
        record.waited(5 * MS)
    record.refuse()
    load = record.load()
    assert not record.busy
    assert (load.batches, load.refused, load.costs_ms) == ({2: 1, 1: 1}, 1, ((1, 50.0), (2, 60.0)))
    assert load.wait_ms is not None
    assert load.wait_ms.p50 == pytest.approx(5, rel=0.02)
    assert load.compute_ms is not None
    assert load.compute_ms.p99 == pytest.approx(60, rel=0.02)


def test_a_batch_that_failed_teaches_nothing() -> None:
    costs = Costs()
    record = BatchRecord(costs)
    record.begin([1, 2], 0)
    record.spoil([1, 2])
    for part in (1, 2):
        record.end(part, 9 * S)
    assert (costs.table, record.busy, record.load().batches) == ((), False, {2: 1})


def test_two_messages_of_one_part_are_one_batch() -> None:
    costs = Costs()
    record = BatchRecord(costs)
    record.begin([7, 7], 0)
    record.end(7, 3 * MS)
    assert (costs.table, record.busy) == (((2, 3.0),), False)
