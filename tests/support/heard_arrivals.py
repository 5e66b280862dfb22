"""Verdicts as a reader hears them, laid out by the test."""

from __future__ import annotations

from datetime import UTC, datetime

from pipeline.messages import Part, Reason, Verdict, VerdictRecord
from plc.payloads import verdict_payload
from plc.verdict_watch import Arrival

START_NS = int(datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp()) * 1_000_000_000
MS = 1_000_000
DEADLINE_MS = 2000


def arrival(
    sequence: int, captured_ms: int, took_ms: int, reason: Reason = Reason.BELOW_THRESHOLD
) -> Arrival:
    """A part's verdict, decided as it arrives; late when it takes longer than the deadline."""
    passed = reason is Reason.BELOW_THRESHOLD
    captured_ns = START_NS + captured_ms * MS
    record = VerdictRecord(
        part=Part(3, "s", sequence),
        verdict=Verdict.PASS if passed else Verdict.UNINSPECTED,
        reason=reason,
        text="",
        score=0.1 if passed else None,
        threshold=0.5,
        bundle_id="b",
        calibration_id="c",
        captured_wall_ns=captured_ns,
        decided_wall_ns=captured_ns + took_ms * MS,
        deadline_wall_ns=captured_ns + DEADLINE_MS * MS,
        late=took_ms > DEADLINE_MS,
        latency_ms=float(took_ms),
        simulated=True,
        source="camera",
        truth=None,
        defects=(),
        stamps=(),
    )
    return Arrival(verdict_payload(record), captured_ns + took_ms * MS)
