"""What a run of a line came to: its own summary, and what its PLC heard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.control import Percentiles
from pipeline.errors import LineError
from pipeline.messages import Verdict
from plc.verdict_watch import Arrival


@dataclass(frozen=True)
class Run:
    """What a line said of itself at its end, and what its PLC had heard by then."""

    summary: dict[str, Any]
    arrivals: list[Arrival] = field(repr=False)

    @property
    def rate(self) -> float:
        """Parts per second, from the first capture to the last verdict."""
        return float(self.summary["parts_per_second"])

    def content(self) -> dict[str, Any]:
        """The figures as JSON; `mqtt_ms` is from capture to the verdict's arrival."""
        return {
            "summary": self.summary,
            "mqtt_ms": percentiles_content(inspected_ms(self.arrivals)),
            "uninspected": uninspected(self.arrivals),
        }


def inspected_ms(arrivals: Sequence[Arrival]) -> list[float]:
    """Capture to arrival, in milliseconds, of the parts that were inspected."""
    return [
        arrival.latency_ms
        for arrival in arrivals
        if arrival.latency_ms is not None and arrival.verdict.verdict is not Verdict.UNINSPECTED
    ]


def uninspected(arrivals: Sequence[Arrival]) -> dict[str, int]:
    """How many parts were not inspected, by reason."""
    verdicts = [arrival.verdict for arrival in arrivals]
    return dict(
        Counter(str(it.reason_code) for it in verdicts if it.verdict is Verdict.UNINSPECTED)
    )


def percentiles_of(latencies_ms: Sequence[float]) -> Percentiles:
    """p50, p90 and p99. Raises LineError where no part was inspected."""
    if not latencies_ms:
        raise LineError("not one part was inspected; look at the line with run_line")
    p50, p90, p99 = (float(np.percentile(latencies_ms, share)) for share in (50, 90, 99))
    return Percentiles(p50, p90, p99)


def percentiles_content(latencies_ms: Sequence[float]) -> dict[str, float] | None:
    """The same as JSON; None where there are none."""
    if not latencies_ms:
        return None
    found = percentiles_of(latencies_ms)
    return {"p50": found.p50, "p90": found.p90, "p99": found.p99, "parts": len(latencies_ms)}


def complete(summary: dict[str, Any]) -> dict[str, Any]:
    """The same summary. Raises LineError where parts were not inspected."""
    missed = summary["verdicts"]["UNINSPECTED"]
    if missed:
        raise LineError(f"{missed} parts were not inspected: {summary['reasons']}")
    return summary
