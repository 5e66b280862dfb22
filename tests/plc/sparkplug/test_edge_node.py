"""Sessions of the edge node without a broker: births, numbers, requests for births, goodbye."""

from __future__ import annotations

import logging

import pytest

import sparkplug_proto
from pipeline.config import Sparkplug
from pipeline.control import LineState
from plc.dialect import Incoming, Kind, Outgoing
from plc.payloads import status_payload, verdict_payload
from plc.sparkplug.birth_sequence import BirthSequence
from plc.sparkplug.edge_node import EdgeNode, NodeTopics

NAMES = Sparkplug(group="acme plant 1", edge_node="line-3")
NODE, DEVICE = "spBv1.0/acme plant 1/{}/line-3", "spBv1.0/acme plant 1/{}/line-3/inspection"


class Clock:
    now_s = 100.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def node(clock):
    return EdgeNode(NAMES, BirthSequence(None, logging.getLogger("plc-test")), clock)


def status(rig, state=LineState.RUNNING):
    return Outgoing("status", status_payload(3, rig.order(state)))


def verdict(rig, sequence=1):
    return Outgoing("verdict", verdict_payload(rig.record(sequence)), expiry_s=2)


def request(name="Node Control/Rebirth", value=True):
    payload = sparkplug_proto.Payload(timestamp=1)
    payload.metrics.add(name=name, boolean_value=value)
    return Incoming(NODE.format("NCMD"), payload.SerializeToString(), False, 0)


def said(packets):
    """(type of message, number, quality of service) of each packet."""
    return [
        (packet.topic.split("/")[2], sparkplug_proto.decode(packet.data).seq, packet.qos)
        for packet in packets
    ]


def test_topics():
    topics = NodeTopics(NAMES)
    for message in ("NBIRTH", "NDEATH", "NCMD"):
        assert topics.of(message) == NODE.format(message)
    for message in ("DBIRTH", "DDATA", "DDEATH", "DCMD"):
        assert topics.of(message) == DEVICE.format(message)
    assert topics.pattern == "spBv1.0/acme plant 1/+/line-3/#"


def test_births_come_before_anything_else_and_carry_the_status(node, rig):
    session = node.speech()
    first = session.packets(status(rig))
    assert said(first) == [("NBIRTH", 0, 0), ("DBIRTH", 1, 0)]
    values = sparkplug_proto.values(sparkplug_proto.decode(first[1].data))
    assert values["status/state"] == "RUNNING"
    (later,) = session.packets(status(rig, LineState.PAUSED))
    assert said([later]) == [("DDATA", 2, 1)]
    assert not any(packet.retain for packet in (*first, later))


def test_a_verdict_before_the_first_status_is_not_lost(node, rig):
    assert said(node.speech().packets(verdict(rig))) == [
        ("NBIRTH", 0, 0),
        ("DBIRTH", 1, 0),
        ("DDATA", 2, 1),
    ]


def test_numbers_wrap_after_255(node, rig):
    session = node.speech()
    found = [said(session.packets(verdict(rig, n)))[-1][1] for n in range(1, 300)]
    assert found == [(n + 1) % 256 for n in range(1, 300)]


def test_every_packet_has_its_time_and_data_its_expiry(node, rig):
    for packet in node.speech().packets(verdict(rig)):
        payload = sparkplug_proto.decode(packet.data)
        assert payload.timestamp > 1_700_000_000_000
        assert {metric.timestamp for metric in payload.metrics} == {payload.timestamp}
        assert packet.expiry_s == (2 if "DDATA" in packet.topic else None)


def test_the_will_is_the_death_of_this_birth(node, rig):
    for number in (0, 1):
        session = node.speech()
        session.connecting()
        will = sparkplug_proto.decode(session.will.data)
        assert sparkplug_proto.values(will) == {"bdSeq": number}
        assert will.metrics[0].datatype == sparkplug_proto.DATA_TYPES["Int64"]
        assert not will.HasField("seq")
        assert (session.will.topic, session.will.qos, session.will.retain) == (
            NODE.format("NDEATH"),
            1,
            False,
        )
        birth = sparkplug_proto.decode(session.packets(status(rig))[0].data)
        assert sparkplug_proto.values(birth)["bdSeq"] == number


def test_births_are_repeated_on_request_with_the_same_number(node, rig, clock):
    session = node.speech()
    session.packets(status(rig))
    session.packets(verdict(rig))
    clock.now_s += 2
    assert not session.asked_again
    assert node.kind(request()) is Kind.SETTLED
    assert session.asked_again
    again = session.packets(verdict(rig, 2))
    assert said(again) == [("NBIRTH", 0, 0), ("DBIRTH", 1, 0), ("DDATA", 2, 1)]
    assert sparkplug_proto.values(sparkplug_proto.decode(again[0].data))["bdSeq"] == 0
    values = sparkplug_proto.values(sparkplug_proto.decode(again[1].data))
    assert (values["status/state"], values["verdict/verdict"]) == ("RUNNING", None)
    assert not session.asked_again


def test_many_requests_make_one_birth_a_second(node, rig, clock):
    session = node.speech()
    session.packets(status(rig))
    node.kind(request())
    assert not session.asked_again
    assert said(session.packets(verdict(rig))) == [("DDATA", 2, 1)]
    clock.now_s += 1
    assert session.asked_again


@pytest.mark.parametrize(
    "message",
    [
        request(value=False),
        request(name="Node Control/Reboot"),
        Incoming(NODE.format("NCMD"), b"\x08", False, 0),
    ],
)
def test_other_commands_for_the_node_are_not_for_a_line(node, rig, clock, message):
    session = node.speech()
    session.packets(status(rig))
    clock.now_s += 2
    assert node.kind(message) is Kind.UNREADABLE
    assert not session.asked_again


def test_messages_for_the_device_are_told_apart(node):
    def kind(**metrics):
        data = sparkplug_proto.written(1, **metrics)
        return node.kind(Incoming(DEVICE.format("DCMD"), data, False, 0))

    assert node.reads == (DEVICE.format("DCMD"), NODE.format("NCMD"))
    assert kind(command__start=True) is Kind.COMMAND
    assert kind(command__start=False) is Kind.SETTLED
    assert kind(ack__session="s", ack__sequence=1) is Kind.ACK
    assert node.kind(Incoming(DEVICE.format("DCMD"), b"\x08", False, 0)) is Kind.COMMAND


def test_the_device_goes_before_the_node(node, rig):
    session = node.speech()
    assert session.farewell() == []
    session.packets(status(rig))
    (packet,) = session.farewell()
    assert said([packet]) == [("DDEATH", 2, 0)]
    assert not sparkplug_proto.decode(packet.data).metrics
