"""From what the ledger recorded and a reader heard to figures: delays, backlog, and faults."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from pipeline.errors import LineError
from pipeline.journal import decode, read_lines, segments
from pipeline.messages import AnnouncedNote, LedgerLine, Verdict, VerdictRecord

STRETCHES = 10
"""Into so many equal times a run is cut, to see whether its backlog grows."""
GROWN_S = 0.05
"""A backlog has grown when it is longer than before by what comes in so many seconds."""
LEAST_RATE = 0.99
"""Share of the wanted rate that has to be reached."""


@dataclass(frozen=True)
class Decided:
    """A verdict of the ledger; times in monotonic nanoseconds, `decided_ns` to the microsecond.

    `scored_ns`: when the score left the stage before, None for a part without a score.
    """

    verdict: Verdict
    reason: str
    late: bool
    scored_ns: int | None
    decided_ns: int | None


def read_ledger(folder: Path) -> dict[int, Decided]:
    """Every verdict in the journal of a line's only session, by the parts' numbers.

    Raises LineError for a damaged line, and for a verdict that was given twice.
    """
    decoder: msgspec.json.Decoder[LedgerLine] = msgspec.json.Decoder(LedgerLine)
    captured_ns: dict[int, int] = {}
    decided: dict[int, Decided] = {}
    for segment in segments(folder):
        for text, _ in read_lines(folder, segment, 0):
            line = decode(text, decoder)
            if isinstance(line, AnnouncedNote):
                captured_ns[line.part.sequence] = line.captured_monotonic_ns
            elif isinstance(line, VerdictRecord):
                sequence = line.part.sequence
                if sequence in decided:
                    raise LineError(f"the ledger has two verdicts of part {sequence}")
                decided[sequence] = _decided(line, captured_ns.get(sequence))
    return decided


def _decided(record: VerdictRecord, captured_ns: int | None) -> Decided:
    decided_ns = None
    if captured_ns is not None and record.latency_ms is not None:
        decided_ns = captured_ns + round(record.latency_ms * 1e6)
    scored_ns = record.stamps[-1].sent_monotonic_ns if record.stamps else None
    return Decided(record.verdict, str(record.reason), record.late, scored_ns, decided_ns)


@dataclass(frozen=True)
class Delay:
    """A time over the verdicts of a run, in milliseconds."""

    p50: float
    p90: float
    p99: float
    most: float

    @classmethod
    def of(cls, spans_ns: Sequence[int]) -> Delay:
        """Raises LineError where there is none."""
        if not spans_ns:
            raise LineError("not one verdict was heard; look at the line with run_line")
        found = np.percentile(np.asarray(spans_ns) / 1e6, (50, 90, 99, 100))
        return cls(*(round(float(value), 3) for value in found))


@dataclass(frozen=True)
class Backlog:
    """Parts whose score was sent and whose verdict was not heard: the most at any time, and the
    most that most of the time waited, by tenths of the run.
    """

    most: int
    medians: tuple[float, ...]

    @property
    def growth(self) -> float:
        """Parts that wait in the last tenth, beyond those of the second; the first one warms up."""
        return self.medians[-1] - self.medians[1]


def backlog_of(scored_ns: Sequence[int], heard_ns: Sequence[int]) -> Backlog:
    """Counted at each sending, over the time in which scores were sent."""
    sent, heard = np.sort(np.asarray(scored_ns)), np.sort(np.asarray(heard_ns))
    waiting = np.arange(1, len(sent) + 1) - np.searchsorted(heard, sent, side="right")
    parts = np.array_split(waiting, STRETCHES)
    medians = tuple(float(np.median(part)) if len(part) else 0.0 for part in parts)
    return Backlog(int(waiting.max()), medians)


@dataclass(frozen=True)
class Limits:
    """What is allowed: milliseconds from decided to heard, at the 99th percentile."""

    p99_ms: float


@dataclass(frozen=True)
class RateRun:
    """One run at one rate. `cpu_ms`: processor time per verdict of each process, by name."""

    rate: float
    parts: int
    heard_rate: float
    sent_rate: float
    after_decision_ms: Delay
    after_score_ms: Delay
    backlog: Backlog
    uninspected: Mapping[str, int]
    late: int
    unheard: int
    repeated: int
    unexpected: int
    cpu_ms: Mapping[str, float]

    def content(self) -> dict[str, Any]:
        """The figures as JSON."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found

    def faults(self, limits: Limits) -> list[str]:
        """What must not be, in a sentence each."""
        at = f"at {self.rate:g} parts/s"
        found = [
            f"{at} {count} of {self.parts} verdicts were {what}"
            for what, count in (
                ("never heard", self.unheard),
                ("heard twice", self.repeated),
                ("late", self.late),
                ("heard of parts that nobody announced", self.unexpected),
            )
            if count
        ]
        if self.uninspected:
            reasons = ", ".join(f"{count} {name}" for name, count in self.uninspected.items())
            found.append(f"{at} parts were not inspected: {reasons}")
        return found + self._slow(at, limits)

    def _slow(self, at: str, limits: Limits) -> list[str]:
        found = []
        p99_ms = self.after_decision_ms.p99
        if p99_ms > limits.p99_ms:
            found.append(
                f"{at} p99 from decision to reader is {p99_ms:.2f} ms, more than {limits.p99_ms:g}"
            )
        if self.sent_rate < LEAST_RATE * self.rate:
            found.append(f"{at} only {self.sent_rate:.1f} scores/s could be sent: a busy machine")
        if self.heard_rate < LEAST_RATE * self.sent_rate:
            found.append(f"{at} only {self.heard_rate:.1f} verdicts/s were heard")
        if self.backlog.growth > max(5.0, GROWN_S * self.rate):
            found.append(f"{at} the backlog grew by {self.backlog.growth:.0f} parts over the run")
        return found


def figures(
    rate: float,
    parts: int,
    ledger: Mapping[int, Decided],
    arrivals: Mapping[int, Sequence[int]],
    cpu_ms: Mapping[str, float],
) -> RateRun:
    """What a run of `parts` parts came to. Raises LineError where nothing was heard."""
    both = [(ledger[number], times[0]) for number, times in arrivals.items() if number in ledger]
    scored = [it.scored_ns for it in ledger.values() if it.scored_ns is not None]
    heard = [at_ns for it, at_ns in both if it.scored_ns is not None]
    after_score = [at_ns - it.scored_ns for it, at_ns in both if it.scored_ns is not None]
    after_decision = [at_ns - it.decided_ns for it, at_ns in both if it.decided_ns is not None]
    return RateRun(
        rate=rate,
        parts=parts,
        heard_rate=rate_of(heard),
        sent_rate=rate_of(scored),
        after_decision_ms=Delay.of(after_decision),
        after_score_ms=Delay.of(after_score),
        backlog=backlog_of(scored, heard),
        uninspected=Counter(
            it.reason for it in ledger.values() if it.verdict is Verdict.UNINSPECTED
        ),
        late=sum(it.late for it in ledger.values()),
        unheard=sum(number not in arrivals for number in range(1, parts + 1)),
        repeated=sum(len(times) - 1 for times in arrivals.values()),
        unexpected=sum(number not in ledger for number in arrivals),
        cpu_ms=cpu_ms,
    )


def rate_of(moments_ns: Sequence[int]) -> float:
    """Events per second between the first and the last; 0 for fewer than two."""
    span_ns = max(moments_ns, default=0) - min(moments_ns, default=0)
    return round((len(moments_ns) - 1) / (span_ns / 1e9), 2) if span_ns else 0.0
