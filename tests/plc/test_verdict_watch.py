"""A reader of verdicts against the line's own client, through real brokers."""

from __future__ import annotations

import time

import pytest

from pipeline.control import Command, LineState
from pipeline.messages import Reason
from plc.payloads import verdict_payload
from plc.verdict_watch import Arrival, VerdictWatch

MS = 1_000_000
WAIT_S = 10.0


@pytest.fixture
def mqtt(broker, rig):
    return rig.mqtt(broker.port, broker.kind)


@pytest.fixture
def watch(mqtt):
    watch = VerdictWatch(mqtt)
    watch.start()
    yield watch
    watch.close()


@pytest.fixture
def line(mqtt, rig, watch):
    client = rig.line(mqtt)
    client.set_status(rig.order(LineState.RUNNING))
    rig.until(lambda: client.tick(0, 0) or "RUNNING" in watch.states)
    return client


def fresh(rig, sequence, reason=Reason.BELOW_THRESHOLD, age_ms=50):
    """A verdict of now, for a part that was captured a while ago."""
    wall_ns = time.time_ns()
    return rig.record(
        sequence,
        reason,
        captured_wall_ns=wall_ns - age_ms * MS,
        decided_wall_ns=wall_ns,
        deadline_wall_ns=wall_ns + 2000 * MS,
        deadline_monotonic_ns=time.monotonic_ns() + 2000 * MS,
    )


def test_each_verdict_is_heard_with_the_time_since_its_capture(line, watch, rig):
    before_ns = time.time_ns()
    for sequence in (2, 1, 3):
        assert line.publish_verdict(fresh(rig, sequence))
    assert watch.wait(lambda it: it.count == 3, WAIT_S)
    after_ns = time.time_ns()
    arrivals = watch.arrivals()
    assert [arrival.verdict.sequence for arrival in arrivals] == [1, 2, 3]
    for arrival in arrivals:
        assert before_ns <= arrival.at_wall_ns <= after_ns
        assert 50 <= arrival.latency_ms <= 51 + (after_ns - before_ns) / MS
        assert not arrival.too_late


def test_the_first_verdict_of_a_part_counts(line, watch, rig):
    line.publish_verdict(fresh(rig, 1, age_ms=50))
    line.publish_verdict(fresh(rig, 1, age_ms=900_000))
    assert watch.wait(lambda it: it.count == 2, WAIT_S)
    (arrival,) = watch.arrivals()
    assert arrival.latency_ms < 900_000


def test_a_command_reaches_the_line(line, watch, rig):
    watch.send(Command.START)
    rig.until(lambda: line.tick(0, 0) or line.requests)
    assert [request.command for request in line.requests] == [Command.START]


def test_waiting_ends_after_its_time(watch):
    assert not watch.wait(lambda it: it.count > 0, 0.01)


def test_what_comes_after_its_deadline_is_late_by_a_millisecond(rig):
    deadline_ns = 1_795_331_702_500_000_000
    record = rig.record(1, captured_wall_ns=deadline_ns - 400 * MS, deadline_wall_ns=deadline_ns)
    verdict = verdict_payload(record)
    on_time = Arrival(verdict, deadline_ns + MS // 2)
    late = Arrival(verdict, deadline_ns + 2 * MS)
    assert (on_time.too_late, late.too_late) == (False, True)
    assert on_time.latency_ms == pytest.approx(400.5, abs=0.01)
    assert late.captured_s == pytest.approx((deadline_ns - 400 * MS) / 1e9, abs=1e-5)


def test_a_part_without_a_capture_has_no_latency(rig):
    record = rig.record(1, Reason.NOT_ANNOUNCED, captured_wall_ns=None, deadline_wall_ns=None)
    arrival = Arrival(verdict_payload(record), 1_795_331_702_500_000_000)
    assert arrival.latency_ms is None
    assert not arrival.too_late
