"""What was held up on its way is noticed, whatever the clocks show."""

from __future__ import annotations

import pytest

from plc.transit import DRIFT, MOST_SESSIONS, TransitWatch

BOOTED_S = 12_345.678
"""When the line's clock began to count, by the receiver's."""


def held_up(watch: TransitWatch, sent_s: float, took_s: float, session: str = "a") -> float:
    return watch.held_up_s(session, round(1e3 * sent_s), BOOTED_S + sent_s + took_s)


def test_a_message_is_compared_with_the_swiftest_one() -> None:
    watch = TransitWatch()
    assert held_up(watch, 1.0, 0.004) == 0
    assert held_up(watch, 1.1, 0.002) == 0
    assert held_up(watch, 1.2, 1.502) == pytest.approx(1.5, abs=0.002)
    assert held_up(watch, 1.3, 0.005) == pytest.approx(0.003, abs=0.002)


def test_clocks_that_run_apart_hold_nothing_up() -> None:
    watch = TransitWatch()
    for second in range(3600):
        assert held_up(watch, second, 0.002 + 0.9 * DRIFT * second) < 0.001
    assert held_up(watch, 3600, 0.002 + 0.9 * DRIFT * 3600 + 0.5) == pytest.approx(0.5, abs=0.01)


def test_what_is_held_up_more_and_more_is_not_taken_for_drift() -> None:
    watch = TransitWatch()
    assert held_up(watch, 0, 0) == 0
    assert [round(held_up(watch, s, 0.01 * s), 2) for s in (10, 20, 30)] == [0.10, 0.20, 0.29]


def test_each_session_has_its_own_clock_and_old_ones_stay_old() -> None:
    watch = TransitWatch()
    held_up(watch, 5.0, 0.002)
    assert watch.held_up_s("b", 7, 99.0) == 0, "another machine, just booted"
    assert held_up(watch, 5.1, 60.0) == pytest.approx(60, abs=0.1)
    for number in range(MOST_SESSIONS):
        watch.held_up_s(str(number), 0, 200.0)
    assert len(watch._least) == MOST_SESSIONS
