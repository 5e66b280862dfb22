"""The ledger, case by case: what opens a part, what closes it, and what changes nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from pipeline.messages import REASON_TEXT, Part, Reason, Truth, Verdict, VerdictRecord
from pipeline.stage import NEVER_NS
from stages.decision.ledger import MOST_EARLY, MOST_MISSING, Ledger

MS = 1_000_000
Reasons = Callable[[list[VerdictRecord]], list[tuple[int, Reason]]]


def test_an_announced_part_waits_for_its_verdict(shop: Any, ledger: Ledger) -> None:
    note, records = ledger.announce(shop.announcement(1, 5), shop.now(6))
    assert note is not None
    assert (note.part, note.source, records) == (shop.part(1), "frame 1", [])
    assert ledger.is_open(1)
    assert (ledger.announced_until, ledger.settled_until) == (1, 0)


def test_a_result_in_time_is_a_complete_record(shop: Any, ledger: Ledger) -> None:
    ledger.announce(shop.announcement(1, 5, Truth(True, "scratch")), shop.now(6))
    result = shop.result(1, 0.75, at_ms=5)
    (record,) = ledger.settle(result, shop.now(130))
    assert record == VerdictRecord(
        part=shop.part(1),
        verdict=Verdict.REJECT,
        reason=Reason.ABOVE_THRESHOLD,
        text=REASON_TEXT[Reason.ABOVE_THRESHOLD],
        score=0.75,
        threshold=0.5,
        bundle_id="bundle",
        calibration_id="calibration",
        captured_wall_ns=shop.now(5).wall_ns,
        decided_wall_ns=shop.now(130).wall_ns,
        deadline_wall_ns=shop.now(505).wall_ns,
        late=False,
        latency_ms=125.0,
        simulated=True,
        source="frame 1",
        truth=Truth(True, "scratch"),
        defects=result.defects,
        stamps=result.stamps,
        deadline_monotonic_ns=505 * MS,
        recipe="default",
    )
    assert not ledger.is_open(1)
    assert ledger.settled_until == 1


@pytest.mark.parametrize(
    ("at_ms", "reason", "late"),
    [
        (480, Reason.BELOW_THRESHOLD, False),
        (480.001, Reason.DEADLINE, False),
        (500, Reason.DEADLINE, False),
        (500.001, Reason.DEADLINE, True),
    ],
)
def test_a_result_counts_until_the_margin_before_the_deadline(
    shop: Any, ledger: Ledger, at_ms: float, reason: Reason, late: bool
) -> None:
    ledger.announce(shop.announcement(1), shop.now(0))
    (record,) = ledger.settle(shop.result(1), shop.now(at_ms))
    assert (record.reason, record.late) == (reason, late)


def test_a_part_without_result_expires_at_the_margin(
    shop: Any, ledger: Ledger, reasons: Reasons
) -> None:
    for sequence, captured_ms in ((1, 0), (2, 50)):
        ledger.announce(shop.announcement(sequence, captured_ms), shop.now(captured_ms))
    assert ledger.expire(shop.now(479.999)) == []
    assert reasons(ledger.expire(shop.now(480))) == [(1, Reason.DEADLINE)]
    assert reasons(ledger.expire(shop.now(9999))) == [(2, Reason.DEADLINE)]
    assert ledger.expire(shop.now(99999)) == []


def test_what_comes_twice_or_too_late_changes_nothing(shop: Any, ledger: Ledger) -> None:
    ledger.announce(shop.announcement(1), shop.now(0))
    assert len(ledger.settle(shop.result(1), shop.now(10))) == 1
    assert ledger.settle(shop.result(1, 0.9), shop.now(11)) == []
    assert ledger.settle(shop.failure(1), shop.now(12)) == []
    assert ledger.announce(shop.announcement(1), shop.now(13)) == (None, [])
    assert ledger.close_all(shop.now(14)) == []


def test_a_failure_closes_a_part_with_its_own_words(shop: Any, ledger: Ledger) -> None:
    ledger.announce(shop.announcement(1), shop.now(0))
    (record,) = ledger.settle(shop.failure(1, Reason.FRAME_SATURATED), shop.now(10))
    assert (record.verdict, record.reason) == (Verdict.UNINSPECTED, Reason.FRAME_SATURATED)
    assert record.text == "FRAME_SATURATED here"
    assert (record.score, record.bundle_id) == (None, "bundle")


@pytest.mark.parametrize("outcome", ["result", "failure"])
def test_an_outcome_may_come_before_its_announcement(
    shop: Any, ledger: Ledger, outcome: str
) -> None:
    early = shop.result(2) if outcome == "result" else shop.failure(2)
    assert ledger.settle(early, shop.now(1)) == []
    assert ledger.settle(shop.result(2, 0.9), shop.now(2)) == [], "the first one counts"
    ledger.announce(shop.announcement(1), shop.now(2))
    note, (record,) = ledger.announce(shop.announcement(2), shop.now(3))
    assert note is not None
    expected = Reason.BELOW_THRESHOLD if outcome == "result" else Reason.FRAME_BLACK
    assert (record.part.sequence, record.reason) == (2, expected)
    assert ledger.is_open(1)


def test_numbers_left_out_are_closed_when_the_next_one_comes(
    shop: Any, ledger: Ledger, reasons: Reasons
) -> None:
    ledger.settle(shop.failure(2, Reason.FRAME_BLACK), shop.now(1))
    ledger.settle(shop.result(3), shop.now(1))
    _, records = ledger.announce(shop.announcement(4), shop.now(2))
    assert reasons(records) == [
        (1, Reason.NOT_ANNOUNCED),
        (2, Reason.FRAME_BLACK),
        (3, Reason.NOT_ANNOUNCED),
    ]
    assert {record.verdict for record in records} == {Verdict.UNINSPECTED}
    assert all(record.latency_ms is None and record.score is None for record in records)
    assert ledger.settled_until == 3
    assert ledger.announce(shop.announcement(2), shop.now(3)) == (None, [])


def test_numbers_that_were_given_out_but_never_announced(
    shop: Any, ledger: Ledger, reasons: Reasons
) -> None:
    ledger.announce(shop.announcement(1), shop.now(0))
    assert reasons(ledger.missing_until(3, shop.now(5))) == [
        (2, Reason.NOT_ANNOUNCED),
        (3, Reason.NOT_ANNOUNCED),
    ]
    assert ledger.missing_until(3, shop.now(6)) == []
    assert (ledger.announced_until, ledger.settled_until) == (3, 0)


def test_an_absurd_number_does_not_fill_the_memory(shop: Any, ledger: Ledger) -> None:
    far = MOST_MISSING + 2
    assert ledger.announce(shop.announcement(far), shop.now(0)) == (None, [])
    assert ledger.announced_until == 0
    assert len(ledger.missing_until(10**12, shop.now(0))) == MOST_MISSING + 1
    for sequence in range(far + 1, far + MOST_EARLY + 50):
        ledger.settle(shop.failure(sequence), shop.now(1))
    assert len(ledger._early) == MOST_EARLY


def test_outcomes_far_ahead_are_not_kept_in_the_place_of_near_ones(
    shop: Any, ledger: Ledger, reasons: Reasons
) -> None:
    for sequence in range(10**6, 10**6 + 2 * MOST_EARLY):
        ledger.settle(shop.failure(sequence), shop.now(1))
    ledger.settle(shop.result(1), shop.now(1))
    _, records = ledger.announce(shop.announcement(1), shop.now(2))
    assert reasons(records) == [(1, Reason.BELOW_THRESHOLD)]


def test_parts_of_another_line_or_session_are_none_of_ours(shop: Any, ledger: Ledger) -> None:
    ledger.announce(shop.announcement(1), shop.now(0))
    assert ledger.announce(shop.announcement(2, session="other"), shop.now(0)) == (None, [])
    for part in (Part(3, "other", 1), Part(4, shop.session, 1), Part(3, shop.session, 0)):
        foreign = shop.failure(1)
        assert ledger.settle(type(foreign)(part, *fields(foreign)), shop.now(1)) == []
    assert ledger.is_open(1)
    assert ledger.announced_until == 1


def fields(message: Any) -> list[Any]:
    return [getattr(message, name) for name in message.__struct_fields__ if name != "part"]


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("case", ["in time", "late", "of another model"])
def test_a_score_that_is_not_finite_is_in_no_record(
    shop: Any, ledger: Ledger, score: float, case: str
) -> None:
    ledger.announce(shop.announcement(1), shop.now(0))
    bundle = "another" if case == "of another model" else "bundle"
    at_ms = 490 if case == "late" else 10
    (record,) = ledger.settle(shop.result(1, score, bundle), shop.now(at_ms))
    assert record.verdict is Verdict.UNINSPECTED
    assert record.score is None


def test_the_end_of_the_line_closes_what_is_open(
    shop: Any, ledger: Ledger, reasons: Reasons
) -> None:
    for sequence in (1, 2, 3):
        ledger.announce(shop.announcement(sequence), shop.now(0))
    ledger.settle(shop.result(2), shop.now(10))
    assert reasons(ledger.close_all(shop.now(20))) == [
        (1, Reason.LINE_STOPPED),
        (3, Reason.LINE_STOPPED),
    ]
    assert ledger.settled_until == 3


def test_settled_numbers_count_without_gaps(shop: Any, ledger: Ledger) -> None:
    for sequence in range(1, 6):
        ledger.announce(shop.announcement(sequence), shop.now(0))
    for sequence, until in ((2, 0), (3, 0), (1, 3), (5, 3), (4, 5)):
        ledger.settle(shop.result(sequence), shop.now(10))
        assert ledger.settled_until == until


def test_the_next_deadline_is_known_whatever_the_order(shop: Any, ledger: Ledger) -> None:
    assert ledger.due_ns == NEVER_NS
    for sequence, captured_ms in ((1, 100), (2, 50), (3, 70)):
        ledger.announce(shop.announcement(sequence, captured_ms), shop.now(100))
    assert ledger.due_ns == (50 + 480) * MS
    ledger.settle(shop.result(2), shop.now(110))
    assert ledger.due_ns == (70 + 480) * MS
    assert len(ledger.expire(shop.now(70 + 480))) == 1
    assert ledger.due_ns == (100 + 480) * MS
    ledger.close_all(shop.now(200))
    assert ledger.due_ns == NEVER_NS


def test_a_ledger_that_goes_on_knows_its_next_deadline(shop: Any, ledger: Ledger) -> None:
    for sequence in (1, 2):
        ledger.announce(shop.announcement(sequence, 10 * sequence), shop.now(30))
    ledger.settle(shop.result(1), shop.now(40))
    successor = shop.ledger()
    assert list(successor.replay(ledger.snapshot())) == []
    assert successor.due_ns == (20 + 480) * MS
