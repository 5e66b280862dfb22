"""Sparkplug B on the wire: the few messages of its protobuf schema that a line needs.

Field numbers and data types are those of the Eclipse Sparkplug specification 3.0.0, section 6.4;
the encoding is that of protobuf (https://protobuf.dev/programming-guides/encoding). Written out
here because it is this short, and no generated code has to fit the other libraries' protobuf.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from typing import NamedTuple


class DataType(IntEnum):
    """Data types of metrics, by the numbers that the specification gives them."""

    INT64 = 4
    UINT64 = 8
    DOUBLE = 10
    BOOLEAN = 11
    STRING = 12
    DATETIME = 13
    DATASET = 16


Scalar = bool | int | float | str


@dataclass(frozen=True)
class DataSet:
    """A table: one type for each column, and rows as long as there are columns."""

    columns: tuple[str, ...]
    types: tuple[DataType, ...]
    rows: tuple[tuple[Scalar, ...], ...]


class Metric(NamedTuple):
    """A named value; None is null. Whole numbers are not negative, DATETIME is ms since 1970."""

    name: str
    datatype: DataType
    value: Scalar | DataSet | None


@dataclass(frozen=True)
class Received:
    """What somebody wrote to the line: the time of sending, and values by the names of metrics."""

    timestamp_ms: int | None
    values: tuple[tuple[str, Scalar | None], ...]


class WireError(ValueError):
    """Bytes that are no Sparkplug payload, or hold what a line does not read."""


_VARINT, _FIXED_64, _LENGTH, _FIXED_32 = 0, 1, 2, 5
_DOUBLE = struct.Struct("<d")
_SMALL = tuple(bytes((value,)) for value in range(0x80))
_METRIC_VALUE = {
    DataType.INT64: 11,
    DataType.UINT64: 11,
    DataType.DATETIME: 11,
    DataType.DOUBLE: 13,
    DataType.BOOLEAN: 14,
    DataType.STRING: 15,
    DataType.DATASET: 17,
}
"""Field of a metric that holds its value: long, double, boolean, string, dataset."""
_CELL_VALUE = {
    DataType.UINT64: 2,
    DataType.DOUBLE: 4,
    DataType.BOOLEAN: 5,
    DataType.STRING: 6,
}
"""Field of a cell of a data set that holds its value."""


def encode_payload(
    metrics: Iterable[Metric], timestamp_ms: int | None, seq: int | None, *, types: bool = False
) -> bytes:
    """A payload; each metric carries the payload's time and, with `types`, its data type."""
    parts = [] if timestamp_ms is None else [_number(1, timestamp_ms)]
    stamp = b"" if timestamp_ms is None else _number(3, timestamp_ms)
    parts += [_bytes(2, _metric(metric, stamp, types)) for metric in metrics]
    if seq is not None:
        parts.append(_number(3, seq))
    return b"".join(parts)


def decode_payload(data: bytes) -> Received:
    """A command as a payload. Raises WireError; fields that a line does not need are left."""
    timestamp_ms, values = None, []
    for field, value in _fields(data):
        if field == 1:
            timestamp_ms = _int(value)
        elif field == 2:
            values.append(_named_value(_data(value)))
    return Received(timestamp_ms, tuple(values))


def number_of(data: bytes, name: str) -> int | None:
    """The whole number that a payload gives a metric, None without it. Raises WireError."""
    for field, metric in _fields(data):
        if field == 2:
            values = dict(_fields(_data(metric)))
            if values.get(1) == name.encode():
                return _int(values.get(_METRIC_VALUE[DataType.UINT64], b""))
    return None


def _metric(metric: Metric, stamp: bytes, types: bool) -> bytes:
    parts = [_named(metric.name), stamp]
    if types:
        parts.append(_number(4, metric.datatype))
    if metric.value is None:
        parts.append(_number(7, True))
    elif isinstance(metric.value, DataSet):
        parts.append(_bytes(_METRIC_VALUE[DataType.DATASET], _data_set(metric.value)))
    else:
        parts.append(_scalar(_METRIC_VALUE[metric.datatype], metric.datatype, metric.value))
    return b"".join(parts)


