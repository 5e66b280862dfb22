"""PASS needs proof: a finite score at or below the threshold, of the calibrated model."""

from __future__ import annotations

import math
from typing import Any

import pytest

from pipeline.messages import Reason, Verdict
from stages.decision.rule import verdict_of


@pytest.mark.parametrize(
    ("score", "bundle", "reason"),
    [
        (0.0, "bundle", Reason.BELOW_THRESHOLD),
        (0.5, "bundle", Reason.BELOW_THRESHOLD),
        (math.nextafter(0.5, 1), "bundle", Reason.ABOVE_THRESHOLD),
        (-1.0, "bundle", Reason.BELOW_THRESHOLD),
        (math.inf, "bundle", Reason.SCORE_NOT_FINITE),
        (-math.inf, "bundle", Reason.SCORE_NOT_FINITE),
        (math.nan, "bundle", Reason.SCORE_NOT_FINITE),
        (0.0, "another", Reason.MODEL_MISMATCH),
        (0.0, "", Reason.MODEL_MISMATCH),
        (math.nan, "another", Reason.MODEL_MISMATCH),
    ],
)
def test_the_reason_of_a_result(shop: Any, score: float, bundle: str, reason: Reason) -> None:
    assert shop.rule.reason(shop.result(1, score, bundle)) is reason


def test_only_one_reason_means_pass_and_one_reject() -> None:
    verdicts = {reason: verdict_of(reason) for reason in Reason}
    passed = [reason for reason, verdict in verdicts.items() if verdict is Verdict.PASS]
    rejected = [reason for reason, verdict in verdicts.items() if verdict is Verdict.REJECT]
    assert (passed, rejected) == ([Reason.BELOW_THRESHOLD], [Reason.ABOVE_THRESHOLD])
