"""The wire format against Google's protobuf: both directions, and what is no message at all."""

from __future__ import annotations

import math
import random

import pytest

import sparkplug_proto
from plc.sparkplug.wire import (
    DataSet,
    DataType,
    Metric,
    WireError,
    decode_payload,
    encode_payload,
    number_of,
)

NUMBERS = (0, 1, 127, 128, 300, 2**31, 2**32, 2**63, 2**64 - 1)
FIELD = {
    DataType.INT64: "long_value",
    DataType.UINT64: "long_value",
    DataType.DATETIME: "long_value",
    DataType.DOUBLE: "double_value",
    DataType.BOOLEAN: "boolean_value",
    DataType.STRING: "string_value",
}


def test_data_types_have_the_numbers_of_the_specification():
    names = {name.upper(): number for name, number in sparkplug_proto.DATA_TYPES.items()}
    assert {kind.name: kind.value for kind in DataType} == names


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        *((DataType.UINT64, number) for number in NUMBERS),
        (DataType.INT64, 255),
        (DataType.DATETIME, 1_795_331_702_123),
        *((DataType.DOUBLE, number) for number in (0.0, -412.04, 1e300, math.inf)),
        (DataType.BOOLEAN, True),
        (DataType.BOOLEAN, False),
        (DataType.STRING, ""),
        (DataType.STRING, "ü" * 200),
    ],
)
def test_google_reads_every_value(kind, value):
    data = encode_payload([Metric("folder/name", kind, value)], 1234, 255, types=True)
    payload = sparkplug_proto.decode(data)
    (metric,) = payload.metrics
    assert (payload.timestamp, payload.seq) == (1234, 255)
    assert (metric.name, metric.timestamp, metric.datatype) == ("folder/name", 1234, kind)
    assert metric.WhichOneof("value") == FIELD[kind]
    assert getattr(metric, FIELD[kind]) == value
    assert not metric.is_null


def test_null_has_no_value_and_data_no_type():
    data = encode_payload([Metric("x", DataType.DOUBLE, None)], 1, 0)
    (metric,) = sparkplug_proto.decode(data).metrics
    assert metric.is_null
    assert metric.WhichOneof("value") is None
    assert not metric.HasField("datatype")


def test_what_is_not_given_is_not_there():
    payload = sparkplug_proto.decode(encode_payload([Metric("x", DataType.INT64, 7)], None, None))
    assert not payload.HasField("timestamp")
    assert not payload.HasField("seq")
    assert not payload.metrics[0].HasField("timestamp")


def test_google_reads_tables():
    kinds = (DataType.UINT64, DataType.DOUBLE, DataType.STRING, DataType.BOOLEAN)
    rows = ((1, 0.5, "a", True), (2**40, -1.0, "", False))
    table = DataSet(("a", "b", "c", "d"), kinds, rows)
    empty = DataSet(("a",), kinds[:1], ())
    metrics = [Metric("t", DataType.DATASET, table), Metric("e", DataType.DATASET, empty)]
    payload = sparkplug_proto.decode(encode_payload(metrics, 1, 0))
    assert list(payload.metrics[0].dataset_value.types) == [8, 10, 12, 11]
    assert sparkplug_proto.values(payload) == {
        "t": [dict(zip("abcd", row, strict=True)) for row in rows],
        "e": [],
    }


@pytest.mark.parametrize("number", [-1, 2**64, 2**70])
def test_a_number_that_does_not_fit_is_the_programmers_mistake(number):
    with pytest.raises(AssertionError):
        encode_payload([Metric("x", DataType.UINT64, number)], None, None)


def test_what_google_writes_is_read():
    payload = sparkplug_proto.Payload(timestamp=17, seq=3, uuid="other", body=b"\x00")
    for name, field, value in (
        ("text", "string_value", "cap_b"),
        ("flag", "boolean_value", True),
        ("double", "double_value", -412.04),
        ("float", "float_value", 0.5),
        ("long", "long_value", 2**63),
        ("int", "int_value", 7),
    ):
        metric = payload.metrics.add(name=name, alias=9, timestamp=5, datatype=12)
        setattr(metric, field, value)
    payload.metrics.add(name="none", is_null=True)
    received = decode_payload(payload.SerializeToString())
    assert received.timestamp_ms == 17
    assert dict(received.values) == {
        "text": "cap_b",
        "flag": True,
        "double": -412.04,
        "float": 0.5,
        "long": 2**63,
        "int": 7,
        "none": None,
    }


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x08", "cut off"),
        (b"\x12\x05\x0a", "cut off"),
        (b"\x08" + b"\xff" * 10, "64 bits"),
        (b"\x0b", "wire type 3"),
        (b"\x00\x01", "field 0"),
        (b"\x0a\x01x", "wrong wire type"),
        (b"\x10\x01", "wrong wire type"),
        (b"\x12\x02\x10\x01", "no name"),
        (b"\x12\x03\x0a\x01\xff", "not UTF-8"),
        (b"\x12\x06\x0a\x01x\x82\x01\x00", "neither a number"),
        (b"\x12\x05\x0a\x01x\x60\x01", "wrong wire type"),
    ],
)
def test_what_is_no_command_is_refused_with_a_reason(data, reason):
    with pytest.raises(WireError, match=reason):
        decode_payload(data)


def test_damaged_bytes_never_raise_anything_else():
    whole = sparkplug_proto.written(17, command__start=True, command__id="plc-7", x=2**60, y=0.5)
    generator = random.Random(5)
    readable = 0
    for _ in range(20_000):
        data = bytearray(whole)
        for _ in range(generator.randint(1, 4)):
            data[generator.randrange(len(data))] = generator.randrange(256)
        del data[generator.randint(0, len(data)) :]
        try:
            decode_payload(bytes(data))
            readable += 1
        except WireError:
            continue
    assert 0 < readable < 20_000


@pytest.mark.parametrize("number", NUMBERS)
def test_one_number_is_found_beside_tables_and_texts(number):
    table = DataSet(("x",), (DataType.UINT64,), ((3,),))
    metrics = (
        Metric("verdict/defects", DataType.DATASET, table),
        Metric("verdict/partId", DataType.STRING, "verdict/sequence"),
        Metric("verdict/sequence", DataType.UINT64, number),
    )
    data = encode_payload(metrics, 1, 2)
    assert number_of(data, "verdict/sequence") == number
    assert number_of(data, "reject/sequence") is None
    with pytest.raises(WireError):
        number_of(data, "verdict/partId")
    with pytest.raises(WireError, match="cut off"):
        number_of(data[: len(data) // 2], "verdict/sequence")
