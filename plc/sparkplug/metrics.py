"""The contract's payloads as metrics: what is a key in JSON is the metric `<topic>/<key>` here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import msgspec
from msgspec import Struct, inspect

from plc.payloads import (
    HeartbeatPayload,
    Payload,
    RejectPayload,
    ResponsePayload,
    StatusPayload,
    UndeliveredPayload,
    VerdictPayload,
)
from plc.sparkplug.wire import DataSet, DataType, Metric, Scalar

TOLD: tuple[type[Payload], ...] = (
    VerdictPayload,
    RejectPayload,
    StatusPayload,
    HeartbeatPayload,
    UndeliveredPayload,
    ResponsePayload,
)
"""What the line says of itself, one message each, with all of its metrics."""
BIRTH_SEQUENCE = "bdSeq"
REBIRTH = "Node Control/Rebirth"
COMMAND, ACK = "command/", "ack/"
COMMAND_ID = "command/id"
POSITION, SPEED = "command/set_encoder/position", "command/set_encoder/speed"
WRITABLE = (
    Metric(COMMAND_ID, DataType.STRING, None),
    Metric("command/start", DataType.BOOLEAN, False),
    Metric("command/stop", DataType.BOOLEAN, False),
    Metric("command/pause", DataType.BOOLEAN, False),
    Metric("command/resume", DataType.BOOLEAN, False),
    Metric("command/reset_fault", DataType.BOOLEAN, False),
    Metric("command/select_recipe", DataType.STRING, None),
    Metric("command/next_batch", DataType.STRING, None),
    Metric(POSITION, DataType.DOUBLE, None),
    Metric(SPEED, DataType.DOUBLE, None),
    Metric("ack/session", DataType.STRING, None),
    Metric("ack/sequence", DataType.UINT64, None),
)
"""What PLC and MES may write, as it stands in a birth."""


@dataclass(frozen=True)
class _Key:
    """One key of a payload: its place in the struct, its metric, and the columns of a table."""

    attribute: str
    name: str
    datatype: DataType
    columns: tuple[_Key, ...] = ()

    def metric(self, payload: Payload) -> Metric:
        return Metric(self.name, self.datatype, self._value(getattr(payload, self.attribute)))

    def _value(self, value: object) -> Scalar | DataSet | None:
        if self.datatype is DataType.DATASET:
            assert isinstance(value, tuple)
            return DataSet(
                tuple(column.name for column in self.columns),
                tuple(column.datatype for column in self.columns),
                tuple(msgspec.structs.astuple(row) for row in value),
            )
        assert value is None or isinstance(value, bool | int | float | str)
        if self.datatype is DataType.DATETIME and value is not None:
            assert isinstance(value, str)
            return _milliseconds(value)
        return value


def metrics_of(payload: Payload) -> list[Metric]:
    """All keys of a payload as metrics, with their values."""
    return [key.metric(payload) for key in _KEYS[type(payload)]]


def node_birth(birth_sequence: int) -> list[Metric]:
    """The metrics of the edge node itself."""
    return [*node_death(birth_sequence), Metric(REBIRTH, DataType.BOOLEAN, False)]


def node_death(birth_sequence: int) -> list[Metric]:
    """What the broker says for an edge node that it has lost: which birth is over."""
    return [Metric(BIRTH_SEQUENCE, DataType.INT64, birth_sequence)]


def device_birth(status: StatusPayload | None) -> list[Metric]:
    """Every metric of the line. Only the status has a value: the rest are events, and an event of
    before must not act again.
    """
    metrics: list[Metric] = []
    for kind in TOLD:
        if kind is StatusPayload and status is not None:
            metrics += metrics_of(status)
        else:
            metrics += [Metric(key.name, key.datatype, None) for key in _KEYS[kind]]
    return [*metrics, *WRITABLE]


def _keys_of(kind: type[Payload]) -> tuple[_Key, ...]:
    """The metrics that a payload's type asks for, below the name of its topic."""
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)
    topic = str(info.tag).removeprefix("inspection.").partition("/")[0]
    return _keys(f"{topic}/", info.fields)


def _keys(prefix: str, fields: Iterable[inspect.Field]) -> tuple[_Key, ...]:
    return tuple(
        _Key(field.name, prefix + field.encode_name, _datatype(field.type), _columns(field.type))
        for field in fields
    )


def _datatype(kind: inspect.Type) -> DataType:
    if isinstance(kind, inspect.Metadata):
        is_time = (kind.extra_json_schema or {}).get("format") == "date-time"
        return DataType.DATETIME if is_time else _datatype(kind.type)
    if isinstance(kind, inspect.UnionType):
        return _datatype(_given(kind))
    if isinstance(kind, inspect.LiteralType):
        return DataType.UINT64 if isinstance(kind.values[0], int) else DataType.STRING
    return _SIMPLE[type(kind)]


def _columns(kind: inspect.Type) -> tuple[_Key, ...]:
    if isinstance(kind, inspect.Metadata):
        return _columns(kind.type)
    if not isinstance(kind, inspect.VarTupleType):
        return ()
    assert isinstance(kind.item_type, inspect.StructType)
    return _keys("", kind.item_type.fields)


def _given(kind: inspect.UnionType) -> inspect.Type:
    """The type of a value that may be null, where it is not."""
    (other,) = (inner for inner in kind.types if not isinstance(inner, inspect.NoneType))
    return other


def _milliseconds(time: str) -> int:
    """A time as the payloads have it, in milliseconds since 1970."""
    return round(datetime.fromisoformat(time).timestamp() * 1000)


_SIMPLE: dict[type[inspect.Type], DataType] = {
    inspect.BoolType: DataType.BOOLEAN,
    inspect.IntType: DataType.UINT64,
    inspect.FloatType: DataType.DOUBLE,
    inspect.StrType: DataType.STRING,
    inspect.EnumType: DataType.STRING,
    inspect.VarTupleType: DataType.DATASET,
}
_KEYS: dict[type[Struct], tuple[_Key, ...]] = {kind: _keys_of(kind) for kind in TOLD}
