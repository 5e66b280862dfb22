"""Totals of a session, kept verdict by verdict and stored with each segment of the journal."""

from __future__ import annotations

from collections import Counter, defaultdict

from msgspec import Struct

from pipeline.control import LineStatistics, TruthCount
from pipeline.messages import Reason, Verdict, VerdictRecord
from pipeline.telemetry import LatencyHistogram
from stages.decision.rule import DecisionRule

END_TO_END = "end_to_end"


class StatisticsState(Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that a `SessionStatistics` knows, in a form that can be stored."""

    verdicts: dict[Verdict, int] = {}
    reasons: dict[Reason, int] = {}
    latencies: dict[str, tuple[tuple[int, int], ...]] = {}
    truth: tuple[int, int, int, int] = (0, 0, 0, 0)
    first_wall_ns: int | None = None
    last_wall_ns: int = 0


class SessionStatistics:
    """Counts verdicts, reasons and latencies, and compares with the truth where it is known."""

    def __init__(self, state: StatisticsState | None = None) -> None:
        state = state or StatisticsState()
        self._verdicts = Counter(state.verdicts)
        self._reasons = Counter(state.reasons)
        self._latencies: defaultdict[str, LatencyHistogram] = defaultdict(LatencyHistogram)
        for name, counts in state.latencies.items():
            self._latencies[name] = LatencyHistogram(counts)
        self._escapes, self._overkill, self._defective, self._good = state.truth
        self._first_wall_ns, self._last_wall_ns = state.first_wall_ns, state.last_wall_ns

    def add(self, record: VerdictRecord) -> None:
        """Count one verdict."""
        self._verdicts[record.verdict] += 1
        self._reasons[record.reason] += 1
        self._add_truth(record)
        if record.captured_wall_ns is not None:
            self._first_wall_ns = self._first_wall_ns or record.captured_wall_ns
        self._last_wall_ns = max(self._last_wall_ns, record.decided_wall_ns)
        if record.latency_ms is not None:
            self._latencies[END_TO_END].add(record.latency_ms)
        for stage, latency_ms in hops(record):
            self._latencies[stage].add(latency_ms)

    def revise(self, before: VerdictRecord, after: VerdictRecord) -> None:
        """Count a verdict that was added as what it has become; its times stay the same."""
        self._verdicts[before.verdict] -= 1
        self._verdicts[after.verdict] += 1
        self._reasons[before.reason] -= 1
        self._reasons[after.reason] += 1
        self._verdicts, self._reasons = +self._verdicts, +self._reasons
        self._compare(before, -1)
        self._compare(after, 1)

    def state(self) -> StatisticsState:
        """What is needed to go on later from here."""
        return StatisticsState(
            verdicts=dict(self._verdicts),
            reasons=dict(self._reasons),
            latencies={name: histogram.counts() for name, histogram in self._latencies.items()},
            truth=(self._escapes, self._overkill, self._defective, self._good),
            first_wall_ns=self._first_wall_ns,
            last_wall_ns=self._last_wall_ns,
        )

    def line_statistics(self, announced: int, rule: DecisionRule) -> LineStatistics:
        """The totals for people and the summary; `announced` parts have been announced."""
        known = self._defective + self._good
        return LineStatistics(
            announced=announced,
            verdicts={verdict: self._verdicts[verdict] for verdict in Verdict},
            reasons=dict(self._reasons),
            latency_ms={name: item.percentiles() for name, item in self._latencies.items()},
            parts_per_second=self._rate(),
            truth=TruthCount(self._escapes, self._overkill, self._defective, self._good)
            if known
            else None,
            bundle_id=rule.bundle_id,
            calibration_id=rule.calibration_id,
        )

    def _add_truth(self, record: VerdictRecord) -> None:
        if record.truth is None:
            return
        self._defective += record.truth.defective
        self._good += not record.truth.defective
        self._compare(record, 1)

    def _compare(self, record: VerdictRecord, count: int) -> None:
        """Add to the mistakes if the verdict is one."""
        if record.truth is not None and record.truth.defective:
            self._escapes += count * (record.verdict is Verdict.PASS)
        elif record.truth is not None:
            self._overkill += count * (record.verdict is Verdict.REJECT)

    def _rate(self) -> float:
        """Verdicts per second between the first capture and the last verdict."""
        span_ns = self._last_wall_ns - (self._first_wall_ns or self._last_wall_ns)
        return round(self._verdicts.total() / (span_ns / 1e9), 3) if span_ns > 0 else 0.0


def hops(record: VerdictRecord) -> list[tuple[str, float]]:
    """(stage, milliseconds) from one hand-over to the next; they add up to the whole way.

    A hop contains the way to the stage, the wait there, and the stage's work. Empty for a part
    that did not come through all stages.
    """
    if record.latency_ms is None or record.score is None or not record.stamps:
        return []
    first_ns = record.stamps[0].received_monotonic_ns
    before_ns, found = first_ns, []
    for stamp in record.stamps:
        found.append((stamp.stage, (stamp.sent_monotonic_ns - before_ns) / 1e6))
        before_ns = stamp.sent_monotonic_ns
    found.append(("decision", record.latency_ms - (before_ns - first_ns) / 1e6))
    return found
