"""A calibration for tests: whole, and about nothing in particular."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from calibration.record import CalibrationRecord

NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


def calibration_record(**changes: Any) -> CalibrationRecord:
    """A record of line 3 with a threshold of 0.5, and with these changes."""
    fields: dict[str, Any] = {
        "line": 3,
        "bundle_id": "abc123",
        "threshold": 0.5,
        "pixel_threshold": 0.4,
        "wanted_false_reject_rate": 0.01,
        "expected_false_reject_rate": 0.01,
        "false_reject_bound_95": 0.02,
        "rank": 99,
        "used": 99,
        "skipped": 0,
        "maybe_trained_on": 0,
        "source": "folder /images",
        "images_digest": "0" * 16,
        "preparation": {},
        "device": "cpu",
        "dtype": "bfloat16",
        "score_quantiles": {},
        "created": NOON,
        "versions": {},
    }
    return CalibrationRecord(**(fields | changes))
