"""What supervisor and stages say to each other: beats one way, orders the other way.

Both are repeated several times a second and carry the whole state, so a lost one does no harm.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from pipeline.messages import Reason, Verdict


class LineState(StrEnum):
    """State of the line, after the state machine of OPC 40100-1."""

    PREOPERATIONAL = "PREOPERATIONAL"
    RUNNING = "RUNNING"
    DEGRADED = "DEGRADED"
    STOPPING = "STOPPING"
    HALTED = "HALTED"
    FAULT = "FAULT"


class LineOrder(Struct, frozen=True, forbid_unknown_fields=True, tag_field="schema", tag="order/1"):
    """What the supervisor wants of every stage now, and the state of the line for the PLC.

    `capture`: take parts; false before the line is ready and while it drains. `stop`: names of the
    stages that shall end now. `last_sequence`: the highest sequence that acquisition has given
    out, as far as the supervisor knows.
    """

    session: str
    state: LineState
    cause: str
    since_wall_ns: int
    capture: bool = False
    stop: tuple[str, ...] = ()
    last_sequence: int = 0


class Percentiles(Struct, frozen=True, forbid_unknown_fields=True):
    """Latency over all parts of the session, in milliseconds."""

    p50: float
    p90: float
    p99: float


class TruthCount(Struct, frozen=True, forbid_unknown_fields=True):
    """How verdicts compare with the truth, where the camera knows it.

    Escapes are defective parts with PASS; overkill are good parts with REJECT.
    """

    escapes: int
    overkill: int
    defective: int
    good: int


class LineStatistics(Struct, frozen=True, forbid_unknown_fields=True):
    """Totals of the session as decision's ledger knows them."""

    announced: int
    verdicts: dict[Verdict, int]
    reasons: dict[Reason, int]
    latency_ms: dict[str, Percentiles]
    parts_per_second: float
    truth: TruthCount | None
    bundle_id: str
    calibration_id: str


class StageReport(Struct, frozen=True, forbid_unknown_fields=True):
    """What a stage adds to its beat.

    `exhausted`: the camera has no further part. `settled_sequence`: every part up to this one has
    its verdict. `idle`: nothing is waiting to be written. `warning`: one sentence for the operator
    while something outside is wrong (a broker away, a camera lost), else empty.
    """

    last_sequence: int = 0
    settled_sequence: int = 0
    exhausted: bool = False
    idle: bool = True
    warning: str = ""
    statistics: LineStatistics | None = None


class Beat(Struct, frozen=True, forbid_unknown_fields=True, tag_field="schema", tag="beat/1"):
    """A sign of life with the loop's counters since the process started.

    `received` and `sent` count messages by channel. `failed` counts parts that the stage answered
    with a Failure, `damaged` messages that could not be read, `dropped` evidence that found no
    room. `capturing` repeats the order that the stage acts on. `fault` and `exit_code` are there in
    the last beat of a stage that ends by an error: a sentence for the user.
    """

    stage: str
    worker: int
    pid: int
    session: str
    ready: bool
    capturing: bool
    received: dict[str, int]
    sent: dict[str, int]
    failed: int
    damaged: int
    dropped: int
    resident_mb: float
    report: StageReport
    fault: str = ""
    exit_code: int = 0
