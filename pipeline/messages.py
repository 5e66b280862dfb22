"""The wire types between stages: frozen, versioned, and checked on arrival.

Each message names its channel and its schema version in its tag; `pipeline.wire` puts it on a
socket. Arrays travel as raw frames beside the header and are declared with `shape_of`, so that a
wrong dtype or number of dimensions is an error of that one message.

Times end in `_ns`. `*_monotonic_ns` is the machine's monotonic clock, comparable between the
processes of one machine; `*_wall_ns` is nanoseconds since 1970, UTC.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

import numpy as np
from msgspec import Meta, Struct

SCHEMA_VERSION = 1
Number = Annotated[int, Meta(ge=0, le=2**53)]
Time = Annotated[int, Meta(ge=0, le=2**62)]
"""Nanoseconds: sums of two of them are still whole numbers of 64 bits, until the year 2116."""
Share = Annotated[float, Meta(ge=0, le=1)]
Name = Annotated[str, Meta(max_length=64)]
MOST_TEXT = 4000
"""Characters; the log has all of what is longer."""
Text = Annotated[str, Meta(max_length=MOST_TEXT)]


class Verdict(StrEnum):
    """What the line says of a part. The PLC treats UNINSPECTED as a reject."""

    PASS = "PASS"
    REJECT = "REJECT"
    UNINSPECTED = "UNINSPECTED"


class Reason(StrEnum):
    """Why a part has its verdict: one stable code for the PLC, the log and the counters."""

    BELOW_THRESHOLD = "BELOW_THRESHOLD"
    ABOVE_THRESHOLD = "ABOVE_THRESHOLD"
    DEADLINE = "DEADLINE"
    OVERLOAD = "OVERLOAD"
    NOT_ANNOUNCED = "NOT_ANNOUNCED"
    FRAME_UNREADABLE = "FRAME_UNREADABLE"
    FRAME_SIZE = "FRAME_SIZE"
    FRAME_DEPTH = "FRAME_DEPTH"
    FRAME_BLACK = "FRAME_BLACK"
    FRAME_SATURATED = "FRAME_SATURATED"
    SCORE_NOT_FINITE = "SCORE_NOT_FINITE"
    MODEL_MISMATCH = "MODEL_MISMATCH"
    MESSAGE_DAMAGED = "MESSAGE_DAMAGED"
    STAGE_FAULT = "STAGE_FAULT"
    NOT_RECORDED = "NOT_RECORDED"
    LINE_STOPPED = "LINE_STOPPED"


REASON_TEXT: dict[Reason, str] = {
    Reason.BELOW_THRESHOLD: "score at or below the calibrated threshold",
    Reason.ABOVE_THRESHOLD: "score above the calibrated threshold",
    Reason.DEADLINE: "no result before the part's deadline",
    Reason.OVERLOAD: "the line had no room for the part's frame",
    Reason.NOT_ANNOUNCED: "the part's number was given but its announcement never arrived",
    Reason.FRAME_UNREADABLE: "the frame is missing, truncated or not an image",
    Reason.FRAME_SIZE: "the frame has a size that the line is not set up for",
    Reason.FRAME_DEPTH: "the frame has a bit depth or channels that the line is not set up for",
    Reason.FRAME_BLACK: "the frame is black: light or exposure failed",
    Reason.FRAME_SATURATED: "the frame is saturated: light or exposure failed",
    Reason.SCORE_NOT_FINITE: "the networks gave a score that is not a finite number",
    Reason.MODEL_MISMATCH: "the score comes from another model than the calibrated one",
    Reason.MESSAGE_DAMAGED: "a message about the part was damaged between two processes",
    Reason.STAGE_FAULT: "a stage failed on this part; its log has the cause",
    Reason.NOT_RECORDED: "the verdict could not be recorded: the ledger's disk is full or fails",
    Reason.LINE_STOPPED: "the line stopped before the part was inspected",
}


class Part(Struct, frozen=True, forbid_unknown_fields=True):
    """Identity of a part: `sequence` counts from 1 without gaps within a `session` of the line."""

    line: Number
    session: Name
    sequence: Number

    @property
    def part_id(self) -> str:
        """Unique for ever and fit for file names, for instance `L3-20261122-071502-3f9a-000123`."""
        return f"L{self.line}-{self.session}-{self.sequence:06d}"


class Truth(Struct, frozen=True, forbid_unknown_fields=True):
    """What the camera knows of the part, if it is simulated or a labelled folder."""

    defective: bool
    kind: Text | None = None


class Stamp(Struct, frozen=True, forbid_unknown_fields=True):
    """When one stage took a part in and passed it on."""

    stage: Name
    received_monotonic_ns: Time
    sent_monotonic_ns: Time


class Defect(Struct, frozen=True, forbid_unknown_fields=True):
    """A connected region above the pixel threshold, in pixels of the region of interest."""

    x_px: Number
    y_px: Number
    width_px: Number
    height_px: Number
    area_px: Number
    peak: Share


class Message(Struct, frozen=True, forbid_unknown_fields=True, tag_field="schema"):
    """Base of everything that crosses a process boundary."""

    channel: ClassVar[str]
    arrays: ClassVar[dict[str, tuple[str, int]]] = {}
    """Array fields: name -> (numpy dtype names joined by `|`, number of dimensions)."""

    part: Part


class Announcement(Message, frozen=True, tag=f"announcement/{SCHEMA_VERSION}"):
    """A part was captured and will need exactly one verdict before its deadline."""

    channel: ClassVar[str] = "announcement"

    captured_monotonic_ns: Time
    captured_wall_ns: Time
    deadline_monotonic_ns: Time
    source: Text
    truth: Truth | None = None


class CapturedFrame(Message, frozen=True, tag=f"captured/{SCHEMA_VERSION}"):
    """One frame as the camera gave it: `image` (H, W) or (H, W, 3) BGR, uint8 or uint16."""

    channel: ClassVar[str] = "captured"
    arrays: ClassVar[dict[str, tuple[str, int]]] = {"image": ("uint8|uint16", 0)}

    deadline_monotonic_ns: Time
    image: np.ndarray
    stamps: tuple[Stamp, ...] = ()


class PreparedFrame(Message, frozen=True, tag=f"prepared/{SCHEMA_VERSION}"):
    """A frame as the networks see it, and as people should see it.

    `image`: (H, W, C) uint8 of the network's size, RGB or grey. `view`: (h, w, C) uint8, the
    region of interest in its own proportions, for the reject log.
    """

    channel: ClassVar[str] = "prepared"
    arrays: ClassVar[dict[str, tuple[str, int]]] = {"image": ("uint8", 3), "view": ("uint8", 3)}

    deadline_monotonic_ns: Time
    image: np.ndarray
    view: np.ndarray
    stamps: tuple[Stamp, ...] = ()


class ReconstructedFrame(Message, frozen=True, tag=f"reconstructed/{SCHEMA_VERSION}"):
    """A prepared frame and `reconstruction`: (H, W, C) float16 in [-1, 1], free of defects."""

    channel: ClassVar[str] = "reconstructed"
    arrays: ClassVar[dict[str, tuple[str, int]]] = {
        "image": ("uint8", 3),
        "view": ("uint8", 3),
        "reconstruction": ("float16", 3),
    }

    deadline_monotonic_ns: Time
    bundle_id: Name
    image: np.ndarray
    view: np.ndarray
    reconstruction: np.ndarray
    stamps: tuple[Stamp, ...] = ()


class InspectionResult(Message, frozen=True, tag=f"result/{SCHEMA_VERSION}"):
    """The raw score of a frame, where it lies, and the pictures that show why.

    `anomaly_map`: (H, W) float16 in [0, 1], the probability of a defect per pixel.
    """

    channel: ClassVar[str] = "result"
    arrays: ClassVar[dict[str, tuple[str, int]]] = {
        "view": ("uint8", 3),
        "reconstruction": ("uint8", 3),
        "anomaly_map": ("float16", 2),
    }

    bundle_id: Name
    score: float
    defects: tuple[Defect, ...]
    view: np.ndarray
    reconstruction: np.ndarray
    anomaly_map: np.ndarray
    stamps: tuple[Stamp, ...] = ()


class Failure(Message, frozen=True, tag=f"failure/{SCHEMA_VERSION}"):
    """A stage could not do its work on this part; the part becomes UNINSPECTED at once.

    `view`: (h, w, C) uint8, whatever could still be shown of the frame; may be empty (0, 0, 1).
    """

    channel: ClassVar[str] = "failure"
    arrays: ClassVar[dict[str, tuple[str, int]]] = {"view": ("uint8", 3)}

    reason: Reason
    text: Text
    stage: Name
    view: np.ndarray
    stamps: tuple[Stamp, ...] = ()


class Evidence(Message, frozen=True, tag=f"evidence/{SCHEMA_VERSION}"):
    """Pictures of one part for the reject log; may be dropped under load, the record never is.

    `view`: (h, w, C) uint8. `reconstruction`: (H, W, C) uint8 and `anomaly_map`: (H, W) float16
    in [0, 1]; both may be empty (first dimension 0) where a stage failed before them.
    """

    channel: ClassVar[str] = "evidence"
    arrays: ClassVar[dict[str, tuple[str, int]]] = {
        "view": ("uint8", 3),
        "reconstruction": ("uint8", 3),
        "anomaly_map": ("float16", 2),
    }

    verdict: Verdict
    defects: tuple[Defect, ...]
    view: np.ndarray
    reconstruction: np.ndarray
    anomaly_map: np.ndarray


class Delivery(StrEnum):
    """What the broker has said of a verdict."""

    DELIVERED = "delivered"
    UNDELIVERED = "undelivered"
    """It was not sent, or never confirmed, and the PLC was told so."""


class VerdictRecord(
    Struct, frozen=True, forbid_unknown_fields=True, tag_field="schema", tag="verdict/1"
):
    """All that is known of a part's verdict: the ledger's line, the log's row, the MQTT payload.

    `score` is raw and None where there is none; `latency_ms` runs from capture to decision; `late`
    says that the verdict was decided after the deadline, as when a restarted line closes old parts.
    Positions are in units of the PLC's encoder, None where it has not sent any. `delivery` is known
    to the reject log alone, and None while the broker has said nothing.
    """

    part: Part
    verdict: Verdict
    reason: Reason
    text: str
    score: float | None
    threshold: float
    bundle_id: str
    calibration_id: str
    captured_wall_ns: int | None
    decided_wall_ns: int
    deadline_wall_ns: int | None
    late: bool
    latency_ms: float | None
    simulated: bool
    source: str
    truth: Truth | None
    defects: tuple[Defect, ...]
    stamps: tuple[Stamp, ...]
    has_images: bool = False
    deadline_monotonic_ns: int | None = None
    recipe: str = "default"
    batch: str = ""
    encoder_position: float | None = None
    reject_position: float | None = None
    delivery: Delivery | None = None


class SessionNote(
    Struct, frozen=True, forbid_unknown_fields=True, tag_field="schema", tag="session/1"
):
    """First line of each journal segment: the ledger's state so far, as an opaque snapshot."""

    session: str
    line: int
    snapshot: str


class AnnouncedNote(
    Struct, frozen=True, forbid_unknown_fields=True, tag_field="schema", tag="announced/1"
):
    """The ledger's line for a part that now waits for its verdict."""

    part: Part
    captured_monotonic_ns: int
    captured_wall_ns: int
    deadline_monotonic_ns: int
    source: str
    truth: Truth | None
    batch: str = ""
    encoder_position: float | None = None
    reject_position: float | None = None


class PublishedNote(
    Struct, frozen=True, forbid_unknown_fields=True, tag_field="schema", tag="published/1"
):
    """What the broker has confirmed: verdicts, and numbers that it was told to be undelivered.

    Both are ranges of sequences, first and last included.
    """

    delivered: tuple[tuple[int, int], ...]
    undelivered: tuple[tuple[int, int], ...] = ()


LedgerLine = SessionNote | AnnouncedNote | VerdictRecord | PublishedNote
