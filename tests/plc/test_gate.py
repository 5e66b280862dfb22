"""The gate of the simulated PLC: only a PASS in time lets a part pass."""

from __future__ import annotations

import time

import pytest

from pipeline.control import LineState
from pipeline.messages import Reason
from pipeline.sequences import Sequences
from plc import gate
from plc.gate import MOST_AT_ONCE, GateRegister
from plc.payloads import (
    HeartbeatPayload,
    reject_payload,
    undelivered_payload,
    verdict_payload,
)

SESSION = "20261122-071502-3f9a"
DECIDED_MS, LEFT_MS = 86_412_077, 1812
"""When the rig's verdicts are sent, by the line's counting clock, and what is left then."""
LEFT_S = LEFT_MS / 1e3


def at(seconds: float) -> float:
    """A moment after the decision, by the PLC's own clock."""
    return 1000.0 + seconds


@pytest.fixture
def register():
    register = GateRegister(belt_s=2.0)
    register.heartbeat(beat(0), at(0))
    return register


def beat(sequence, sent_s=0.0):
    sent_ms = DECIDED_MS + round(1e3 * sent_s)
    return HeartbeatPayload(3, SESSION, 1, LineState.RUNNING, sequence, 0, sent_ms)


def fired(register, seconds, position=None):
    """(sequence, fired) of the parts that are at the gate by then."""
    return [(p.sequence, p.fired) for p in register.advance(at(seconds), position)]


def passed(rig, sequence, **changes):
    record = rig.record(sequence, Reason.BELOW_THRESHOLD, **changes)
    return verdict_payload(record, LEFT_MS, DECIDED_MS)


def rejected(rig, sequence):
    return verdict_payload(rig.record(sequence), LEFT_MS, DECIDED_MS)


def test_a_pass_in_time_lets_its_part_pass(rig, register):
    register.verdict(passed(rig, 1), at(0.1))
    register.verdict(rejected(rig, 2), at(0.1))
    assert fired(register, 1.8) == []
    assert fired(register, LEFT_S + 0.1) == [(1, False), (2, True)]
    report = register.report()
    assert (report.parts, report.passed, report.right) == (2, 1, 1)
    assert report.least_ahead_ms == pytest.approx(1000 * (LEFT_S - 0.1), abs=1)


def test_silence_is_a_reject(register):
    register.hear_of(SESSION, 2, at(0))
    assert fired(register, 1.9) == []
    assert fired(register, 2.0) == [(1, True), (2, True)]
    assert (register.report().silent, register.report().wrong) == (2, 0)


def test_a_pass_that_comes_too_late_changes_nothing_and_is_counted(rig, register):
    register.hear_of(SESSION, 1, at(0))
    assert fired(register, 2.0) == [(1, True)]
    register.verdict(passed(rig, 1), at(2.1))
    report = register.report()
    assert (report.passed, report.wrong, report.late, report.silent) == (0, 1, 1, 0)


def test_a_pass_that_was_held_up_beyond_its_deadline_is_no_proof(rig, register):
    register.verdict(passed(rig, 1), at(LEFT_S + 0.1))
    assert fired(register, LEFT_S + 0.1) == [(1, True)]
    assert (register.report().wrong, register.report().late) == (1, 1)


@pytest.mark.parametrize("wrong_s", [3600, -3600])
def test_a_wall_clock_that_is_set_costs_no_part_and_no_escape(rig, register, wrong_s):
    record = rig.record(1, Reason.BELOW_THRESHOLD)
    times = ("captured_wall_ns", "decided_wall_ns", "deadline_wall_ns")
    wrong = {name: getattr(record, name) + wrong_s * 1_000_000_000 for name in times}
    register.verdict(passed(rig, 1, **wrong), at(0.1))
    register.verdict(passed(rig, 2, **wrong), at(LEFT_S + 0.1))
    there = fired(register, LEFT_S + 0.1)
    assert there == [(1, False), (2, True)], "the second was held up beyond its deadline"


def test_a_message_that_was_held_up_has_less_time_left(rig, register):
    register.verdict(passed(rig, 1), at(1.0))
    register.reject(reject_payload(rig.record(2), LEFT_MS, DECIDED_MS), at(1.0))
    assert fired(register, LEFT_S - 0.01) == []
    assert fired(register, LEFT_S + 0.01) == [(1, False), (2, True)], "when they are at the gate"


def test_heartbeats_tell_what_the_swiftest_message_takes(rig):
    register = GateRegister(belt_s=2.0)
    register.heartbeat(beat(0), at(3.0))
    register.verdict(passed(rig, 1), at(3.0))
    register.heartbeat(beat(1, sent_s=3.1), at(3.1))
    register.verdict(passed(rig, 2), at(3.2))
    assert fired(register, 3.2) == [(2, True)], "3.2 s on its way"


