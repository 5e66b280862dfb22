"""Counting what waits, over restarts, and the rate of the last seconds."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pipeline.control import Beat, LineState, LineStatistics, Percentiles, StageLoad, StageReport
from pipeline.line import row_named
from pipeline.line_view import FlowCounter, LineView, RateMeter, stage_view
from pipeline.messages import Verdict
from pipeline.process_group import Worker


def beat(stage: str, pid: int, worker: int = 0, **counts: dict[str, int]) -> Beat:
    received, sent = counts.get("received", {}), counts.get("sent", {})
    return Beat(stage, worker, pid, "s", True, True, received, sent, 0, 0, 0, 1.0, StageReport())


def test_what_was_sent_and_not_received_waits() -> None:
    flow = FlowCounter()
    assert flow.queued("prepared") == 0
    flow.note(beat("preprocessing", 1, sent={"prepared": 5}))
    flow.note(beat("preprocessing", 2, worker=1, sent={"prepared": 4}))
    assert flow.queued("prepared") == 9
    flow.note(beat("reconstruction", 3, received={"prepared": 6}, sent={"reconstructed": 6}))
    assert flow.queued("prepared") == 3
    assert flow.queued("reconstructed") == 6
    assert flow.queued("unheard-of") == 0


def test_beats_that_overtake_each_other_never_give_a_negative_number() -> None:
    flow = FlowCounter()
    flow.note(beat("reconstruction", 3, received={"prepared": 6}))
    flow.note(beat("preprocessing", 1, sent={"prepared": 5}))
    assert flow.queued("prepared") == 0


def test_what_a_killed_consumer_held_is_not_counted_for_ever() -> None:
    flow = FlowCounter()
    flow.note(beat("preprocessing", 1, sent={"prepared": 50}))
    flow.note(beat("reconstruction", 2, received={"prepared": 40}))
    assert flow.queued("prepared") == 10
    flow.note(beat("reconstruction", 3))
    assert flow.queued("prepared") == 0
    flow.note(beat("preprocessing", 1, sent={"prepared": 56}))
    flow.note(beat("reconstruction", 3, received={"prepared": 4}))
    assert flow.queued("prepared") == 2


def test_a_restarted_producer_begins_its_count_again() -> None:
    flow = FlowCounter()
    flow.note(beat("preprocessing", 1, sent={"prepared": 50}))
    flow.note(beat("reconstruction", 2, received={"prepared": 48}))
    flow.note(beat("preprocessing", 9))
    assert flow.queued("prepared") == 0
    flow.note(beat("preprocessing", 9, sent={"prepared": 7}))
    flow.note(beat("reconstruction", 2, received={"prepared": 52}))
    assert flow.queued("prepared") == 3


def test_a_lossy_channel_has_no_queue() -> None:
    flow = FlowCounter()
    flow.note(beat("decision", 1, sent={"evidence": 50}))
    assert flow.queued("evidence") == 0


def test_the_rate_is_that_of_the_last_seconds() -> None:
    meter = RateMeter(window_s=5.0)
    assert meter.note(0.0, 0) == 0.0
    assert meter.note(2.0, 20) == pytest.approx(10.0)
    rates = [meter.note(2.0 + step, 20 + 4 * step) for step in range(1, 21)]
    assert rates[-1] == pytest.approx(4.0)
    for step in range(1, 12):
        last = meter.note(22.0 + step, 100)
    assert last == 0.0


def test_two_looks_at_the_same_moment_are_no_division_by_zero() -> None:
    meter = RateMeter()
    assert meter.note(1.0, 5) == 0.0
    assert meter.note(1.0, 9) == 0.0


@pytest.mark.parametrize(
    ("stage", "batches", "mean"),
    [
        ("reconstruction", {1: 1, 8: 6}, 7.0),
        ("reconstruction", {}, None),
        ("decision", {3: 1}, None),
    ],
)
def test_batches_are_shown_on_average_where_parts_are_computed_together(
    stage: str, batches: dict[int, int], mean: float | None
) -> None:
    worker = Worker(row_named(stage), 0, by_hand=True)
    assert stage_view(worker, FlowCounter(), None).batch is None
    worker.beat = msgspec.structs.replace(beat(stage, 1), load=StageLoad(batches))
    assert stage_view(worker, FlowCounter(), None).batch == mean


def test_the_times_of_all_networks_of_a_process_stand_together() -> None:
    worker = Worker(row_named("reconstruction"), 0, by_hand=True)
    copies = {"reconstruction": Percentiles(1.0, 2, 3), "segmentation": Percentiles(0.5, 2, 3)}
    on_device = {"reconstruction": Percentiles(20.0, 30, 40), "segmentation": Percentiles(9, 9, 9)}
    load = StageLoad({1: 1}, copy_ms=copies, device_ms=on_device)
    worker.beat = msgspec.structs.replace(beat("reconstruction", 1), load=load)
    view = stage_view(worker, FlowCounter(), None)
    assert (view.copy_ms, view.device_ms) == (1.5, 29.0)
    worker.beat = beat("reconstruction", 1)
    view = stage_view(worker, FlowCounter(), None)
    assert (view.copy_ms, view.device_ms) == (None, None)


def test_a_view_without_statistics_counts_nothing() -> None:
    known: dict[str, Any] = {
        "line": 3,
        "name": "n",
        "state": LineState.RUNNING,
        "cause": "",
        "session": "s",
        "running_s": 1.0,
        "parts_per_second": 0.0,
        "stages": (),
        "gpus": (),
        "warnings": (),
    }
    assert LineView(statistics=None, **known).count(Verdict.PASS) == 0
    statistics = LineStatistics(4, {Verdict.PASS: 3}, {}, {}, 1.0, None, "b", "c")
    view = LineView(statistics=statistics, **known)
    assert [view.count(verdict) for verdict in Verdict] == [3, 0, 0]
