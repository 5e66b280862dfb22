"""How a verdict's record lies in the database: one row per part, every field a column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from pipeline.messages import (
    Defect,
    Delivery,
    Part,
    Reason,
    Stamp,
    Truth,
    Verdict,
    VerdictRecord,
)

SCHEMA_VERSION = 2
"""Raised with every change of `SCHEMA`; kept in the database as `PRAGMA user_version`."""

ADDED = {
    "recipe": "TEXT NOT NULL DEFAULT ''",
    "batch": "TEXT NOT NULL DEFAULT ''",
    "encoder_position": "REAL",
    "reject_position": "REAL",
    "delivery": "TEXT",
}
"""Columns of version 2. Of parts that were recorded before, nobody knows them: empty or NULL."""

COLUMNS = (
    "line",
    "session",
    "sequence",
    "verdict",
    "reason",
    "text",
    "score",
    "threshold",
    "bundle_id",
    "calibration_id",
    "captured_wall_ns",
    "decided_wall_ns",
    "deadline_wall_ns",
    "late",
    "latency_ms",
    "simulated",
    "source",
    "truth",
    "defects",
    "stamps",
    "has_images",
    *ADDED,
)

SCHEMA = f"""
CREATE TABLE parts (
    line INTEGER NOT NULL,
    session TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    verdict TEXT NOT NULL,
    reason TEXT NOT NULL,
    text TEXT NOT NULL,
    score REAL,
    threshold REAL NOT NULL,
    bundle_id TEXT NOT NULL,
    calibration_id TEXT NOT NULL,
    captured_wall_ns INTEGER,
    decided_wall_ns INTEGER NOT NULL,
    deadline_wall_ns INTEGER,
    late INTEGER NOT NULL,
    latency_ms REAL,
    simulated INTEGER NOT NULL,
    source TEXT NOT NULL,
    truth TEXT,
    defects TEXT NOT NULL,
    stamps TEXT NOT NULL,
    has_images INTEGER NOT NULL,
    {", ".join(f"{name} {kind}" for name, kind in ADDED.items())},
    PRIMARY KEY (session, sequence)
);
CREATE INDEX parts_by_time ON parts (decided_wall_ns, verdict);
CREATE INDEX parts_by_verdict ON parts (verdict, decided_wall_ns);
CREATE TABLE waiting (
    session TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    PRIMARY KEY (session, sequence)
) WITHOUT ROWID;
CREATE TABLE journal (
    session TEXT PRIMARY KEY,
    segment INTEGER NOT NULL,
    offset INTEGER NOT NULL
) WITHOUT ROWID;
"""
"""`parts`: verdicts. `waiting`: announced parts without one. `journal`: how far each session of
the journal is read; written in the transaction that holds the rows read up to there."""

MIGRATIONS = {
    1: "; ".join(f"ALTER TABLE parts ADD COLUMN {name} {kind}" for name, kind in ADDED.items())
}
"""What makes a database of this version one of the next."""

INSERT = (
    f"INSERT OR IGNORE INTO parts ({', '.join(COLUMNS)}) VALUES ({', '.join('?' for _ in COLUMNS)})"
)

DELIVERED = "UPDATE parts SET delivery = ? WHERE session = ? AND sequence BETWEEN ? AND ?"
UNDELIVERED = f"{DELIVERED} AND delivery IS NULL"
"""A verdict that was named as undelivered may arrive after all, and never the other way round."""

_encode = msgspec.json.Encoder().encode
_truth = msgspec.json.Decoder(Truth)
_defects = msgspec.json.Decoder(tuple[Defect, ...])
_stamps = msgspec.json.Decoder(tuple[Stamp, ...])


def to_row(record: VerdictRecord) -> tuple[Any, ...]:
    """A record as the values of `COLUMNS`."""
    return (
        record.part.line,
        record.part.session,
        record.part.sequence,
        record.verdict.value,
        record.reason.value,
        record.text,
        record.score,
        record.threshold,
        record.bundle_id,
        record.calibration_id,
        record.captured_wall_ns,
        record.decided_wall_ns,
        record.deadline_wall_ns,
        record.late,
        record.latency_ms,
        record.simulated,
        record.source,
        None if record.truth is None else _encode(record.truth).decode(),
        _encode(record.defects).decode(),
        _encode(record.stamps).decode(),
        record.has_images,
        record.recipe,
        record.batch,
        record.encoder_position,
        record.reject_position,
        record.delivery,
    )


def selected(version: int) -> str:
    """`COLUMNS` in a SELECT from a database of this version, which may lack some."""
    missing = ADDED if version < SCHEMA_VERSION else {}
    empty = {name: "''" if "NOT NULL" in kind else "NULL" for name, kind in missing.items()}
    return ", ".join(f"{empty[name]} AS {name}" if name in empty else name for name in COLUMNS)


def to_record(row: Sequence[Any]) -> VerdictRecord:
    """The values of `COLUMNS` as the record. Raises ValueError where a value is damaged."""
    value = dict(zip(COLUMNS, row, strict=True))
    part = Part(value.pop("line"), value.pop("session"), value.pop("sequence"))
    truth, delivery = value.pop("truth"), value.pop("delivery")
    return VerdictRecord(
        part=part,
        verdict=Verdict(value.pop("verdict")),
        reason=Reason(value.pop("reason")),
        late=bool(value.pop("late")),
        simulated=bool(value.pop("simulated")),
        truth=None if truth is None else _truth.decode(truth),
        defects=_defects.decode(value.pop("defects")),
        stamps=_stamps.decode(value.pop("stamps")),
        has_images=bool(value.pop("has_images")),
        delivery=None if delivery is None else Delivery(delivery),
        **value,
    )
