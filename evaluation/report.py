"""The result of an evaluation: as tables on the terminal, and as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from evaluation.results import (
    BundleResult,
    Evaluation,
    Fault,
    Metrics,
    Summary,
    cell,
)

LISTED = 10
COLUMNS = {
    "image_auroc": "image\nAUROC",
    "image_ap": "image\nAP",
    "pixel_auroc": "pixel\nAUROC",
    "pixel_ap": "pixel\nAP",
    "pro_30": "PRO\n30 %",
    "pro_5": "PRO\n5 %",
}
ABLATION = ("image_auroc", "pixel_auroc", "pro_30", "pixel_ap", "images_per_second")
"""The columns of the paper's Tables VII and VIII."""
TITLES = {**COLUMNS, "images_per_second": "images/s"}


def as_json(found: Evaluation) -> str:
    """The evaluation as JSON text; a metric that is not defined is null.

    `paradigms` and, for each, the entry of its name hold the same figures: means over the bundles.
    """
    paradigms = {name: _paradigm_content(found, name) for name in found.paradigms}
    only = found.bundles[0] if len(found.bundles) == 1 else None
    content: dict[str, Any] = {
        "line": found.line,
        "source": found.source,
        "created": found.created.isoformat(timespec="seconds"),
        "command": found.command,
        "bundle": only.id if only else None,
        "device": found.device,
        "device_name": found.device_name,
        "dtype": found.dtype,
        "batch_size": found.batch_size,
        **paradigms,
        "paradigms": paradigms,
        "bundles": [_bundle_content(bundle) for bundle in found.bundles],
        "verdicts": asdict(only.verdicts) if only and only.verdicts else None,
        "skipped": [part._asdict() for part in found.skipped],
        "without_mask": [part._asdict() for part in found.mask_faults],
        "faults": [fault.text for fault in found.faults],
    }
    return json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def show(found: Evaluation, console: Console) -> None:
    """Print the tables, the speed, the verdicts at the line's threshold, and what was left out."""
    for bundle in found.bundles:
        _say(console, f"Line {found.line}, bundle {bundle.id}, on {found.source}")
    if len(found.paradigms) > 1:
        console.print(_ablation_table(found))
    for paradigm in found.paradigms:
        console.print(_table(found, paradigm))
    for paradigm in found.paradigms:
        _say(console, speed_text(found, paradigm))
    for bundle in found.bundles:
        _say(console, verdicts_text(bundle))
    for fault in found.faults:
        _say(console, _listing(fault))


def speed_text(found: Evaluation, paradigm: str) -> str:
    """The speed of a paradigm and what it was measured on."""
    rate = cell(found.overall(paradigm), "images_per_second")
    return (
        f"{rate} images/s through the networks with {paradigm} ({found.device}: "
        f"{found.device_name}, {found.dtype}, batches of {found.batch_size})"
    )


def verdicts_text(bundle: BundleResult) -> str:
    """What the line would have decided with this bundle, or why that is not known."""
    counts = bundle.verdicts
    if counts is None:
        return f"No verdicts of bundle {bundle.id}: {bundle.verdicts_missing}"
    return (
        f"Bundle {bundle.id} at the line's threshold {counts.threshold:.6g} "
        f"(calibration {counts.calibration_id}): "
        f"escapes {counts.escapes} of {counts.defective} defective parts, "
        f"overkill {counts.overkill} of {counts.good} good parts"
    )


def counts_text(metrics: Metrics) -> str:
    """How many good and how many defective images."""
    return f"{metrics.good} + {metrics.defective}"


def summaries_content(overall: Summary, per_type: Mapping[str, Summary]) -> dict[str, Any]:
    """Means under `overall` and `per_type`, and over several runs their standard deviations."""
    content: dict[str, Any] = {
        "overall": asdict(overall.mean),
        "per_type": {kind: asdict(summary.mean) for kind, summary in per_type.items()},
    }
    if overall.deviation is not None:
        content["standard_deviation"] = {
            "overall": overall.deviation,
            "per_type": {kind: summary.deviation for kind, summary in per_type.items()},
        }
    return content


def _paradigm_content(found: Evaluation, paradigm: str) -> dict[str, Any]:
    per_type = {kind: found.of_kind(paradigm, kind) for kind in found.kinds}
    return summaries_content(found.overall(paradigm), per_type)


def _bundle_content(bundle: BundleResult) -> dict[str, Any]:
    return {
        "id": bundle.id,
        "folder": str(bundle.folder),
        "profile": bundle.profile,
        "paradigms": {name: asdict(of) for name, of in bundle.paradigms.items()},
        "verdicts": None if bundle.verdicts is None else asdict(bundle.verdicts),
    }


def _say(console: Console, text: str) -> None:
    """Plain text, since names may hold what looks like markup; the terminal breaks the lines."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def _ablation_table(found: Evaluation) -> Table:
    table = Table(title=f"paradigms{_over_bundles(found)}")
    table.add_column("paradigm", overflow="fold")
    for key in ABLATION:
        table.add_column(TITLES[key], justify="right")
    for paradigm in found.paradigms:
        overall = found.overall(paradigm)
        table.add_row(paradigm, *(cell(overall, key) for key in ABLATION))
    return table


def _table(found: Evaluation, paradigm: str) -> Table:
    title = f"{paradigm}: each kind of defect against all good parts{_over_bundles(found)}"
    table = Table(title=title)
    table.add_column("kind", overflow="fold")
    for column in ("images", *COLUMNS.values()):
        table.add_column(column, justify="right")
    for kind in found.kinds:
        cells = _cells(found.of_kind(paradigm, kind))
        table.add_row(escape(kind), *cells, end_section=kind == found.kinds[-1])
    table.add_row("overall", *_cells(found.overall(paradigm)))
    return table


def _over_bundles(found: Evaluation) -> str:
    count = len(found.bundles)
    return f", mean ± standard deviation of {count} bundles" if count > 1 else ""


def _cells(summary: Summary) -> list[str]:
    return [counts_text(summary.mean), *(cell(summary, key) for key in COLUMNS)]


def _listing(fault: Fault) -> str:
    if not fault.parts:
        return fault.text[:1].upper() + fault.text[1:]
    lines = [f"  {part.name}: {part.why}" for part in fault.parts[:LISTED]]
    if len(fault.parts) > LISTED:
        lines.append(f"  and {len(fault.parts) - LISTED} more (all of them in --json)")
    return "\n".join([f"{len(fault.parts)} {fault.text}:", *lines])
