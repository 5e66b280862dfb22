"""From a result to a verdict: PASS needs proof, everything else is REJECT or UNINSPECTED."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pipeline.messages import InspectionResult, Reason, Verdict

VERDICT_OF: dict[Reason, Verdict] = {
    Reason.BELOW_THRESHOLD: Verdict.PASS,
    Reason.ABOVE_THRESHOLD: Verdict.REJECT,
}
"""Every other reason means UNINSPECTED."""


@dataclass(frozen=True)
class DecisionRule:
    """The active calibration, as far as a verdict needs it; `threshold` is a raw score."""

    threshold: float
    bundle_id: str
    calibration_id: str
    recipe: str = "default"

    def reason(self, result: InspectionResult) -> Reason:
        """Why a result leads to its verdict: PASS only for a finite score of this very model."""
        if result.bundle_id != self.bundle_id:
            return Reason.MODEL_MISMATCH
        if not math.isfinite(result.score):
            return Reason.SCORE_NOT_FINITE
        if result.score <= self.threshold:
            return Reason.BELOW_THRESHOLD
        return Reason.ABOVE_THRESHOLD


def verdict_of(reason: Reason) -> Verdict:
    """The verdict that a reason leads to."""
    return VERDICT_OF.get(reason, Verdict.UNINSPECTED)
