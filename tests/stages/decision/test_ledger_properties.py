"""The ledger under everything at once: whatever is lost, doubled, late, or killed, each part gets
exactly one verdict, and never PASS without proof.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from pipeline.messages import (
    AnnouncedNote,
    Announcement,
    Failure,
    InspectionResult,
    LedgerLine,
    Reason,
    Truth,
    Verdict,
    VerdictRecord,
)
from stages.decision.ledger import Ledger
from stages.decision.rule import verdict_of

MS = 1_000_000
DEADLINE_MS, MARGIN_MS = 500, 20
PARTS = 40
RUNS = 150
SCORES = (0.0, 0.25, 0.5, 0.51, 3.0, math.nan, math.inf, -math.inf)
Event = tuple[float, Announcement | InspectionResult | Failure | str]


@dataclass
class Life:
    """One random life of a line: what was written, and every verdict that was given."""

    shop: Any
    chance: random.Random
    journal: list[LedgerLine] = field(default_factory=list)
    verdicts: list[VerdictRecord] = field(default_factory=list)
    restarts: int = 0

    def __post_init__(self) -> None:
        self.ledger: Ledger = self.shop.ledger()

    def events(self) -> Iterator[Event]:
        """Announcements and outcomes, lost, doubled and delayed, between ticks and kills."""
        for sequence in range(1, PARTS + 1):
            captured_ms = 20.0 * sequence
            yield from self._announcements(sequence, captured_ms)
            yield from self._outcomes(sequence, captured_ms)
        for _ in range(60):
            yield self.chance.uniform(0, 20 * PARTS + 900), "tick"
        for _ in range(self.chance.randint(0, 6)):
            kind = self.chance.choice(["restart", "killed before writing", "next segment"])
            yield self.chance.uniform(0, 20 * PARTS + 600), kind

    def _announcements(self, sequence: int, captured_ms: float) -> Iterator[Event]:
        truth = self.chance.choice([None, Truth(True, "scratch"), Truth(False)])
        announcement = self.shop.announcement(sequence, captured_ms, truth)
        for _ in range(self.chance.choices([0, 1, 2], [5, 85, 10])[0]):
            yield captured_ms + self._lateness_ms(), announcement

    def _lateness_ms(self) -> float:
        return self.chance.choices([0, 1, 60, 700], [60, 36, 2, 2])[0]

    def _outcomes(self, sequence: int, captured_ms: float) -> Iterator[Event]:
        for _ in range(self.chance.choices([0, 1, 2], [10, 75, 15])[0]):
            delay_ms = self.chance.choice([-30, 0, 100, 300, 479.5, 480, 480.5, 499, 501, 900])
            outcome: InspectionResult | Failure
            if self.chance.random() < 0.2:
                outcome = self.shop.failure(sequence)
            else:
                bundle = self.chance.choices(["bundle", "other"], [9, 1])[0]
                score = self.chance.choice(SCORES)
                outcome = self.shop.result(sequence, score, bundle, at_ms=captured_ms)
            yield captured_ms + delay_ms, outcome

    def run(self) -> list[Event]:
        history = sorted(self.events(), key=lambda event: event[0])
        killed = False
        for at_ms, event in history:
            if event == "killed before writing":
                killed = True  # the next thing that happens is its last, and leaves no trace
                continue
            lines = self._step(event, at_ms)
            if killed and lines:
                killed = False
                self._restart()
                continue
            self._write(lines)
        end_ms = 20.0 * PARTS + 2000
        self._write(self.ledger.missing_until(PARTS, self.shop.now(end_ms)))
        self._write(self.ledger.expire(self.shop.now(end_ms)))
        return history

    def _step(self, event: Any, at_ms: float) -> list[LedgerLine]:
        now = self.shop.now(at_ms)
        if isinstance(event, Announcement):
            note, records = self.ledger.announce(event, now)
            return [*([note] if note else []), *records]
        if isinstance(event, InspectionResult | Failure):
            return [*self.ledger.settle(event, now)]
        if event == "restart":
            self._restart()
        elif event == "next segment":
            self.journal = self.ledger.snapshot()
        return [*self.ledger.expire(now)]

    def _restart(self) -> None:
        """A new process: it knows what was written, as it was written."""
        decoder = msgspec.json.Decoder(LedgerLine)
        stored = [decoder.decode(msgspec.json.encode(line)) for line in self.journal]
        self.ledger = self.shop.ledger()
        for _ in self.ledger.replay(stored):
            continue
        self.restarts += 1

    def _write(self, lines: list[Any]) -> None:
        self.journal += lines
        self.verdicts += [line for line in lines if isinstance(line, VerdictRecord)]


@pytest.fixture(scope="module")
def seeds() -> range:
    return range(20261122, 20261122 + RUNS)


def lives(shop: Any, seeds: range) -> Iterator[tuple[Life, list[Event]]]:
    for seed in seeds:
        life = Life(shop, random.Random(seed))
        yield life, life.run()


def test_every_part_gets_exactly_one_verdict(shop: Any, seeds: range) -> None:
    restarts = 0
    for life, _ in lives(shop, seeds):
        sequences = sorted(record.part.sequence for record in life.verdicts)
        assert sequences == list(range(1, PARTS + 1))
        assert life.ledger.settled_until == PARTS
        assert life.ledger.announced_until == PARTS
        assert not any(life.ledger.is_open(sequence) for sequence in sequences)
        restarts += life.restarts
    assert restarts > RUNS, "the property must be tried under restarts"


def is_proof(event: Any, at_ms: float, record: VerdictRecord, captured_ms: float) -> bool:
    return (
        isinstance(event, InspectionResult)
        and event.part == record.part
        and event.bundle_id == "bundle"
        and math.isfinite(event.score)
        and event.score <= 0.5
        and event.score == record.score
        and at_ms <= captured_ms + DEADLINE_MS - MARGIN_MS
    )


def test_pass_has_a_proof(shop: Any, seeds: range) -> None:
    passed = 0
    for life, history in lives(shop, seeds):
        for record in life.verdicts:
            if record.verdict is not Verdict.PASS:
                continue
            passed += 1
            captured_ms = 20.0 * record.part.sequence
            proofs = [e for at_ms, e in history if is_proof(e, at_ms, record, captured_ms)]
            assert proofs, record
            latest = shop.now(captured_ms + DEADLINE_MS - MARGIN_MS)
            assert record.decided_wall_ns <= latest.wall_ns
            assert not record.late
    assert passed > RUNS * PARTS / 10, "the property must be tried on parts that pass"


def test_records_agree_with_themselves(shop: Any, seeds: range) -> None:
    reasons: Counter[Reason] = Counter()
    for life, _ in lives(shop, seeds):
        for record in life.verdicts:
            reasons[record.reason] += 1
            assert record.verdict is verdict_of(record.reason)
            assert record.score is None or math.isfinite(record.score)
            if record.captured_wall_ns is not None:
                captured = shop.now(20.0 * record.part.sequence)
                assert record.captured_wall_ns == captured.wall_ns
                assert record.deadline_wall_ns == captured.wall_ns + DEADLINE_MS * MS
                assert record.late == (record.decided_wall_ns > record.deadline_wall_ns)
                assert record.latency_ms == pytest.approx(
                    (record.decided_wall_ns - record.captured_wall_ns) / MS, abs=0.001
                )
    wanted = {
        Reason.BELOW_THRESHOLD,
        Reason.ABOVE_THRESHOLD,
        Reason.DEADLINE,
        Reason.NOT_ANNOUNCED,
        Reason.FRAME_BLACK,
        Reason.SCORE_NOT_FINITE,
        Reason.MODEL_MISMATCH,
    }
    assert set(reasons) == wanted, "every reason must have been tried"


def test_totals_survive_every_restart(shop: Any, seeds: range) -> None:
    for life, _ in lives(shop, seeds):
        totals = life.ledger.statistics()
        assert totals.announced == PARTS
        counted = Counter(record.verdict for record in life.verdicts)
        assert totals.verdicts == {verdict: counted[verdict] for verdict in Verdict}
        assert totals.reasons == Counter(record.reason for record in life.verdicts)
        known = [record for record in life.verdicts if record.truth is not None]
        if totals.truth is None:
            assert not known
            continue
        assert totals.truth.defective + totals.truth.good == len(known)
        assert totals.truth.escapes == sum(
            bool(record.truth and record.truth.defective and record.verdict is Verdict.PASS)
            for record in known
        )


def test_a_ledger_never_waits_for_a_part_that_it_does_not_know(shop: Any, seeds: range) -> None:
    """What is open is what was announced and has no verdict: nothing more, nothing less."""
    for seed in seeds:
        life = Life(shop, random.Random(seed))
        ledger, known = life.ledger, set[int]()
        for at_ms, event in sorted(life.events(), key=lambda item: item[0]):
            for line in life._step(event if not isinstance(event, str) else "tick", at_ms):
                if isinstance(line, AnnouncedNote):
                    known.add(line.part.sequence)
                else:
                    known.discard(line.part.sequence)
            assert {number for number in range(PARTS + 1) if ledger.is_open(number)} == known
