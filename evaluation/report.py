"""The result of an evaluation: as a table for people, and as JSON for programs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from calibration.images import SkippedPart
from evaluation.evaluate import Metrics, VerdictCounts

LISTED = 10
COLUMNS = {
    "image_auroc": "image\nAUROC",
    "image_ap": "image\nAP",
    "pixel_auroc": "pixel\nAUROC",
    "pixel_ap": "pixel\nAP",
    "pro_30": "PRO\n30 %",
    "pro_5": "PRO\n5 %",
}


@dataclass(frozen=True)
class Evaluation:
    """All that an evaluation found; `verdicts` is None, and `verdicts_missing` says why."""

    line: int
    source: str
    bundle_id: str
    paradigm: str
    device: str
    dtype: str
    batch_size: int
    overall: Metrics
    per_type: dict[str, Metrics]
    images_per_second: float
    skipped: tuple[SkippedPart, ...]
    mask_faults: tuple[SkippedPart, ...]
    verdicts: VerdictCounts | None
    verdicts_missing: str


def as_json(evaluation: Evaluation) -> str:
    """The evaluation as JSON text; a metric that is not defined is null."""
    found = evaluation
    content: dict[str, Any] = {
        "line": found.line,
        "source": found.source,
        "bundle": found.bundle_id,
        "device": found.device,
        "dtype": found.dtype,
        "batch_size": found.batch_size,
        found.paradigm: {
            "overall": {**asdict(found.overall), "images_per_second": found.images_per_second},
            "per_type": {kind: asdict(metrics) for kind, metrics in found.per_type.items()},
        },
        "verdicts": None if found.verdicts is None else asdict(found.verdicts),
        "skipped": [part._asdict() for part in found.skipped],
        "without_mask": [part._asdict() for part in found.mask_faults],
    }
    return json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def show(evaluation: Evaluation, console: Console) -> None:
    """Print the table, the speed, the verdicts at the line's threshold, and what was left out."""
    found = evaluation
    _say(console, f"Line {found.line}, bundle {found.bundle_id}, on {found.source}")
    console.print(_table(found))
    _say(
        console,
        f"{found.images_per_second:.1f} images/s through the networks ({found.device}, "
        f"{found.dtype}, batches of {found.batch_size})",
    )
    _say(console, _verdicts_text(found))
    for title, parts in (
        ("images that could not be used", found.skipped),
        ("images without a usable mask, left out of the pixel metrics", found.mask_faults),
    ):
        if parts:
            _say(console, _listing(title, parts))


def _say(console: Console, text: str) -> None:
    """Plain text, since names may hold what looks like markup; the terminal breaks the lines."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def _table(found: Evaluation) -> Table:
    table = Table(title=f"{found.paradigm}: each kind of defect against all good parts")
    table.add_column("kind")
    for title in ("images", *COLUMNS.values()):
        table.add_column(title, justify="right")
    for kind, metrics in found.per_type.items():
        table.add_row(kind, *_cells(metrics), end_section=kind == list(found.per_type)[-1])
    table.add_row("overall", *_cells(found.overall))
    return table


def _cells(metrics: Metrics) -> list[str]:
    values = (getattr(metrics, key) for key in COLUMNS)
    counts = f"{metrics.good} + {metrics.defective}"
    return [counts, *("-" if value is None else f"{value:.4f}" for value in values)]


def _verdicts_text(found: Evaluation) -> str:
    counts = found.verdicts
    if counts is None:
        return f"No verdicts: {found.verdicts_missing}"
    return (
        f"At the line's threshold {counts.threshold:.6g} (calibration {counts.calibration_id}): "
        f"{counts.escapes} escapes of {counts.defective} defective parts, "
        f"overkill {counts.overkill} of {counts.good} good parts"
    )


def _listing(title: str, parts: tuple[SkippedPart, ...]) -> str:
    lines = [f"  {part.name}: {part.why}" for part in parts[:LISTED]]
    if len(parts) > LISTED:
        lines.append(f"  and {len(parts) - LISTED} more (all of them in --json)")
    return "\n".join([f"{len(parts)} {title}:", *lines])
