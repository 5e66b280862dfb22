"""When a running line is said to inspect its parts no more, and when it is said to do so again."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from pipeline.control import LineOrder, LineState
from pipeline.messages import Reason, VerdictRecord
from stages.decision.inspection_watch import OVERLOAD, InspectionWatch
from stages.decision.rule import verdict_of

MS, SECOND = 1_000_000, 1_000_000_000
RUNNING = LineOrder("s", LineState.RUNNING, "ready", 1)
Record = Callable[[Reason], VerdictRecord]


@pytest.fixture
def record(shop, ledger) -> Record:
    """A verdict that was given 100 ms after the capture."""
    ledger.announce(shop.announcement(1), shop.now(0))
    (settled,) = ledger.settle(shop.result(1, 0.1), shop.now(100))
    return lambda reason: msgspec.structs.replace(
        settled, reason=reason, verdict=verdict_of(reason)
    )


@pytest.fixture
def watch() -> InspectionWatch:
    return InspectionWatch(settling_ns=2 * SECOND)


def run(
    watch: InspectionWatch, record: Record, reasons: list[Reason], from_ms: int, every_ms: int
) -> list[str]:
    """Parts, one after the other; the alarm after each."""
    alarms = []
    for number, reason in enumerate(reasons):
        now_ns = (from_ms + number * every_ms) * MS
        watch.note(record(reason), now_ns)
        alarms.append(watch.alarm(now_ns))
    return alarms


GOOD, LATE, FULL = Reason.BELOW_THRESHOLD, Reason.DEADLINE, Reason.OVERLOAD


def test_single_losses_are_no_alarm(watch, record) -> None:
    assert set(run(watch, record, [*[GOOD] * 30, LATE, *[GOOD] * 30, FULL], 0, 50)) == {""}
    assert set(run(watch, record, [Reason.ABOVE_THRESHOLD] * 100, 20_000, 10)) == {""}


def test_repeated_losses_are_an_overload_until_parts_are_inspected_again(watch, record) -> None:
    alarms = run(watch, record, [GOOD, LATE, FULL, LATE, GOOD], 100, 100)
    assert alarms == ["", "", "", OVERLOAD, OVERLOAD]
    assert watch.alarm(2 * SECOND) == OVERLOAD, "nothing says yet that it is better"
    alarms = run(watch, record, [GOOD] * 40, 600, 100)
    assert alarms[:25] == [OVERLOAD] * 25
    assert alarms[-10:] == [""] * 10, "three seconds without a loss"


def test_between_the_two_shares_an_alarm_stays_as_it_is(watch, record) -> None:
    some = [*[GOOD] * 13, LATE] * 40
    assert set(run(watch, record, some, 0, 10)) == {""}, "7 %, and no alarm"
    run(watch, record, [LATE] * 60, 6000, 10)
    assert set(run(watch, record, some, 6600, 10)) == {OVERLOAD}, "7 %, and an alarm"
    assert run(watch, record, [*[GOOD] * 39, LATE] * 20, 12_200, 10)[-1] == ""


def test_on_a_slow_line_the_last_parts_count_and_an_empty_belt_is_no_overload(
    watch, record
) -> None:
    assert run(watch, record, [LATE] * 3, 1000, 2000)[-1] == OVERLOAD
    assert watch.alarm(10 * SECOND) == OVERLOAD
    assert watch.alarm(15 * SECOND + 1) == ""


def test_what_else_becomes_of_parts_again_and_again_is_told_too(watch, record) -> None:
    alarm = run(watch, record, [Reason.FRAME_BLACK] * 3, 100, 100)[-1]
    assert alarm.startswith("parts become UNINSPECTED: the frame is black")


def test_an_alarm_names_another_cause_once_its_own_is_over(watch, record) -> None:
    black = run(watch, record, [Reason.FRAME_BLACK] * 10, 0, 100)[-1]
    watch.follow(LineOrder("s", LineState.DEGRADED, black, 1), 950 * MS)
    alarms = run(watch, record, [LATE] * 50, 1000, 100)
    assert alarms[:25] == [black] * 25
    assert alarms[-15:] == [OVERLOAD] * 15
    watch.follow(LineOrder("s", LineState.DEGRADED, black, 2), 6000 * MS)
    assert watch.alarm(6000 * MS) == OVERLOAD, "the supervisor has not heard of the new one yet"


def test_parts_of_another_trouble_are_left_out(watch, record) -> None:
    trouble = LineOrder("s", LineState.DEGRADED, "waiting for segmentation", 1)
    watch.follow(trouble, SECOND)
    watch.follow(RUNNING, 2 * SECOND)
    assert set(run(watch, record, [LATE] * 20, 2000, 50)) == {""}, "it settles for two seconds"
    assert run(watch, record, [LATE] * 3, 3101, 50)[-1] == OVERLOAD


def test_the_alarm_itself_is_no_other_trouble(watch, record) -> None:
    watch.follow(RUNNING, 0)
    run(watch, record, [LATE] * 3, 100, 50)
    own = LineOrder("s", LineState.DEGRADED, OVERLOAD, 1)
    watch.follow(own, 300 * MS)
    assert set(run(watch, record, [LATE] * 50, 300, 100)) == {OVERLOAD}
    watch.follow(msgspec.structs.replace(own, cause=f"waiting for x; {OVERLOAD}"), 5300 * MS)
    assert set(run(watch, record, [LATE] * 40, 5300, 50)) == {""}


def test_what_has_an_alarm_of_its_own_is_left_to_it(watch, record) -> None:
    assert set(run(watch, record, [Reason.NOT_RECORDED, Reason.LINE_STOPPED] * 10, 0, 50)) == {""}
