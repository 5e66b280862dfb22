"""What the PLC reads: the JSON payloads of the contract in docs/mqtt.md.

Keys are camelCase, after the result names of OPC 40001-101. Within a schema version keys may be
added, never changed or removed.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from pipeline.control import LineOrder, LineState
from pipeline.messages import Defect, Reason, Verdict, VerdictRecord

OFFLINE = "OFFLINE"
"""State that the last will gives: the broker has lost the line's connection."""
RESULT_EVALUATION: dict[Verdict, Literal[1, 2, 3]] = {
    Verdict.PASS: 1,
    Verdict.REJECT: 2,
    Verdict.UNINSPECTED: 3,
}
"""OPC 40001-101 resultEvaluation: OK, NotOK, NotDecidable."""

Time = Annotated[
    str,
    Meta(
        pattern=r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$",
        description="RFC 3339, UTC, milliseconds.",
        extra_json_schema={"format": "date-time"},
    ),
]
Count = Annotated[int, Meta(ge=1)]
Pixels = Annotated[int, Meta(ge=0)]


class DefectBox(Struct, frozen=True, rename="camel"):
    """A defect's bounding box, in pixels of the region of interest, origin top left."""

    x: Pixels
    y: Pixels
    width: Pixels
    height: Pixels
    area: Annotated[int, Meta(ge=0, description="Pixels that belong to the defect.")]
    peak: Annotated[float, Meta(description="Highest probability of a defect, 0 to 1.")]


class VerdictPayload(
    Struct, frozen=True, rename="camel", tag_field="schema", tag="inspection.verdict/1"
):
    """The verdict of one part, on topic `verdict`: QoS 1, not retained."""

    line: Count
    part_id: Annotated[str, Meta(description="Unique for ever.")]
    session: Annotated[str, Meta(description="Changes with every start of the line.")]
    sequence: Annotated[int, Meta(ge=1, description="Counts from 1 without gaps in a session.")]
    verdict: Annotated[Verdict, Meta(description="UNINSPECTED must be treated as REJECT.")]
    reason_code: Reason
    reason_text: str
    result_evaluation: Annotated[
        Literal[1, 2, 3], Meta(description="OPC 40001-101: 1 OK, 2 NotOK, 3 NotDecidable.")
    ]
    score: Annotated[float | None, Meta(description="Raw anomaly score; null without one.")]
    threshold: Annotated[float, Meta(description="A score above it is a REJECT.")]
    defects: tuple[DefectBox, ...]
    captured_at: Time | None
    decided_at: Time
    deadline: Annotated[Time | None, Meta(description="After it the message moves no gate.")]
    late: Annotated[bool, Meta(description="Decided after the deadline.")]
    latency_ms: Annotated[float | None, Meta(description="From capture to decision.")]
    bundle_id: Annotated[str, Meta(description="The model that gave the score.")]
    calibration_id: Annotated[str, Meta(description="The calibration that gave the threshold.")]
    simulated: Annotated[bool, Meta(description="No real part stands behind this verdict.")]


class StatusPayload(
    Struct, frozen=True, rename="camel", tag_field="schema", tag="inspection.status/1"
):
    """The state of the line, on topic `status`: QoS 1, retained; the last will says OFFLINE."""

    line: Count
    state: Annotated[str, Meta(extra_json_schema={"enum": [*LineState, OFFLINE]})]
    cause: Annotated[str, Meta(description="One sentence for people.")]
    since: Annotated[Time | None, Meta(description="Start of the state; null for OFFLINE.")]
    session: str
    version: Annotated[str, Meta(description="Version of the inspection software.")]


def verdict_payload(record: VerdictRecord) -> VerdictPayload:
    """What the PLC hears of a part's verdict."""
    return VerdictPayload(
        line=record.part.line,
        part_id=record.part.part_id,
        session=record.part.session,
        sequence=record.part.sequence,
        verdict=record.verdict,
        reason_code=record.reason,
        reason_text=record.text,
        result_evaluation=RESULT_EVALUATION[record.verdict],
        score=record.score,
        threshold=record.threshold,
        defects=tuple(_box(defect) for defect in record.defects),
        captured_at=_time_or_none(record.captured_wall_ns),
        decided_at=rfc3339(record.decided_wall_ns),
        deadline=_time_or_none(record.deadline_wall_ns),
        late=record.late,
        latency_ms=None if record.latency_ms is None else round(record.latency_ms, 3),
        bundle_id=record.bundle_id,
        calibration_id=record.calibration_id,
        simulated=record.simulated,
    )


def status_payload(line: int, order: LineOrder) -> StatusPayload:
    """What the PLC hears of the line's state."""
    return StatusPayload(
        line=line,
        state=order.state,
        cause=order.cause,
        since=rfc3339(order.since_wall_ns),
        session=order.session,
        version=software_version(),
    )


def will_payload(line: int, session: str) -> StatusPayload:
    """What the broker says for the line once it has lost it; nobody can know since when."""
    return StatusPayload(
        line=line,
        state=OFFLINE,
        cause="the broker lost the line's connection",
        since=None,
        session=session,
        version=software_version(),
    )


def encode(payload: VerdictPayload | StatusPayload) -> bytes:
    """A payload as compact JSON, UTF-8."""
    return msgspec.json.encode(payload)


def rfc3339(wall_ns: int) -> str:
    """Nanoseconds since 1970 as RFC 3339 in UTC, cut (never rounded up) to milliseconds."""
    seconds, rest = divmod(wall_ns, 1_000_000_000)
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest // 1_000_000:03d}Z"


@cache
def software_version() -> str:
    """Version of the installed inspection software."""
    return version("inspection-line")


def _time_or_none(wall_ns: int | None) -> str | None:
    return None if wall_ns is None else rfc3339(wall_ns)


def _box(defect: Defect) -> DefectBox:
    return DefectBox(
        x=defect.x_px,
        y=defect.y_px,
        width=defect.width_px,
        height=defect.height_px,
        area=defect.area_px,
        peak=defect.peak,
    )