def _data_set(table: DataSet) -> bytes:
    parts = [_number(1, len(table.columns))]
    parts += [_bytes(2, name.encode()) for name in table.columns]
    parts += [_number(3, datatype) for datatype in table.types]
    for row in table.rows:
        cells = (
            _bytes(1, _scalar(_CELL_VALUE[datatype], datatype, value))
            for datatype, value in zip(table.types, row, strict=True)
        )
        parts.append(_bytes(4, b"".join(cells)))
    return b"".join(parts)


def _scalar(field: int, datatype: DataType, value: Scalar) -> bytes:
    if datatype is DataType.STRING:
        assert isinstance(value, str), (datatype, value)
        return _bytes(field, value.encode())
    assert not isinstance(value, str), (datatype, value)
    if datatype is DataType.DOUBLE:
        return _tag(field, _FIXED_64) + _DOUBLE.pack(value)
    return _number(field, int(value))


@cache
def _named(name: str) -> bytes:
    """The field of a metric's name; the line's names are few and always the same."""
    return _bytes(1, name.encode())


def _number(field: int, value: int) -> bytes:
    return _tag(field, _VARINT) + _varint(value)


def _bytes(field: int, value: bytes) -> bytes:
    return _tag(field, _LENGTH) + _varint(len(value)) + value


@cache
def _tag(field: int, kind: int) -> bytes:
    return _varint(field << 3 | kind)


def _varint(value: int) -> bytes:
    if 0 <= value < 0x80:
        return _SMALL[value]
    assert 0 <= value < 1 << 64, value
    groups = bytearray()
    while value >= 0x80:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)


def _named_value(data: bytes) -> tuple[str, Scalar | None]:
    """The last value counts, as protobuf has it for fields that exclude one another."""
    name: str | None = None
    value: Scalar | None = None
    for field, raw in _fields(data):
        if field == 1:
            name = _text(raw)
        elif 10 <= field <= 19:
            value = _value(field, raw)
    if name is None:
        raise WireError("a metric has no name; the line gives no aliases")
    return name, value


def _value(field: int, raw: int | bytes) -> Scalar:
    match field:
        case 10 | 11:
            return _int(raw)
        case 12:
            return _real("<f", raw)
        case 13:
            return _real("<d", raw)
        case 14:
            return bool(_int(raw))
        case 15:
            return _text(raw)
    raise WireError("a metric has a value that is neither a number nor true, false or a text")


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and raw value of each field: an int for a varint, else its bytes."""
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        field, kind = key >> 3, key & 7
        if not 0 < field < 1 << 29:
            raise WireError(f"field {field} cannot be")
        if kind == _VARINT:
            number, at = _read_varint(data, at)
            yield field, number
            continue
        if kind == _LENGTH:
            length, at = _read_varint(data, at)
        elif kind in (_FIXED_32, _FIXED_64):
            length = 4 if kind == _FIXED_32 else 8
        else:
            raise WireError(f"field {field} has the unknown wire type {kind}")
        if at + length > len(data):
            raise WireError("the message is cut off")
        yield field, data[at : at + length]
        at += length


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """A number and where it ends; bits beyond the 64th are dropped, as protobuf does."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise WireError("the message is cut off")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (1 << 64) - 1, at
    raise WireError("a number has more than 64 bits")


def _int(raw: int | bytes) -> int:
    if not isinstance(raw, int):
        raise WireError("a field has the wrong wire type")
    return raw


def _data(raw: int | bytes) -> bytes:
    if not isinstance(raw, bytes):
        raise WireError("a field has the wrong wire type")
    return raw


def _text(raw: int | bytes) -> str:
    try:
        return _data(raw).decode()
    except UnicodeDecodeError as error:
        raise WireError("a text is not UTF-8") from error


def _real(form: str, raw: int | bytes) -> float:
    data = _data(raw)
    if len(data) != struct.calcsize(form):
        raise WireError("a field has the wrong wire type")
    (value,) = struct.unpack(form, data)
    return float(value)
