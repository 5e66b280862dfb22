"""The gate of the simulated PLC: only a PASS in time lets a part pass."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pipeline.messages import Reason
from pipeline.sequences import Sequences
from plc.gate import GateRegister, Moment
from plc.payloads import reject_payload, undelivered_payload, verdict_payload

DECIDED = datetime.fromisoformat("2026-11-22T07:15:02.310Z")
LEFT_S = 1.813
"""From decidedAt to the deadline of the rig's records, as the payload says."""


def at(seconds: float, wall_off_s: float = 0.0) -> Moment:
    """A moment after the decision; the PLC's wall clock may be off."""
    return Moment(1000.0 + seconds, DECIDED + timedelta(seconds=seconds + wall_off_s))


@pytest.fixture
def register():
    register = GateRegister(belt_s=2.0)
    register.hear_of("20261122-071502-3f9a", 0, at(0))
    return register


def fired(register, seconds, position=None, off_s=0.0):
    """(sequence, fired) of the parts that are at the gate by then."""
    return [(p.sequence, p.fired) for p in register.advance(at(seconds, off_s), position)]


def passed(rig, sequence, **changes):
    return verdict_payload(rig.record(sequence, Reason.BELOW_THRESHOLD, **changes))


def rejected(rig, sequence):
    return verdict_payload(rig.record(sequence))


def test_a_pass_in_time_lets_its_part_pass(rig, register):
    register.verdict(passed(rig, 1), at(0.1))
    register.verdict(rejected(rig, 2), at(0.1))
    assert fired(register, 1.8) == []
    assert fired(register, LEFT_S + 0.1) == [(1, False), (2, True)]
    report = register.report()
    assert (report.parts, report.passed, report.right) == (2, 1, 1)
    assert report.least_ahead_ms == pytest.approx(1000 * (LEFT_S - 0.1), abs=1)


def test_silence_is_a_reject(register):
    register.hear_of("20261122-071502-3f9a", 2, at(0))
    assert fired(register, 1.9) == []
    assert fired(register, 2.0) == [(1, True), (2, True)]
    assert (register.report().silent, register.report().wrong) == (2, 0)


def test_a_pass_that_comes_too_late_changes_nothing_and_is_counted(rig, register):
    register.hear_of("20261122-071502-3f9a", 1, at(0))
    assert fired(register, 2.0) == [(1, True)]
    register.verdict(passed(rig, 1), at(2.1))
    report = register.report()
    assert (report.passed, report.wrong, report.late, report.silent) == (0, 1, 1, 0)


def test_a_pass_that_was_held_up_beyond_its_deadline_is_no_proof(rig, register):
    register.verdict(passed(rig, 1), at(LEFT_S + 0.1))
    assert fired(register, LEFT_S + 0.1) == [(1, True)]
    assert (register.report().wrong, register.report().late) == (1, 1)


@pytest.mark.parametrize("off_s", [3600.0, -3600.0])
def test_clocks_that_disagree_cost_rejects_and_no_escape(rig, register, off_s):
    register.verdict(passed(rig, 1), at(0, off_s))
    (decision,) = fired(register, LEFT_S, off_s=off_s)
    assert decision == (1, off_s > 0), "a clock that is ahead sees every message too late"


def test_the_encoder_says_when_a_part_is_at_the_gate(rig, register):
    register.verdict(passed(rig, 1, reject_position=812.0), at(0))
    register.reject(reject_payload(rig.record(2, reject_position=900.0), 1800), at(0))
    assert fired(register, 60.0, position=811.9) == []
    assert fired(register, 60.0, position=812.0) == [(1, False)]
    assert fired(register, 60.0, position=899.9) == []
    assert fired(register, 60.0, position=900.0) == [(2, True)]


def test_a_reject_alone_never_lets_a_part_pass(rig, register):
    register.reject(reject_payload(rig.record(1), 300), at(0))
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
    register.verdict(verdict_payload(record), at(0))
    assert fired(register, 2.0) == [(1, True)]
    assert register.report().right == 1


def test_what_the_line_names_as_undelivered_is_rejected_and_counted(rig, register):
    named = undelivered_payload(
        3, "20261122-071502-3f9a", Sequences([(1, 3)]), Sequences([(4, 4)]), 0
    )
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
    assert DECIDED.tzinfo == UTC
