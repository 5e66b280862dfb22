"""What the verdicts of an overloaded line say, judged from laid-out arrivals."""

from __future__ import annotations

import pytest

from benchmarks.line_overload import OVER, first_usual, judge, phases_of
from benchmarks.shown_camera import Phase
from heard_arrivals import DEADLINE_MS, MS, arrival
from pipeline.errors import LineError
from pipeline.messages import Reason
from plc.verdict_watch import Arrival


def overloaded() -> list[Arrival]:
    """4 parts at 10/s; 6 at 30/s, of which two are given up; 6 at 10/s, slow at first."""
    parts = [arrival(n, 100 * n, 90 + n) for n in range(1, 5)]
    for place, number in enumerate(range(5, 11)):
        reason = Reason.OVERLOAD if number in (7, 9) else Reason.BELOW_THRESHOLD
        parts.append(arrival(number, 500 + 30 * place, 400, reason))
    took_ms = (400, 300, 90, 94, 90, 90)
    parts += [arrival(11 + n, 680 + 100 * n, took) for n, took in enumerate(took_ms)]
    return parts


PHASES = [Phase(10.0, 4), Phase(30.0, 6), Phase(10.0, 6)]


def test_an_overload_is_counted_by_its_phases() -> None:
    found = judge(overloaded(), PHASES, throughput=20.0, batch=2)
    assert (found.parts, found.inspected, found.reasons) == (6, 4, {"OVERLOAD": 2})
    assert found.usual_ms == pytest.approx(94, abs=0.5)
    assert found.offered_per_second == pytest.approx(6 / 0.18, rel=0.01)
    assert found.kept == pytest.approx(4 / 0.18 / 20, rel=0.01)
    overload_ms = (found.overload_p50_ms, found.overload_p90_ms, found.overload_p99_ms)
    assert overload_ms == pytest.approx((400, 400, 400), abs=0.5)
    assert found.before_p50_ms == pytest.approx(92.5, abs=0.5)
    assert found.before_p90_ms == pytest.approx(93.7, abs=0.5)
    assert (found.recovery_parts, found.recovery_s) == (2, pytest.approx(0.2, abs=0.001))
    assert (found.passed_late, found.came_late, found.unheard) == (0, 0, 0)


def test_a_late_pass_and_a_missing_verdict_show() -> None:
    arrivals = overloaded()
    arrivals[4] = arrival(5, 500, DEADLINE_MS + 50)
    in_time = arrivals[5]
    arrivals[5] = Arrival(in_time.verdict, in_time.at_wall_ns + DEADLINE_MS * MS)
    found = judge(arrivals[:-1], PHASES, throughput=20.0, batch=2)
    assert (found.passed_late, found.came_late, found.unheard) == (1, 1, 1)


def test_a_run_in_which_nothing_was_inspected_or_heard_says_so() -> None:
    arrivals = overloaded()
    given_up = [arrival(n, 100 * n, 10, Reason.DEADLINE) for n in range(1, 5)]
    with pytest.raises(LineError, match="not one part was inspected"):
        judge(given_up + arrivals[4:], PHASES, throughput=20.0, batch=2)
    with pytest.raises(LineError, match="a whole phase"):
        judge(arrivals[:10], PHASES, throughput=20.0, batch=2)


def test_a_batch_of_usual_parts_in_a_row_is_a_recovery() -> None:
    took = [200, 90, 200, 90, 90, 90]
    parts = [arrival(n, 100 * n, ms) for n, ms in enumerate(took, 1)]
    assert first_usual(parts, 100.0, 1) == 1
    assert first_usual(parts, 100.0, 3) == 3
    assert first_usual(parts, 100.0, 4) is None
    given_up = arrival(9, 900, 10, Reason.DEADLINE)
    assert first_usual([given_up, *parts[:1]], 100.0, 1) is None


def test_phases_last_as_long_as_asked_and_hold_some_batches() -> None:
    half, over, again = phases_of(24.0, 10.0, 8)
    assert (half.rate_hz, half.parts) == (12.0, 120) == (again.rate_hz, again.parts)
    assert (over.rate_hz, over.parts) == (OVER * 24.0, 360)
    assert [phase.parts for phase in phases_of(24.0, 0.1, 8)] == [32, 32, 32]
