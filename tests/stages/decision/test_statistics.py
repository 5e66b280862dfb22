"""Totals: verdicts, reasons, hops, rate and truth, counted one by one and kept over a restart."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pipeline.control import TruthCount
from pipeline.messages import Reason, Truth, Verdict
from stages.decision.ledger import Ledger
from stages.decision.statistics import END_TO_END, SessionStatistics, StatisticsState, hops

DEFECTIVE, GOOD = Truth(True, "scratch"), Truth(False)


def judged(shop: Any, ledger: Ledger, cases: list[tuple[Truth | None, float | None]]) -> None:
    """One part after the other, every 100 ms; a score of None is a failure."""
    for sequence, (truth, score) in enumerate(cases, start=1):
        at_ms = 100.0 * sequence
        ledger.announce(shop.announcement(sequence, at_ms, truth), shop.now(at_ms))
        outcome = (
            shop.failure(sequence) if score is None else shop.result(sequence, score, at_ms=at_ms)
        )
        assert ledger.settle(outcome, shop.now(at_ms + 150))


def test_escapes_and_overkill_are_what_the_truth_says(shop: Any, ledger: Ledger) -> None:
    cases = [
        (DEFECTIVE, 0.9),
        (DEFECTIVE, 0.1),
        (DEFECTIVE, None),
        (GOOD, 0.1),
        (GOOD, 0.9),
        (GOOD, 0.9),
        (GOOD, None),
        (None, 0.9),
    ]
    judged(shop, ledger, cases)
    totals = ledger.statistics()
    assert totals.truth == TruthCount(escapes=1, overkill=2, defective=3, good=4)
    assert totals.verdicts == {Verdict.PASS: 2, Verdict.REJECT: 4, Verdict.UNINSPECTED: 2}
    assert totals.reasons == {
        Reason.BELOW_THRESHOLD: 2,
        Reason.ABOVE_THRESHOLD: 4,
        Reason.FRAME_BLACK: 2,
    }
    assert (totals.bundle_id, totals.calibration_id) == ("bundle", "calibration")


def test_without_truth_there_is_no_count_of_it(shop: Any, ledger: Ledger) -> None:
    judged(shop, ledger, [(None, 0.1)])
    assert ledger.statistics().truth is None


def test_hops_add_up_to_the_whole_way(shop: Any, ledger: Ledger) -> None:
    ledger.announce(shop.announcement(1, 100), shop.now(100))
    (record,) = ledger.settle(shop.result(1, at_ms=100), shop.now(260))
    found = dict(hops(record))
    assert found == {
        "acquisition": pytest.approx(5),
        "preprocessing": pytest.approx(30),
        "reconstruction": pytest.approx(30),
        "segmentation": pytest.approx(30),
        "decision": pytest.approx(65),
    }
    assert sum(found.values()) == pytest.approx(record.latency_ms)


def test_a_part_that_did_not_come_through_has_no_hops(shop: Any, ledger: Ledger) -> None:
    ledger.announce(shop.announcement(1), shop.now(0))
    (failed,) = ledger.settle(shop.failure(1), shop.now(10))
    (missing,) = ledger.missing_until(2, shop.now(20))
    assert hops(failed) == hops(missing) == []
    totals = ledger.statistics()
    assert set(totals.latency_ms) == {END_TO_END}


def test_latency_and_rate(shop: Any, ledger: Ledger) -> None:
    judged(shop, ledger, [(None, 0.1)] * 11)
    totals = ledger.statistics()
    end_to_end = totals.latency_ms[END_TO_END]
    assert end_to_end.p50 == pytest.approx(150, rel=0.02)
    assert end_to_end.p99 == pytest.approx(150, rel=0.02)
    assert set(totals.latency_ms) == {
        *(END_TO_END, "acquisition", "preprocessing", "reconstruction", "segmentation", "decision"),
    }
    assert totals.parts_per_second == pytest.approx(11 / 1.150, rel=0.001)


def test_before_the_first_verdict_everything_is_zero(ledger: Ledger) -> None:
    totals = ledger.statistics()
    assert (totals.announced, totals.parts_per_second, totals.truth) == (0, 0.0, None)
    assert totals.verdicts == dict.fromkeys(Verdict, 0)
    assert totals.latency_ms == {}


def test_what_is_stored_goes_on_as_if_never_interrupted(shop: Any, ledger: Ledger) -> None:
    judged(shop, ledger, [(DEFECTIVE, 0.1), (GOOD, 0.9), (None, None), (GOOD, 0.1)])
    stored = msgspec.json.encode(ledger._statistics.state())
    restored = SessionStatistics(msgspec.json.decode(stored, type=StatisticsState))
    for sequence, statistics in ((5, restored), (6, ledger._statistics)):
        other = shop.ledger()
        other.missing_until(sequence - 1, shop.now(0))
        other.announce(shop.announcement(sequence, 900, GOOD), shop.now(900))
        (record,) = other.settle(shop.result(sequence, 0.2, at_ms=900), shop.now(1000))
        statistics.add(record)
    assert restored.line_statistics(5, shop.rule) == ledger._statistics.line_statistics(
        5, shop.rule
    )
