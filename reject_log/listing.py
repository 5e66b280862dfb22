"""The reject log as text for an operator, and as JSON for a program.

Plain aligned columns, the same on a terminal and in a pipe; times are local, with their date.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from pipeline.messages import REASON_TEXT, Defect, Delivery, Stamp, Verdict, VerdictRecord
from reject_log.images import Picture, find_pictures

_HEADINGS = (
    "TIME",
    "PART",
    "VERDICT",
    "REASON",
    "SCORE",
    "DEFECT",
    "LATENCY",
    "RECIPE",
    "BATCH",
    "PLC",
    "IMAGE",
)
_SHOWN_FIRST = (Picture.HEAT, Picture.FRAME, Picture.RECONSTRUCTION)
PLACES = """\
Places that stand out (pixels of the region of interest)
  A single peak rejects nothing: the score is the mean of the image's highest pixels."""
NO_GATE = " (rendered or replayed: no part was at the gate)"
_NONE = "-"
_DELIVERY: dict[Delivery | None, str] = {
    None: "not confirmed by the broker",
    Delivery.DELIVERED: "delivered: the broker has confirmed it",
    Delivery.UNDELIVERED: "undelivered, and the PLC was told so",
}


def table(records: Sequence[VerdictRecord], images: Path) -> str:
    """One row per part under a line of headings. `images`: folder of the line's pictures."""
    rows = [_HEADINGS, *(_row(record, images) for record in records)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(_aligned(row, widths) for row in rows)


def totals(counts: Mapping[Verdict, int], since_wall_ns: int) -> str:
    """All parts since then in one sentence. The reject rate holds UNINSPECTED parts as well."""
    parts = sum(counts.values())
    rejected = parts - counts[Verdict.PASS]
    rate = f"{100 * rejected / parts:.2f} %" if parts else _NONE
    listed = ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict)
    return (
        f"{parts} parts since {local_time(since_wall_ns)}: {listed}; "
        f"reject rate {rate} (REJECT and UNINSPECTED)"
    )


def as_json(record: VerdictRecord, images: Path) -> str:
    """One JSON object on one line: the record, its part id, and the pictures that are there."""
    found = find_pictures(images, record)
    fields: dict[str, Any] = msgspec.to_builtins(record)
    pictures = {picture.value: str(path) for picture, path in found.items()}
    entry = {"part_id": record.part.part_id, **fields, "images": pictures}
    return msgspec.json.encode(entry).decode()


def sheet(record: VerdictRecord, images: Path) -> str:
    """Everything known of one part, for an auditor."""
    sections = [
        _facts(record),
        ["", "Stages (from the first stage's receipt)", *_timeline(record.stamps)],
        ["", PLACES, *_defect_lines(record.defects)],
        ["", "Images", *_image_lines(record, images)],
    ]
    return "\n".join(line for section in sections for line in section)


