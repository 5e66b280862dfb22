"""What the PLC reads: the JSON payloads of the contract in docs/plc.md.

Keys are camelCase, after the result names of OPC 40001-101. Within a schema version keys may be
added, never changed or removed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from pipeline.control import Answer, LineOrder, LineState
from pipeline.messages import Defect, Reason, Verdict, VerdictRecord
from pipeline.sequences import Sequences

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
SentMs = Annotated[
    int, Meta(ge=0, description="Of the sending, by a clock of the line that only counts.")
]


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
    recipe: Annotated[str, Meta(description="The recipe that the part was inspected by.")]
    batch: Annotated[str | None, Meta(description="As next_batch has said; null without one.")]
    encoder_position: Annotated[
        float | None, Meta(description="Of the belt at the capture, in the encoder's units.")
    ]
    reject_position: Annotated[
        float | None, Meta(description="Of the belt when the part is at the gate.")
    ]
    image_ref: Annotated[
        str | None,
        Meta(description="Name of the part's pictures in the reject log, if it has any."),
    ]
    remaining_ms: Annotated[
        int | None, Meta(description="From sending to the deadline, whatever the clocks say.")
    ]
    sent_ms: SentMs


class RejectPayload(
    Struct, frozen=True, rename="camel", tag_field="schema", tag="inspection.reject/1"
):
    """What the gate must act on, on topic `reject`: QoS 1, not retained, before the verdict."""

    line: Count
    part_id: str
    session: str
    sequence: Count
    verdict: Annotated[Verdict, Meta(extra_json_schema={"enum": ["REJECT", "UNINSPECTED"]})]
    reason_code: Reason
    deadline: Annotated[Time, Meta(description="After it the message moves no gate.")]
    remaining_ms: Annotated[
        int, Meta(ge=0, description="From sending to the deadline, whatever the clocks say.")
    ]
    reject_position: Annotated[
        float | None, Meta(description="Of the belt when the part is at the gate.")
    ]
    simulated: bool
    sent_ms: SentMs


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
    sequence: Annotated[int, Meta(ge=0, description="Highest sequence given out so far.")] = 0
    recipe: Annotated[str | None, Meta(description="Recipe in use; null if not known.")] = None
    bundle_id: Annotated[str | None, Meta(description="Version of its model.")] = None
    calibration_id: Annotated[str | None, Meta(description="Version of its calibration.")] = None
    batch: Annotated[str | None, Meta(description="As next_batch has said.")] = None


class HeartbeatPayload(
    Struct, frozen=True, rename="camel", tag_field="schema", tag="inspection.heartbeat/1"
):
    """A sign of life on topic `heartbeat`, every `mqtt.heartbeat_s`: QoS 0, not retained."""

    line: Count
    session: str
    counter: Annotated[int, Meta(ge=1, description="Counts up; from 1 again after a restart.")]
    state: LineState
    sequence: Annotated[int, Meta(ge=0, description="Highest sequence given out so far.")]
    settled: Annotated[int, Meta(ge=0, description="Every part up to here has its verdict.")]
    sent_ms: SentMs


class SequenceRange(Struct, frozen=True, rename="camel"):
    """Parts from the first sequence to the last one, both included."""

    first: Count
    last: Count


class UndeliveredPayload(
    Struct, frozen=True, rename="camel", tag_field="schema", tag="inspection.undelivered/1"
):
    """Parts without a verdict on the wire, on topic `undelivered`: QoS 1, not retained.

    Sent after each reconnection, before any further verdict, and when a verdict has expired.
    """

    line: Count
    session: str
    at: Time
    count: Annotated[int, Meta(ge=1, description="Parts in both lists.")]
    undelivered: Annotated[
        tuple[SequenceRange, ...],
        Meta(description="Their verdicts were not sent, and will not be."),
    ]
    unconfirmed: Annotated[
        tuple[SequenceRange, ...],
        Meta(description="Their verdicts were sent, but the broker never confirmed them."),
    ]


class ResponsePayload(
    Struct, frozen=True, rename="camel", tag_field="schema", tag="inspection.response/1"
):
    """What became of a command, on topic `response`: QoS 1, not retained."""

    line: Count
    session: str
    id: Annotated[str | None, Meta(description="Of the command; null if it could not be read.")]
    command: str | None
    result: Literal["accepted", "refused"]
    reason: Annotated[str, Meta(description="Why it was refused; empty if it was not.")]
    state: Annotated[LineState, Meta(description="The line's state after the command.")]
    at: Time


Payload = (
    VerdictPayload
    | RejectPayload
    | StatusPayload
    | HeartbeatPayload
    | UndeliveredPayload
    | ResponsePayload
)
"""Everything that the line publishes."""


@dataclass(frozen=True)
class Identity:
    """What judges the parts now."""

    recipe: str
    bundle_id: str
    calibration_id: str


def verdict_payload(
    record: VerdictRecord, remaining_ms: int | None = None, sent_ms: int = 0
) -> VerdictPayload:
    """What the PLC hears of a part's verdict. `remaining_ms`: None where no deadline is known."""
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
        recipe=record.recipe,
        batch=record.batch or None,
        encoder_position=_rounded(record.encoder_position),
        reject_position=_rounded(record.reject_position),
        image_ref=record.part.part_id if record.has_images else None,
        remaining_ms=remaining_ms,
        sent_ms=sent_ms,
    )


