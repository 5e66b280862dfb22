"""THE table of processes: every process of a line, what it consumes, and what it produces.

Read it from the bottom up and you follow a part from the camera to its verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pipeline.config import Batch, LineConfig, Workers
from pipeline.messages import (
    Announcement,
    CapturedFrame,
    Evidence,
    Failure,
    InspectionResult,
    Message,
    PreparedFrame,
    ReconstructedFrame,
)

_ONE = Workers()
AS_THEY_COME = Batch(size=16, max_wait_ms=0)
"""What a stage that works part by part takes at once: whatever is there."""


@dataclass(frozen=True)
class Channel:
    """A kind of message on its way. A lossy channel drops when full; no other ever does."""

    kind: type[Message]
    capacity: Callable[[LineConfig], int]
    lossy: bool = False


@dataclass(frozen=True)
class Row:
    """One stage of the line and the processes that run it."""

    name: str
    module: str
    consumes: tuple[str, ...] = ()
    produces: tuple[str, ...] = ()
    workers: Callable[[LineConfig], Workers] = lambda _config: _ONE
    batch: Callable[[LineConfig], Batch] | None = None
    """How parts are put together, where they are computed together; else AS_THEY_COME."""
    when: Callable[[LineConfig], bool] = lambda _config: True
    after: tuple[str, ...] = ()
    """Stages that must be ready before this one is started."""
    tick_ms: int = 250
    """Longest sleep between two ticks; input wakes the stage earlier, and so does what is due."""
    speaks: bool = False
    """Whether the PLC hears nothing of the line without it: such a row is never given up while a
    FAULT is to be told, and to be reset.
    """
    reloads: bool = False
    """Whether another recipe needs other processes of it; the others take it as it comes."""
    joins: Callable[[LineConfig], str | None] = lambda _config: None
    """The stage before it, where that one's processes do its work, too; None for its own."""
    chain: tuple[Row, ...] = ()
    """The rows that were joined in this one, in the order in which a part passes them."""

    @property
    def links(self) -> tuple[Row, ...]:
        """The rows whose stages a process of this one runs: itself, or those of its chain."""
        return self.chain or (self,)


CHANNELS: dict[str, Channel] = {
    "announcement": Channel(Announcement, lambda _config: 10_000),
    "captured": Channel(CapturedFrame, lambda config: config.stages.queue),
    "prepared": Channel(PreparedFrame, lambda config: config.stages.queue),
    "reconstructed": Channel(ReconstructedFrame, lambda config: config.stages.queue),
    "result": Channel(InspectionResult, lambda _config: 1000),
    "failure": Channel(Failure, lambda _config: 1000),
    "evidence": Channel(Evidence, lambda _config: 64, lossy=True),
}

TABLE: tuple[Row, ...] = (
    Row(
        name="broker",
        module="plc.embedded_broker",
        when=lambda config: config.mqtt.broker.kind == "embedded",
        speaks=True,
    ),
    Row(
        name="recorder",
        module="reject_log.recorder",
        consumes=("evidence",),
        after=("decision",),
    ),
    Row(
        name="decision",
        module="stages.decision.stage",
        consumes=("announcement", "failure", "result"),
        produces=("evidence",),
        tick_ms=50,
        speaks=True,
    ),
    Row(
        name="segmentation",
        module="stages.segmentation.stage",
        consumes=("reconstructed",),
        produces=("result", "failure"),
        workers=lambda config: config.stages.segmentation,
        batch=lambda config: Batch(size=config.batch.size, max_wait_ms=0),
        reloads=True,
        joins=lambda config: config.stages.segmentation.with_,
    ),
    Row(
        name="reconstruction",
        module="stages.reconstruction.stage",
        consumes=("prepared",),
        produces=("reconstructed", "failure"),
        workers=lambda config: config.stages.reconstruction,
        batch=lambda config: config.batch,
        reloads=True,
    ),
    Row(
        name="preprocessing",
        module="stages.preprocessing.stage",
        consumes=("captured",),
        produces=("prepared", "failure"),
        workers=lambda config: config.stages.preprocessing,
    ),
    Row(
        name="acquisition",
        module="stages.acquisition.stage",
        produces=("announcement", "captured", "failure"),
    ),
)


def rows(config: LineConfig) -> tuple[Row, ...]:
    """The rows that this line runs; stages that share processes are one row."""
    table = tuple(row for row in TABLE if row.when(config))
    for row in table:
        host = row.joins(config)
        if host is not None:
            chained = _chained(row_named(host, table), row)
            table = tuple(chained if other.name == host else other for other in table)
            table = tuple(other for other in table if other is not row)
    return table


def _chained(first: Row, second: Row) -> Row:
    """One row for two: its processes are those of the first, and what that one makes for the
    second does not leave them.
    """
    assert set(second.consumes) <= set(first.produces), "it can join only the one before it"
    leaving = [name for name in first.produces if name not in second.consumes]
    return replace(
        first,
        name=f"{first.name}+{second.name}",
        produces=tuple(dict.fromkeys([*second.produces, *leaving])),
        after=(*first.after, *second.after),
        tick_ms=min(first.tick_ms, second.tick_ms),
        reloads=first.reloads or second.reloads,
        chain=(*first.links, *second.links),
    )


def row_named(name: str, table: Sequence[Row] = TABLE) -> Row:
    """The row of a stage. Raises KeyError with the names there are."""
    for row in table:
        if row.name == name:
            return row
    raise KeyError(f"no stage {name!r}; the table has {', '.join(row.name for row in table)}")


def producers(channel: str, config: LineConfig) -> list[tuple[str, int]]:
    """(stage, worker) of every process that offers a channel."""
    return [
        (row.name, worker)
        for row in rows(config)
        if channel in row.produces
        for worker in range(row.workers(config).workers)
    ]


def onward(row: Row) -> str | None:
    """The channel on which parts go on from a row; None where they end or only passed by."""
    for channel in row.produces:
        kind = CHANNELS[channel].kind
        if kind is not Failure and "stamps" in kind.__struct_fields__:
            return channel
    return None


def stages_after(row: Row, table: Sequence[Row]) -> tuple[str, ...]:
    """The rows that a part still goes through on its way to the verdict, in this order."""
    names: list[str] = []
    while (channel := onward(row)) is not None:
        row = next(taker for taker in table if channel in taker.consumes)
        names.append(row.name)
    return tuple(names)


def table_faults(table: tuple[Row, ...] = TABLE) -> list[str]:
    """What does not fit together in a table; empty when all is well."""
    names = [row.name for row in table]
    faults = [f"stage {name} stands twice" for name in set(names) if names.count(name) > 1]
    for channel in CHANNELS:
        makers = [row.name for row in table if channel in row.produces]
        takers = [row.name for row in table if channel in row.consumes]
        if not makers:
            faults.append(f"nobody produces {channel}, which {', '.join(takers)} waits for")
        if len(takers) != 1:
            faults.append(f"{channel} needs one stage that consumes it, it has {takers}")
    for row in table:
        faults += [
            f"{row.name} names {channel}, which is no channel"
            for channel in (*row.consumes, *row.produces)
            if channel not in CHANNELS
        ]
        faults += [
            f"{row.name} starts after {name}, which is no stage"
            for name in row.after
            if name not in names
        ]
    return faults
