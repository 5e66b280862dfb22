from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from rich.console import Console

from calibration_records import calibration_record
from evaluation.parity import Deviation, Mode, Reference
from evaluation.parity_gate import Parity
from evaluation.parity_report import parity_as_json, refusal, show_parity

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
RECORD = calibration_record()
SAME = Deviation("bfloat16", "bfloat16", 32, 16, 0.0625, 4, 0.02893, 0.019, 0.484, 0.06, 3, 0, 0)
OUTSIDE = replace(SAME, batch_size=7, largest_difference=0.1875, largest_share=3.0, wrong=2)


def unreachable() -> None:
    raise AssertionError("nothing is computed for a report")


@pytest.fixture
def found() -> Parity:
    scores = np.array([0.1, 0.4, 0.49, 0.52, 0.9])
    return Parity(
        calibration=RECORD,
        source="2 parts [small]",
        device="cpu",
        device_name="a processor",
        parts=2,
        blends=3,
        images_digest="1" * 16,
        reference=Reference(0.5, scores, np.zeros((5, 4, 4), np.float16)),
        modes=(Mode("bfloat16", "bfloat16", 0.25, (16,), unreachable),),
        deviations=(SAME,),
    )


def shown(found: Parity) -> str:
    text = io.StringIO()
    show_parity(found, Console(file=text, width=80))
    return text.getvalue()


def test_the_table_fits_a_terminal(found: Parity) -> None:
    text = shown(found)
    (row,) = [line for line in text.splitlines() if line.split()[:1] == ["bfloat16"]]
    assert row.split() == [
        "bfloat16", "16", "32", "2.9e-02", "1.9e-02", "48", "%", "6.0e-02", "3", "0"
    ]  # fmt: skip
    assert "…" not in text


def test_how_much_was_seen_near_the_threshold_is_said(found: Parity) -> None:
    text = shown(found)
    assert "Line 3, bundle abc123, on 2 parts [small]" in text
    assert "Threshold 0.5 (calibration" in text
    assert "made in bfloat16 on cpu" in text
    assert "2 parts, and 3 blends" in text
    assert "2 within 1, 3 within 2, 3 within 4, 5 within 8" in text
    assert "The same verdicts in bfloat16" in text
    assert "3 differ in the mode" in text


def test_a_refused_mode_is_marked_and_named_with_its_worst_figures(found: Parity) -> None:
    failed = replace(found, deviations=(SAME, replace(OUTSIDE, largest_share=1.2), OUTSIDE))
    text = shown(failed)
    assert text.count("REFUSED") == 2
    assert "The same verdicts" not in text
    why = refusal(failed)
    assert why.startswith("bfloat16 is refused in 2 of the batch sizes and threads tried")
    assert "batches of 7 on 16 threads" in why
    assert "up to 0.188, 3 times what is allowed (0.0625 at the threshold)" in why
    assert "2 verdicts differ beyond the tolerance and 3 within it" in why
    assert "calibrate_line" in why


def test_the_figures_as_json(found: Parity) -> None:
    content = json.loads(parity_as_json(found, "evaluate_line --parity", NOW))
    assert content["passed"] is True
    assert (content["threshold"], content["calibrated_in"]) == (0.5, "bfloat16")
    assert content["parts_near"] == {"bfloat16": {"1": 2, "2": 3, "4": 3, "8": 5}}
    assert content["tolerance_log_odds"] == {"bfloat16": 0.25}
    (mode,) = content["modes"]
    assert mode["refused"] is False
    assert mode["largest_difference"] == 0.02893
    failed = json.loads(parity_as_json(replace(found, deviations=(OUTSIDE,)), "", NOW))
    assert failed["passed"] is False
