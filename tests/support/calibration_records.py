"""A calibration and its parity for tests: whole, and about nothing in particular."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from calibration.record import CalibrationRecord
from calibration.record_parity import ComparedMode, ParityStatement, RefusedMode

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


def compared_mode(dtype: str) -> ComparedMode:
    """One precision, in one batch size, of a parity that refused nothing."""
    return ComparedMode(
        mode=dtype,
        dtype=dtype,
        batch_size=8,
        threads=2,
        tolerance=0.01,
        parts_within_tolerance=5,
        largest_difference=0.004,
        p99_difference=1e-30,
        largest_map_difference=0.02,
        flips=1,
    )


def parity_statement(
    of: CalibrationRecord, *dtypes: str, refused: tuple[str, ...] = (), **changes: Any
) -> ParityStatement:
    """That all of these precisions were compared for a calibration, and which were refused."""
    statement = ParityStatement(
        line=of.line,
        calibration_id=of.id,
        bundle_id=of.bundle_id,
        threshold=of.threshold,
        calibrated_in=of.dtype,
        reference="float32",
        device="cpu",
        source="60 parts",
        parts=130,
        images_digest="1" * 16,
        modes=tuple(compared_mode(dtype) for dtype in dtypes),
        created=NOON,
        versions={"torch": "2.13.0"},
        refused=tuple(RefusedMode(dtype=it, figures=f"{it} is far off") for it in refused),
    )
    return statement.model_copy(update=changes)
