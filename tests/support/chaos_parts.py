"""Parts as the chaos campaign's checks see them: captured, decided 200 ms later, at the gate."""

from __future__ import annotations

from typing import Any

from pipeline.messages import AnnouncedNote, Part, Reason, Stamp, Verdict, VerdictRecord

SESSION, BUNDLE = "20261122-071502-3f9a", "b-1"
CAPTURED_S = 1000.0
DEADLINE_S = CAPTURED_S + 2
WALL_NS = 1_790_000_000_000_000_000
COMPUTED = tuple(
    Stamp(stage, int(CAPTURED_S * 1e9), int((CAPTURED_S + 0.1) * 1e9))
    for stage in ("preprocessing", "reconstruction", "segmentation")
)
REJECTED = {"verdict": Verdict.REJECT, "reason": Reason.ABOVE_THRESHOLD, "score": 0.75}


def announced(sequence: int = 1, captured_s: float = CAPTURED_S) -> AnnouncedNote:
    """The ledger's note of a part; its deadline is 2 s after the capture."""
    captured_ns = int(captured_s * 1e9)
    part = Part(3, SESSION, sequence)
    return AnnouncedNote(part, captured_ns, WALL_NS, captured_ns + 2_000_000_000, "", None)


def record(sequence: int = 1, **changes: Any) -> VerdictRecord:
    """A PASS."""
    whole: dict[str, Any] = {
        "part": Part(3, SESSION, sequence),
        "verdict": Verdict.PASS,
        "reason": Reason.BELOW_THRESHOLD,
        "text": "",
        "score": 0.25,
        "threshold": 0.5,
        "bundle_id": BUNDLE,
        "calibration_id": "c-1",
        "captured_wall_ns": WALL_NS,
        "decided_wall_ns": WALL_NS + 200_000_000,
        "deadline_wall_ns": WALL_NS + 2_000_000_000,
        "late": False,
        "latency_ms": 200.0,
        "simulated": True,
        "source": "",
        "truth": None,
        "defects": (),
        "stamps": COMPUTED,
    }
    return VerdictRecord(**(whole | changes))