def test_the_encoder_says_when_a_part_is_at_the_gate(rig, register):
    register.verdict(passed(rig, 1, reject_position=812.0), at(0))
    register.reject(reject_payload(rig.record(2, reject_position=900.0), 1800, DECIDED_MS), at(0))
    assert fired(register, 60.0, position=811.9) == []
    assert fired(register, 60.0, position=812.0) == [(1, False)]
    assert fired(register, 60.0, position=899.9) == []
    assert fired(register, 60.0, position=900.0) == [(2, True)]


def test_a_reject_alone_never_lets_a_part_pass(rig, register):
    register.reject(reject_payload(rig.record(1), 300, DECIDED_MS), at(0))
    (part,) = register.advance(at(0.3), None)
    assert (part.fired, part.rejected) == (True, True)


def test_the_same_verdict_again_is_counted_and_another_one_stands_out(rig, register):
    register.verdict(passed(rig, 1), at(0))
    register.verdict(passed(rig, 1), at(0.1))
    register.verdict(rejected(rig, 2), at(0.1))
    register.verdict(passed(rig, 2), at(0.2))
    assert fired(register, 3) == [(1, False), (2, True)], "the first one counts"
    report = register.report()
    assert (report.repeated, report.contradictions) == (2, 1)


def test_a_part_without_deadline_is_no_proof(rig, register):
    record = rig.record(1, Reason.NOT_ANNOUNCED, deadline_wall_ns=None, captured_wall_ns=None)
    register.verdict(verdict_payload(record, None, DECIDED_MS), at(0))
    assert fired(register, 2.0) == [(1, True)]
    assert register.report().right == 1


def test_what_the_line_names_as_undelivered_is_rejected_and_counted(rig, register):
    named = undelivered_payload(3, SESSION, Sequences([(1, 3)]), Sequences([(4, 4)]), 0)
    register.undelivered(named, at(0))
    register.undelivered(named, at(0))
    assert [decision for _, decision in fired(register, 2.0)] == [True] * 4
    assert (register.report().undelivered, register.report().silent) == (4, 4)


def test_another_session_has_other_parts(rig, register):
    register.verdict(passed(rig, 1), at(0))
    register.hear_of("another", 7, at(0.1))
    register.hear_of("another", 8, at(0.2))
    assert register.on_belt == 2, "what was before we listened is not ours to judge"
    assert sorted(fired(register, 9)) == [(1, False), (8, True)]


def test_nothing_seen_is_nothing_reported(register):
    report = register.report()
    assert (report.parts, report.least_ahead_ms) == (0, None)
    assert "none came in time" in report.text()


def test_a_part_whose_time_changes_is_at_the_gate_once_and_then(rig, register):
    register.hear_of(SESSION, 2, at(0))
    earlier = reject_payload(rig.record(1), 500, DECIDED_MS)
    later = reject_payload(rig.record(2), 2500, DECIDED_MS)
    for payload in (earlier, later):
        register.reject(payload, at(0))
    assert fired(register, 0.49) == []
    assert fired(register, 0.51) == [(1, True)]
    assert fired(register, 2.4) == [], "nobody expects the second part any more by then"
    assert fired(register, 2.51) == [(2, True)]
    assert fired(register, 9.0) == []


def test_a_full_belt_costs_a_cycle_nothing(register):
    register.hear_of(SESSION, 20_000, at(0))
    began_s = time.process_time()
    assert all(fired(register, 1.9) == [] for _ in range(1000))
    assert time.process_time() - began_s < 0.5, "looking at each part would take some seconds"


def test_no_number_makes_the_belt_endless(register):
    register.hear_of(SESSION, 2**62, at(0))
    assert register.on_belt == 0
    named = undelivered_payload(3, SESSION, Sequences([(1, 2**62)]), Sequences(), 0)
    register.undelivered(named, at(0))
    assert register.on_belt == MOST_AT_ONCE + 1
    register.hear_of(SESSION, 3, at(0))
    assert register.on_belt == MOST_AT_ONCE + 1


def test_parts_of_long_ago_are_counted_and_forgotten(rig, register, monkeypatch):
    monkeypatch.setattr(gate, "MOST_BEHIND", 10)
    register.heartbeat(beat(0), at(0))
    register.heartbeat(beat(30), at(0.1))
    for sequence in range(1, 16):
        register.verdict(passed(rig, sequence), at(0.2))
    fired(register, 10)
    assert (register.behind, len(register._behind)) == (30, 10)
    report = register.report()
    assert (report.parts, report.passed, report.silent) == (30, 15, 15)
    register.verdict(passed(rig, 1), at(11))
    assert register.on_belt == 0, "a part that is forgotten does not come back"
