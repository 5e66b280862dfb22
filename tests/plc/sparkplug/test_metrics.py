"""Every key of the JSON contract is a metric with the same value, read by another protobuf."""

from __future__ import annotations

import json
from datetime import datetime

import pytest

import sparkplug_proto
from pipeline.control import Answer, Command, LineState
from pipeline.sequences import Sequences
from plc import payloads as contract
from plc.sparkplug.metrics import device_birth, metrics_of, node_birth, node_death
from plc.sparkplug.wire import encode_payload

EVENTS = ("verdict/", "reject/", "heartbeat/", "undelivered/", "response/")


def read(metrics, types=False):
    return sparkplug_proto.decode(encode_payload(metrics, 1, 0, types=types))


def payloads(rig):
    order = rig.order(LineState.RUNNING)
    record = rig.record(recipe="cap_b", batch="B-7", encoder_position=412.04)
    answer = Answer("id", Command.PAUSE, True, "", LineState.PAUSED, order.since_wall_ns)
    gone, unsure = Sequences([(3, 5), (9, 9)]), Sequences()
    return {
        "verdict": contract.verdict_payload(record),
        "reject": contract.reject_payload(record, 1812),
        "status": contract.status_payload(3, order, contract.Identity("cap_b", "b-1", "c-1"), 17),
        "heartbeat": contract.HeartbeatPayload(3, order.session, 1, LineState.RUNNING, 131, 122, 5),
        "undelivered": contract.undelivered_payload(
            3, order.session, gone, unsure, order.since_wall_ns
        ),
        "response": contract.response_payload(3, order.session, answer),
    }


def plain(value):
    """A value of JSON as Sparkplug has it: times are milliseconds."""
    if isinstance(value, str) and value.endswith("Z") and value[4:5] == "-":
        return round(datetime.fromisoformat(value).timestamp() * 1000)
    return value


@pytest.mark.parametrize(
    "topic", ["verdict", "reject", "status", "heartbeat", "undelivered", "response"]
)
def test_each_key_is_a_metric_with_its_value(rig, topic):
    payload = payloads(rig)[topic]
    told = json.loads(contract.encode(payload))
    assert told.pop("schema") == f"inspection.{topic}/1"
    found = sparkplug_proto.values(read(metrics_of(payload)))
    assert found == {f"{topic}/{key}": plain(value) for key, value in told.items()}


def test_times_are_exact_to_the_millisecond(rig):
    for wall_ns in (rig.record().captured_wall_ns + ms * 1_000_000 for ms in range(1000)):
        found = metrics_of(contract.verdict_payload(rig.record(captured_wall_ns=wall_ns)))
        (captured,) = (metric.value for metric in found if metric.name == "verdict/capturedAt")
        assert captured == wall_ns // 1_000_000


def test_births_name_all_that_ever_comes_with_its_type(rig):
    born = read(device_birth(payloads(rig)["status"]), types=True)
    types = {metric.name: metric.datatype for metric in born.metrics}
    assert len(types) == len(born.metrics), "a name stands there twice"
    field = {4: "long", 8: "long", 13: "long", 10: "double", 11: "boolean", 12: "string"}
    for payload in payloads(rig).values():
        for metric in read(metrics_of(payload)).metrics:
            kind = types[metric.name]
            assert metric.WhichOneof("value") in (None, f"{field.get(kind, 'dataset')}_value")


def test_a_birth_repeats_no_event(rig):
    values = sparkplug_proto.values(read(device_birth(payloads(rig)["status"]), types=True))
    assert {value for name, value in values.items() if name.startswith(EVENTS)} == {None}
    assert values["status/state"] == "RUNNING"
    assert values["status/sequence"] == 17
    assert values["command/start"] is False
    assert values["command/select_recipe"] is None


def test_a_birth_before_the_first_status_has_no_state():
    values = sparkplug_proto.values(read(device_birth(None), types=True))
    assert values["status/state"] is None


def test_birth_and_death_of_the_node():
    born = read(node_birth(7), types=True)
    assert sparkplug_proto.values(born) == {"bdSeq": 7, "Node Control/Rebirth": False}
    assert [metric.datatype for metric in born.metrics] == [4, 11]
    assert sparkplug_proto.values(read(node_death(7))) == {"bdSeq": 7}