def local_time(wall_ns: int, milliseconds: bool = False) -> str:
    """A wall time as local date and time, with the offset from UTC where milliseconds are."""
    local = datetime.fromtimestamp(wall_ns // 1_000_000_000).astimezone()
    if not milliseconds:
        return f"{local:%Y-%m-%d %H:%M:%S}"
    return f"{local:%Y-%m-%d %H:%M:%S}.{wall_ns // 1_000_000 % 1000:03d} {local:%z}"


def _row(record: VerdictRecord, images: Path) -> tuple[str, ...]:
    return (
        local_time(record.decided_wall_ns),
        record.part.part_id,
        record.verdict.value,
        record.reason.value,
        _score(record),
        _defect_size(record.defects),
        _NONE if record.latency_ms is None else f"{record.latency_ms:.0f} ms",
        record.recipe or _NONE,
        record.batch or _NONE,
        record.delivery or _NONE,
        _first_picture(record, images),
    )


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
    return "  ".join(cells).rstrip()


def _score(record: VerdictRecord) -> str:
    if record.score is None:
        return _NONE
    sign = ">" if record.score > record.threshold else "<="
    return f"{_exact(record.score, record.threshold)} {sign} {record.threshold:.4g}"


def _exact(score: float, threshold: float) -> str:
    """The score with as many digits as it takes to tell it from the threshold."""
    for digits in range(4, 17):
        text = f"{score:.{digits}g}"
        if score == threshold or text != f"{threshold:.{digits}g}":
            return text
    return repr(score)


def _defect_size(defects: Sequence[Defect]) -> str:
    if not defects:
        return _NONE
    largest = max(defects, key=lambda defect: defect.area_px)
    more = f" +{len(defects) - 1}" if len(defects) > 1 else ""
    return f"{largest.width_px}x{largest.height_px} px{more}"


def _first_picture(record: VerdictRecord, images: Path) -> str:
    found = find_pictures(images, record)
    path = next((found[picture] for picture in _SHOWN_FIRST if picture in found), None)
    if path is None:
        return _NONE
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _facts(record: VerdictRecord) -> list[str]:
    facts = [
        ("Part", record.part.part_id),
        ("Verdict", f"{record.verdict}{' (late: after the deadline)' if record.late else ''}"),
        ("Reason", f"{record.reason}: {REASON_TEXT[record.reason]}"),
        ("Details", record.text or _NONE),
        ("Score", _NONE if record.score is None else repr(record.score)),
        ("Threshold", repr(record.threshold)),
        ("Calibration", record.calibration_id),
        ("Model bundle", record.bundle_id),
        ("Recipe", record.recipe or "not known"),
        ("Batch", record.batch or _NONE),
        ("Captured", _moment(record.captured_wall_ns)),
        ("Decided", _moment(record.decided_wall_ns)),
        ("Deadline", _moment(record.deadline_wall_ns)),
        ("Latency", _NONE if record.latency_ms is None else f"{record.latency_ms:.1f} ms"),
        ("Encoder", _position(record.encoder_position)),
        ("At the gate", _position(record.reject_position)),
        ("To the PLC", _DELIVERY[record.delivery]),
        ("Source", f"{record.source}{NO_GATE if record.simulated else ''}"),
        ("Truth", _truth(record)),
    ]
    return [f"{name:<14}{value}" for name, value in facts]


def _position(position: float | None) -> str:
    return _NONE if position is None else f"{position:.3f} (in the encoder's units)"


def _moment(wall_ns: int | None) -> str:
    return _NONE if wall_ns is None else local_time(wall_ns, milliseconds=True)


def _truth(record: VerdictRecord) -> str:
    if record.truth is None:
        return "not known"
    if not record.truth.defective:
        return "good"
    return f"defective ({record.truth.kind or 'kind not known'})"


def _timeline(stamps: Sequence[Stamp]) -> list[str]:
    if not stamps:
        return [f"  {_NONE}"]
    zero = min(stamp.received_monotonic_ns for stamp in stamps)
    width = max(16, *(len(stamp.stage) + 2 for stamp in stamps))
    return [
        f"  {stamp.stage:<{width}}"
        f"in {(stamp.received_monotonic_ns - zero) / 1e6:>9.1f} ms  "
        f"out {(stamp.sent_monotonic_ns - zero) / 1e6:>9.1f} ms  "
        f"took {(stamp.sent_monotonic_ns - stamp.received_monotonic_ns) / 1e6:>9.1f} ms"
        for stamp in sorted(stamps, key=lambda stamp: stamp.received_monotonic_ns)
    ]


def _defect_lines(defects: Sequence[Defect]) -> list[str]:
    return [
        f"  at ({defect.x_px}, {defect.y_px}), {defect.width_px}x{defect.height_px} px, "
        f"area {defect.area_px} px, peak {defect.peak:.4g}"
        for defect in defects
    ] or [f"  {_NONE}"]


def _image_lines(record: VerdictRecord, images: Path) -> list[str]:
    found = find_pictures(images, record)
    absent = "not kept for this part" if not record.has_images else "none are there (any more)"
    return [f"  {picture:<16}{path}" for picture, path in found.items()] or [f"  {absent}"]
