"""Sparkplug B by another's hand: Google's protobuf with the schema of the specification.

Field numbers and types are those of sparkplug_b.proto in the Eclipse Sparkplug specification 3.0.0,
section 6.4.1. What a payload of the line never holds (templates, properties, metadata) is left out,
so that it would come out as an unknown field and fail the test.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_FIELD = descriptor_pb2.FieldDescriptorProto
_TYPES = {
    "uint32": _FIELD.TYPE_UINT32,
    "uint64": _FIELD.TYPE_UINT64,
    "float": _FIELD.TYPE_FLOAT,
    "double": _FIELD.TYPE_DOUBLE,
    "bool": _FIELD.TYPE_BOOL,
    "string": _FIELD.TYPE_STRING,
    "bytes": _FIELD.TYPE_BYTES,
}
DATA_SET_VALUE = (
    ("value int_value", "uint32", 1),
    ("value long_value", "uint64", 2),
    ("value float_value", "float", 3),
    ("value double_value", "double", 4),
    ("value boolean_value", "bool", 5),
    ("value string_value", "string", 6),
)
ROW = (("repeated elements", "DataSetValue", 1),)
DATA_SET = (
    ("num_of_columns", "uint64", 1),
    ("repeated columns", "string", 2),
    ("repeated types", "uint32", 3),
    ("repeated rows", "Row", 4),
)
METRIC = (
    ("name", "string", 1),
    ("alias", "uint64", 2),
    ("timestamp", "uint64", 3),
    ("datatype", "uint32", 4),
    ("is_historical", "bool", 5),
    ("is_transient", "bool", 6),
    ("is_null", "bool", 7),
    ("value int_value", "uint32", 10),
    ("value long_value", "uint64", 11),
    ("value float_value", "float", 12),
    ("value double_value", "double", 13),
    ("value boolean_value", "bool", 14),
    ("value string_value", "string", 15),
    ("value bytes_value", "bytes", 16),
    ("value dataset_value", "DataSet", 17),
)
PAYLOAD = (
    ("timestamp", "uint64", 1),
    ("repeated metrics", "Metric", 2),
    ("seq", "uint64", 3),
    ("uuid", "string", 4),
    ("body", "bytes", 5),
)
MESSAGES = {
    "DataSetValue": DATA_SET_VALUE,
    "Row": ROW,
    "DataSet": DATA_SET,
    "Metric": METRIC,
    "Payload": PAYLOAD,
}
DATA_TYPES = {
    "Int64": 4,
    "UInt64": 8,
    "Double": 10,
    "Boolean": 11,
    "String": 12,
    "DateTime": 13,
    "DataSet": 16,
}
"""Of the enumeration of the specification, those that the line uses."""


def _payload_class() -> type[Any]:
    file = descriptor_pb2.FileDescriptorProto(
        name="sparkplug_b.proto", package="sparkplug", syntax="proto2"
    )
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for words, kind, number in fields:
            label, _, field_name = words.rpartition(" ")
            field = message.field.add(name=field_name, number=number)
            field.label = _FIELD.LABEL_REPEATED if label == "repeated" else _FIELD.LABEL_OPTIONAL
            if kind in _TYPES:
                field.type = _TYPES[kind]
            else:
                field.type, field.type_name = _FIELD.TYPE_MESSAGE, f".sparkplug.{kind}"
            if label == "value":
                if not message.oneof_decl:
                    message.oneof_decl.add(name="value")
                field.oneof_index = 0
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("sparkplug.Payload"))


Payload = _payload_class()
"""Google's class of a Sparkplug B payload."""


def decode(data: bytes) -> Any:
    """A payload as Google's protobuf reads it; bytes that its schema does not know are an error."""
    payload = Payload.FromString(data)
    again = payload.SerializeToString()
    payload.DiscardUnknownFields()
    assert payload.SerializeToString() == again, "there are fields that the specification lacks"
    return payload


def values(payload: Any) -> dict[str, Any]:
    """The values of a payload's metrics by name; null is None, a table a list of dicts."""
    return {metric.name: value(metric) for metric in payload.metrics}


def value(metric: Any) -> Any:
    """The value of one metric."""
    field = metric.WhichOneof("value")
    if metric.is_null:
        assert field is None, metric.name
        return None
    if field != "dataset_value":
        return getattr(metric, field)
    table = metric.dataset_value
    assert table.num_of_columns == len(table.columns) == len(table.types)
    return [
        {
            name: getattr(cell, cell.WhichOneof("value"))
            for name, cell in zip(table.columns, row.elements, strict=True)
        }
        for row in table.rows
    ]


def written(timestamp_ms: int | None, **metrics: Any) -> bytes:
    """A command as a host writes it; `__` in a keyword stands for the slash of a metric's name."""
    payload = Payload()
    if timestamp_ms is not None:
        payload.timestamp = timestamp_ms
    for name, given in metrics.items():
        metric = payload.metrics.add(name=name.replace("__", "/"))
        field = {bool: "boolean", int: "long", float: "double", str: "string"}[type(given)]
        setattr(metric, f"{field}_value", given)
    return payload.SerializeToString()
