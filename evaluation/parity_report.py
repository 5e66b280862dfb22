"""What the parity gate found: as a table on the terminal, as JSON, and as the reason to refuse."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from evaluation.parity import Deviation, Mode, Reference, refusal_of
from evaluation.parity_gate import Parity
from evaluation.reference import WORDS

WITHIN = (1, 2, 4, 8)
"""Parts near the threshold are counted within so many tolerances."""

COLUMNS = (
    "mode",
    "threads",
    "batch",
    "largest",
    "99 %",
    "share of\nallowed",
    "map",
    "verdicts\nnear",
    "differ\nbeyond",
)
"""They fit into 80 columns."""


def parity_as_json(found: Parity, command: str, now: datetime) -> str:
    """The figures as JSON text; differences and `allowed` are of the raw score."""
    calibration = found.calibration
    content: dict[str, Any] = {
        "line": calibration.line,
        "source": found.source,
        "created": now.isoformat(timespec="seconds"),
        "command": command,
        "bundle": calibration.bundle_id,
        "calibration": calibration.id,
        "calibrated_in": calibration.dtype,
        "threshold": calibration.threshold,
        "device": found.device,
        "device_name": found.device_name,
        "reference": WORDS,
        "parts": found.parts,
        "blends": found.blends,
        "images_digest": found.images_digest,
        "tolerance_log_odds": {mode.name: mode.tolerance for mode in found.modes},
        "parts_near": {mode.name: _near(found.reference, mode) for mode in found.modes},
        "modes": [asdict(one) | {"refused": one.refused} for one in found.deviations],
        "passed": not found.refused,
    }
    return json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def show_parity(found: Parity, console: Console) -> None:
    """Print what was compared with what, how many parts lay near the threshold, and the figures."""
    calibration = found.calibration
    lines = [
        f"Line {calibration.line}, bundle {calibration.bundle_id}, on {found.source}",
        f"Reference: {WORDS}, on {found.device} ({found.device_name})",
        f"Threshold {calibration.threshold:.6g} (calibration {calibration.id}, made in "
        f"{calibration.dtype} on {calibration.device})",
        f"{found.parts} parts, and {found.blends} blends of passing and rejected ones",
        *(near_text(found.reference, mode) for mode in found.modes),
    ]
    _say(console, "\n".join(lines))
    console.print(deviation_table(found.deviations))
    if not found.refused:
        names = " and ".join(mode.name for mode in found.modes)
        flips = max(deviation.flips for deviation in found.deviations)
        _say(
            console,
            f"The same verdicts in {names} for every part further from the threshold than the "
            f"tolerance. Of the nearer ones, {flips} differ in the mode where most do.",
        )


def refusal(found: Parity) -> str:
    """Each mode that is outside of the tolerance with its worst figures, and what to do."""
    texts = [refusal_of(mode, outside) for mode, outside in found.refused_modes()]
    return (
        f"{'; '.join(texts)}. Scores computed so are not those of the reference, and no threshold "
        "of other scores may judge them: calibrate on a machine that computes as the line does "
        "(calibrate_line), and compare scores of one mode only"
    )


def _near(reference: Reference, mode: Mode) -> dict[str, int]:
    """How many parts lie within so many tolerances of the threshold."""
    return {str(times): int(reference.near(mode.tolerance, times).sum()) for times in WITHIN}


def near_text(reference: Reference, mode: Mode) -> str:
    """The tolerance of a mode, and how much there was to see of it near the threshold."""
    near = _near(reference, mode)
    counts = ", ".join(f"{near[str(times)]} within {times}" for times in WITHIN)
    allowed = reference.allowed_at_threshold(mode.tolerance)
    return (
        f"{mode.name}: tolerance {mode.tolerance:g} of the log odds, {allowed:.3g} of a score at "
        f"the threshold; parts near it, in tolerances: {counts}"
    )


def deviation_table(deviations: Sequence[Deviation]) -> Table:
    """One row for each mode, number of threads and batch size; 80 columns at most."""
    title = "differences from the reference, of the raw score"
    table = Table(title=title, box=box.SIMPLE, padding=0)
    for column in COLUMNS:
        table.add_column(column, justify="left" if column == "mode" else "right", no_wrap=True)
    for one in deviations:
        table.add_row(
            one.mode,
            str(one.threads),
            str(one.batch_size),
            f"{one.largest_difference:.1e}",
            f"{one.p99_difference:.1e}",
            "REFUSED" if one.refused else f"{100 * one.largest_share:.0f} %",
            f"{one.largest_map_difference:.1e}",
            str(one.flips),
            str(one.wrong),
        )
    return table


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)
