"""What supervisor and stages say to each other: beats one way, orders the other way.

Both are repeated several times a second and carry the whole state, so a lost one does no harm.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from pipeline.messages import Number, Reason, Verdict


class LineState(StrEnum):
    """State of the line, after OPC 40100-1; what leads where stands in `pipeline.states`."""

    PREOPERATIONAL = "PREOPERATIONAL"
    READY = "READY"
    RUNNING = "RUNNING"
    DEGRADED = "DEGRADED"
    PAUSED = "PAUSED"
    STOPPING = "STOPPING"
    HALTED = "HALTED"
    FAULT = "FAULT"


class Command(StrEnum):
    """What a PLC or a MES may ask of the line."""

    START = "start"
    STOP = "stop"
    PAUSE = "pause"
    RESUME = "resume"
    RESET_FAULT = "reset_fault"
    SELECT_RECIPE = "select_recipe"
    NEXT_BATCH = "next_batch"
    SET_ENCODER = "set_encoder"


class Encoder(Struct, frozen=True, forbid_unknown_fields=True):
    """The belt as the PLC sees it: `position` at one moment, in the encoder's units, and `speed`
    in units per second.
    """

    position: float
    speed: float
    at_monotonic_ns: int

    def position_at(self, monotonic_ns: int) -> float:
        """Where the belt was or will be at another moment, at the same speed."""
        return self.position + self.speed * (monotonic_ns - self.at_monotonic_ns) / 1e9


class Request(Struct, frozen=True, forbid_unknown_fields=True):
    """A command that waits for its answer; `id` is the sender's, and one id acts once."""

    id: str
    command: Command
    recipe: str = ""
    batch: str = ""
    encoder: Encoder | None = None


class Answer(Struct, frozen=True, forbid_unknown_fields=True):
    """What became of a request; `reason` says why it was refused, and `state` is the line's."""

    id: str
    command: Command
    accepted: bool
    reason: str
    state: LineState
    at_wall_ns: int


class Transition(Struct, frozen=True, forbid_unknown_fields=True):
    """A change of the line's state or of its cause; numbers count up within a session."""

    number: int
    state: LineState
    cause: str
    since_wall_ns: int


BatchCosts = tuple[tuple[int, float], ...]
"""(parts, milliseconds), by rising size: what batches of a stage take at present."""


class LineOrder(Struct, frozen=True, forbid_unknown_fields=True, tag_field="schema", tag="order/1"):
    """What the supervisor wants of every stage now, and the state of the line for the PLC.

    `capture`: take parts; false before the line is ready, while it is paused and while it drains.
    `stop`: names of the stages that shall end now. `last_sequence`: the highest sequence that
    acquisition has given out, as far as the supervisor knows. `answers` and `transitions`: the
    latest ones, so that none is missed by who reads only every second order. `loads`: how often a
    recipe was selected, which is to be loaded anew even where its name is the same. `costs_ms`:
    what batches take in each stage that a part goes through, for the slack of parts on their way
    there.
    """

    session: str
    state: LineState
    cause: str
    since_wall_ns: int
    capture: bool = False
    stop: tuple[str, ...] = ()
    last_sequence: int = 0
    recipe: str = "default"
    loads: int = 0
    batch: str = ""
    encoder: Encoder | None = None
    answers: tuple[Answer, ...] = ()
    transitions: tuple[Transition, ...] = ()
    costs_ms: dict[str, BatchCosts] = {}


class Percentiles(Struct, frozen=True, forbid_unknown_fields=True):
    """A time in milliseconds, over all parts of the session where nothing else is said."""

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
    while something outside is wrong (a broker away, a camera lost), else empty. `alarm`: one
    sentence while parts or the PLC suffer from it, which makes the line DEGRADED. `requests`:
    commands that wait for their answers. `refused`: messages from outside the line that could not
    be used. `unrecorded`: verdicts that the reject log lacks at the end. `lost`: verdicts that the
    ledger's disk never took.
    """

    last_sequence: Number = 0
    settled_sequence: Number = 0
    exhausted: bool = False
    idle: bool = True
    warning: str = ""
    statistics: LineStatistics | None = None
    alarm: str = ""
    requests: tuple[Request, ...] = ()
    refused: int = 0
    unrecorded: int = 0
    lost: int = 0


class StageLoad(Struct, frozen=True, forbid_unknown_fields=True):
    """The batches of a process since it started.

    `batches`: how many there were of each size. `refused`: parts that were too late to be begun.
    `wait_ms`: from leaving the stage before until their batch was begun, over parts. `compute_ms`:
    from then until its last part came out, over batches. Both are None before the first one.
    `copy_ms` and `device_ms`, over batches, by the network that they were for: copies to the device
    and back, and computing on it; empty without networks, and `copy_ms` where nothing is copied.
    `costs_ms`: what batches take at present.
    """

    batches: dict[int, int] = {}
    refused: int = 0
    wait_ms: Percentiles | None = None
    compute_ms: Percentiles | None = None
    copy_ms: dict[str, Percentiles] = {}
    device_ms: dict[str, Percentiles] = {}
    costs_ms: BatchCosts = ()


class Beat(Struct, frozen=True, forbid_unknown_fields=True, tag_field="schema", tag="beat/1"):
    """A sign of life with the loop's counters since the process started.

    `received` and `sent` count messages by channel. `failed` counts parts that the stage answered
    with a Failure, `damaged` messages that could not be used, `dropped` evidence that found no
    room. `capturing` repeats the order that the stage acts on. `fault` and `exit_code` are there in
    the last beat of a stage that ends by an error: a sentence for the user. `load`: its batches.
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
    load: StageLoad = StageLoad()
