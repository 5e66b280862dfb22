"""The ledger of parts: every announced part is kept until it has its one verdict.

A plain object without clock, socket or file: each call takes the time and returns the verdicts
that it leads to. What arrives twice, too late or for no part changes nothing.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import msgspec
from msgspec import Struct

from pipeline.control import LineStatistics
from pipeline.messages import (
    REASON_TEXT,
    AnnouncedNote,
    Announcement,
    Failure,
    InspectionResult,
    LedgerLine,
    Part,
    PublishedNote,
    Reason,
    SessionNote,
    Verdict,
    VerdictRecord,
)
from pipeline.sequences import Sequences
from pipeline.stage import NEVER_NS
from stages.decision.rule import DecisionRule, verdict_of
from stages.decision.statistics import SessionStatistics, StatisticsState

MOST_EARLY = 1000
MOST_MISSING = 100_000

Outcome = InspectionResult | Failure


@dataclass(frozen=True)
class Now:
    """One moment on both clocks, in nanoseconds."""

    monotonic_ns: int
    wall_ns: int


@dataclass(frozen=True)
class Place:
    """Where on the belt and in which batch a part was captured; positions in encoder units."""

    batch: str = ""
    encoder_position: float | None = None
    reject_position: float | None = None


class _Snapshot(Struct, frozen=True, forbid_unknown_fields=True):
    expected: int
    settled_until: int
    settled: tuple[int, ...]
    statistics: StatisticsState
    unpublished: tuple[tuple[int, int], ...] = ()


_NO_PLACE = Place()


class Ledger:
    """The parts of one session. `margin_ns`: how long before its deadline a part is given up."""

    def __init__(
        self, line: int, session: str, rule: DecisionRule, margin_ns: int, simulated: bool
    ) -> None:
        self._line, self._session, self._rule = line, session, rule
        self._margin_ns, self._simulated = margin_ns, simulated
        self._expected = 1
        self._open: dict[int, AnnouncedNote] = {}
        self._deadlines: list[tuple[int, int]] = []
        self._early: dict[int, Outcome] = {}
        self._settled_until = 0
        self._settled: set[int] = set()
        self._statistics = SessionStatistics()
        self.unpublished = Sequences()
        """Parts whose verdict is recorded, and of which the broker has confirmed nothing yet."""

    @property
    def settled_until(self) -> int:
        """Every part up to this sequence has its verdict."""
        return self._settled_until

    @property
    def announced_until(self) -> int:
        """The highest sequence known."""
        return self._expected - 1

    @property
    def rule(self) -> DecisionRule:
        """The calibration that parts are judged by."""
        return self._rule

    def is_open(self, sequence: int) -> bool:
        """Whether a part waits for its verdict."""
        return sequence in self._open

    @property
    def due_ns(self) -> int:
        """When `expire` has a part to close next, monotonic; NEVER_NS while none is open."""
        while self._deadlines:
            deadline_ns, sequence = self._deadlines[0]
            note = self._open.get(sequence)
            if note is not None and note.deadline_monotonic_ns == deadline_ns:
                return deadline_ns - self._margin_ns
            heapq.heappop(self._deadlines)
        return NEVER_NS

    def follow(self, rule: DecisionRule) -> None:
        """Judge by another calibration from now on, also what is open still."""
        self._rule = rule

    def published(self, note: PublishedNote) -> None:
        """Mark what the broker has confirmed."""
        for first, last in (*note.delivered, *note.undelivered):
            self.unpublished.discard(first, last)

    def statistics(self) -> LineStatistics:
        """Totals of the session so far."""
        return self._statistics.line_statistics(self.announced_until, self._rule)

    def announce(
        self, announcement: Announcement, now: Now, place: Place = _NO_PLACE
    ) -> tuple[AnnouncedNote | None, list[VerdictRecord]]:
        """Open a part; numbers left out before it were lost and become UNINSPECTED.

        A number that is known already, of another session, or absurdly far ahead is ignored.
        """
        sequence = announcement.part.sequence
        if not self._is_ours(announcement.part) or sequence < self._expected:
            return None, []
        if sequence - self._expected > MOST_MISSING:
            return None, []
        missing = self.missing_until(sequence - 1, now)
        note = AnnouncedNote(
            part=announcement.part,
            captured_monotonic_ns=announcement.captured_monotonic_ns,
            captured_wall_ns=announcement.captured_wall_ns,
            deadline_monotonic_ns=announcement.deadline_monotonic_ns,
            source=announcement.source,
            truth=announcement.truth,
            batch=place.batch,
            encoder_position=place.encoder_position,
            reject_position=place.reject_position,
        )
        self._reopen(note)
        early = self._early.pop(sequence, None)
        return note, missing + (self.settle(early, now) if early is not None else [])

    def missing_until(self, last_sequence: int, now: Now) -> list[VerdictRecord]:
        """Close numbers up to this one that were given out but never announced."""
        records = []
        last = min(last_sequence, self._expected + MOST_MISSING)
        for sequence in range(self._expected, last + 1):
            self._expected = sequence + 1
            early = self._early.pop(sequence, None)
            reason, text = Reason.NOT_ANNOUNCED, REASON_TEXT[Reason.NOT_ANNOUNCED]
            if isinstance(early, Failure):
                reason, text = early.reason, early.text
            records.append(self._unannounced(sequence, reason, text, now))
        return records

    def settle(self, outcome: Outcome, now: Now) -> list[VerdictRecord]:
        """Give a part its verdict; an outcome that comes before its announcement is kept for it."""
        if not self._is_ours(outcome.part):
            return []
        sequence = outcome.part.sequence
        if self._expected <= sequence <= self._expected + MOST_EARLY:
            self._early.setdefault(sequence, outcome)
        note = self._open.get(sequence)
        if note is None:
            return []
        if isinstance(outcome, Failure):
            return [self._close(note, outcome.reason, outcome.text, now, outcome)]
        reason = self._rule.reason(outcome)
        if now.monotonic_ns > note.deadline_monotonic_ns - self._margin_ns:
            reason = Reason.DEADLINE
        return [self._close(note, reason, REASON_TEXT[reason], now, outcome)]

    def expire(self, now: Now) -> list[VerdictRecord]:
        """Close the parts whose deadline is reached."""
        if now.monotonic_ns < self.due_ns:
            return []
        limit_ns = now.monotonic_ns + self._margin_ns
        due = [note for note in self._open.values() if note.deadline_monotonic_ns <= limit_ns]
        text = REASON_TEXT[Reason.DEADLINE]
        return [self._close(note, Reason.DEADLINE, text, now) for note in due]

    def close_all(self, now: Now) -> list[VerdictRecord]:
        """Close every open part, because the line ends here."""
        text = REASON_TEXT[Reason.LINE_STOPPED]
        notes = list(self._open.values())
        return [self._close(note, Reason.LINE_STOPPED, text, now) for note in notes]

    def withhold(self, record: VerdictRecord) -> VerdictRecord:
        """A verdict of this ledger that cannot be recorded: without record it is UNINSPECTED."""
        if record.verdict is Verdict.UNINSPECTED:
            return record
        reason = Reason.NOT_RECORDED
        withheld = msgspec.structs.replace(
            record, verdict=verdict_of(reason), reason=reason, text=REASON_TEXT[reason]
        )
        self._statistics.revise(record, withheld)
        return withheld

    def snapshot(self) -> list[LedgerLine]:
        """The lines with which a segment of the journal begins."""
        state = _Snapshot(
            self._expected,
            self._settled_until,
            tuple(sorted(self._settled)),
            self._statistics.state(),
            self.unpublished.ranges,
        )
        text = msgspec.json.encode(state).decode()
        return [SessionNote(self._session, self._line, text), *self._open.values()]

    def replay(self, lines: Iterable[LedgerLine]) -> Iterator[VerdictRecord]:
        """Take over what an earlier process wrote; yields its verdicts."""
        for line in lines:
            if isinstance(line, SessionNote):
                self._restore(line)
            elif isinstance(line, AnnouncedNote):
                self._reopen(line)
            elif isinstance(line, PublishedNote):
                self.published(line)
            else:
                self._expected = max(self._expected, line.part.sequence + 1)
                self._open.pop(line.part.sequence, None)
                yield self._settled_record(line)

    def _restore(self, note: SessionNote) -> None:
        state = msgspec.json.decode(note.snapshot, type=_Snapshot)
        self._open.clear()
        self._expected, self._settled_until = state.expected, state.settled_until
        self._settled = set(state.settled)
        self._statistics = SessionStatistics(state.statistics)
        self.unpublished = Sequences(state.unpublished)

    def _reopen(self, note: AnnouncedNote) -> None:
        self._open[note.part.sequence] = note
        heapq.heappush(self._deadlines, (note.deadline_monotonic_ns, note.part.sequence))
        self._expected = max(self._expected, note.part.sequence + 1)

    def _is_ours(self, part: Part) -> bool:
        return part.line == self._line and part.session == self._session and part.sequence > 0

    def _settle_number(self, sequence: int) -> None:
        self._settled.add(sequence)
        while self._settled_until + 1 in self._settled:
            self._settled_until += 1
            self._settled.discard(self._settled_until)

    def _close(
        self,
        note: AnnouncedNote,
        reason: Reason,
        text: str,
        now: Now,
        outcome: Outcome | None = None,
    ) -> VerdictRecord:
        del self._open[note.part.sequence]
        since_ns = now.monotonic_ns - note.captured_monotonic_ns
        allowed_ns = note.deadline_monotonic_ns - note.captured_monotonic_ns
        result = outcome if isinstance(outcome, InspectionResult) else None
        return self._settled_record(
            VerdictRecord(
                part=note.part,
                verdict=verdict_of(reason),
                reason=reason,
                text=text,
                score=result.score if result and math.isfinite(result.score) else None,
                threshold=self._rule.threshold,
                bundle_id=result.bundle_id if result else self._rule.bundle_id,
                calibration_id=self._rule.calibration_id,
                captured_wall_ns=note.captured_wall_ns,
                decided_wall_ns=now.wall_ns,
                deadline_wall_ns=note.captured_wall_ns + allowed_ns,
                late=now.monotonic_ns > note.deadline_monotonic_ns,
                latency_ms=round(since_ns / 1e6, 3),
                simulated=self._simulated,
                source=note.source,
                truth=note.truth,
                defects=result.defects if result else (),
                stamps=outcome.stamps if outcome else (),
                deadline_monotonic_ns=note.deadline_monotonic_ns,
                recipe=self._rule.recipe,
                batch=note.batch,
                encoder_position=note.encoder_position,
                reject_position=note.reject_position,
            )
        )

    def _unannounced(self, sequence: int, reason: Reason, text: str, now: Now) -> VerdictRecord:
        return self._settled_record(
            VerdictRecord(
                part=Part(self._line, self._session, sequence),
                verdict=verdict_of(reason),
                reason=reason,
                text=text,
                score=None,
                threshold=self._rule.threshold,
                bundle_id=self._rule.bundle_id,
                calibration_id=self._rule.calibration_id,
                captured_wall_ns=None,
                decided_wall_ns=now.wall_ns,
                deadline_wall_ns=None,
                late=False,
                latency_ms=None,
                simulated=self._simulated,
                source="",
                truth=None,
                defects=(),
                stamps=(),
                recipe=self._rule.recipe,
            )
        )

    def _settled_record(self, record: VerdictRecord) -> VerdictRecord:
        self._settle_number(record.part.sequence)
        self.unpublished.add(record.part.sequence)
        self._statistics.add(record)
        return record