def reject_payload(
    record: VerdictRecord, remaining_ms: int, sent_ms: int = 0
) -> RejectPayload | None:
    """What the gate must act on; None for a PASS, and for a part whose deadline nobody knows."""
    if record.verdict is Verdict.PASS or record.deadline_wall_ns is None:
        return None
    return RejectPayload(
        line=record.part.line,
        part_id=record.part.part_id,
        session=record.part.session,
        sequence=record.part.sequence,
        verdict=record.verdict,
        reason_code=record.reason,
        deadline=rfc3339(record.deadline_wall_ns),
        remaining_ms=remaining_ms,
        reject_position=_rounded(record.reject_position),
        simulated=record.simulated,
        sent_ms=sent_ms,
    )


def status_payload(
    line: int, order: LineOrder, identity: Identity | None = None, sequence: int = 0
) -> StatusPayload:
    """What the PLC hears of the line's state."""
    return StatusPayload(
        line=line,
        state=order.state,
        cause=order.cause,
        since=rfc3339(order.since_wall_ns),
        session=order.session,
        version=software_version(),
        sequence=sequence,
        recipe=identity.recipe if identity else None,
        bundle_id=identity.bundle_id if identity else None,
        calibration_id=identity.calibration_id if identity else None,
        batch=order.batch or None,
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


def response_payload(line: int, session: str, answer: Answer) -> ResponsePayload:
    """What the PLC hears of a command that the line has answered."""
    return ResponsePayload(
        line=line,
        session=session,
        id=answer.id,
        command=answer.command,
        result="accepted" if answer.accepted else "refused",
        reason=answer.reason,
        state=answer.state,
        at=rfc3339(answer.at_wall_ns),
    )


def undelivered_payload(
    line: int, session: str, undelivered: Sequences, unconfirmed: Sequences, wall_ns: int
) -> UndeliveredPayload:
    """What the PLC hears of parts whose verdict it has not got, or perhaps not."""
    return UndeliveredPayload(
        line=line,
        session=session,
        at=rfc3339(wall_ns),
        count=len(undelivered) + len(unconfirmed),
        undelivered=tuple(SequenceRange(*pair) for pair in undelivered.ranges),
        unconfirmed=tuple(SequenceRange(*pair) for pair in unconfirmed.ranges),
    )


def encode(payload: Payload) -> bytes:
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


def _rounded(position: float | None) -> float | None:
    return None if position is None else round(position, 3)


def _box(defect: Defect) -> DefectBox:
    return DefectBox(
        x=defect.x_px,
        y=defect.y_px,
        width=defect.width_px,
        height=defect.height_px,
        area=defect.area_px,
        peak=defect.peak,
    )
