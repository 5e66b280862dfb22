"""Everything beside verdict and status, against real brokers: rejects, heartbeats, summaries,
commands and acknowledgements.
"""

from __future__ import annotations

import time

import msgspec
import pytest

from pipeline.control import Answer, Command, LineState
from pipeline.messages import Reason
from plc import connection
from plc.outlet import MOST_MESSAGES
from plc.payloads import Identity

COMMAND = {"schema": "inspection.command/1", "id": "a1", "command": "pause"}
ACK = {"schema": "inspection.ack/1", "session": "20261122-071502-3f9a"}


@pytest.fixture
def running(broker, rig):
    """A line that runs, and a PLC that sees it."""
    plc = rig.plc(broker.port)
    client = rig.line(rig.mqtt(broker.port, broker.kind, {"heartbeat_s": 0.1, "ack_window_s": 0.2}))
    client.set_status(rig.order(LineState.RUNNING), Identity("cap", "b-1", "c-1"))
    status = plc.status("RUNNING")
    assert (status["recipe"], status["bundleId"], status["calibrationId"]) == ("cap", "b-1", "c-1")
    return client, plc


def topics(plc, count):
    """The last part of the next topics, in the order of arrival."""
    return [plc.messages.get(timeout=10).topic.rpartition("/")[2] for _ in range(count)]


def test_the_gate_hears_of_a_reject_before_everybody_else(running, rig):
    client, plc = running
    assert client.publish_verdict(rig.record(1, Reason.BELOW_THRESHOLD))
    assert client.publish_verdict(rig.record(2))
    assert client.publish_verdict(rig.record(3, Reason.STAGE_FAULT))
    assert topics(plc, 5) == ["verdict", "reject", "verdict", "reject", "verdict"]


def test_a_reject_is_small_and_says_how_much_time_is_left(running, rig):
    client, plc = running
    now_ns = time.monotonic_ns()
    assert client.publish_verdict(
        rig.record(2, deadline_monotonic_ns=now_ns + 1_500_000_000, reject_position=812.0404)
    )
    message = plc.next_message("reject")
    assert (message.qos, message.retain) == (1, False)
    assert len(message.payload) < 400
    reject = msgspec.json.decode(message.payload)
    assert 500 < reject["remainingMs"] <= 1500
    assert (reject["sequence"], reject["rejectPosition"]) == (2, 812.04)
    verdict = plc.next("verdict")
    for key in ("remainingMs", "sentMs"):
        assert verdict[key] == reject[key]
    assert 0 <= time.monotonic_ns() // 1_000_000 - verdict["sentMs"] < 10_000


def test_a_verdict_that_is_told_again_says_what_is_left_then(running, rig):
    client, plc = running
    record = rig.record(
        1, Reason.BELOW_THRESHOLD, deadline_monotonic_ns=time.monotonic_ns() + 60_000_000_000
    )
    assert client.publish_verdict(record)
    first = plc.next("verdict")
    rig.until(lambda: time.monotonic_ns() // 1_000_000 > first["sentMs"])
    assert client.publish_verdict(record)
    again = plc.next("verdict")
    passed_ms = again["sentMs"] - first["sentMs"]
    assert passed_ms > 0
    assert first["remainingMs"] - again["remainingMs"] == pytest.approx(passed_ms, abs=1)
    changed = ("remainingMs", "sentMs")
    assert [{k: v for k, v in p.items() if k not in changed} for p in (first, again)] == [
        {k: v for k, v in first.items() if k not in changed}
    ] * 2


def test_a_part_that_nobody_knows_the_time_of_moves_no_gate(running, rig):
    client, plc = running
    nothing = {"captured_wall_ns": None, "deadline_wall_ns": None, "latency_ms": None}
    assert client.publish_verdict(rig.record(1, Reason.NOT_ANNOUNCED, **nothing))
    assert topics(plc, 1) == ["verdict"]


def test_what_has_expired_is_not_sent_but_named(running, rig):
    client, plc = running
    gone = time.monotonic_ns() - 1
    for sequence in (1, 2):
        assert not client.publish_verdict(rig.record(sequence, deadline_monotonic_ns=gone))
    assert not client.publish_verdict(rig.record(3, late=True))
    assert client.publish_verdict(rig.record(4, Reason.BELOW_THRESHOLD))
    summary = plc.next("undelivered")
    assert plc.next("verdict")["sequence"] == 4
    assert summary["count"] == 3
    assert summary["undelivered"] == [{"first": 1, "last": 3}]
    assert summary["unconfirmed"] == []


def test_heartbeats_are_counted(running, rig, broker):
    client, plc = running
    seen = []
    rig.until(lambda: client.tick(9, 7) or _collect(plc, "heartbeat", seen) >= 3)
    beats = [msgspec.json.decode(message.payload) for message in seen]
    assert [beat["counter"] for beat in beats[:3]] == [1, 2, 3]
    assert {(beat["state"], beat["sequence"], beat["settled"]) for beat in beats} == {
        ("RUNNING", 9, 7)
    }
    assert not any(message.retain for message in seen)
    if broker.kind == "external":  # the embedded one delivers with the subscriber's quality
        assert {message.qos for message in seen} == {0}


def _collect(plc, topic, seen):
    while not plc.messages.empty():
        message = plc.messages.get()
        if message.topic.endswith(topic):
            seen.append(message)
    return len(seen)


def test_the_status_counts_parts_without_being_repeated_for_each(running, rig):
    client, plc = running
    for sequence in (1, 2, 3):
        client.tick(sequence, sequence)
        client.set_status(rig.order(LineState.RUNNING))
    client.set_status(rig.order(LineState.DEGRADED))
    assert plc.next("status")["state"] == "DEGRADED"
    assert rig.plc(plc.port).next("status")["sequence"] == 3


def test_a_command_is_answered_and_its_repetition_as_well(running, rig):
    client, plc = running
    plc.say("command", COMMAND)
    rig.until(lambda: client.requests)
    (request,) = client.requests
    assert (request.id, request.command) == ("a1", Command.PAUSE)
    answer = Answer("a1", Command.PAUSE, True, "", LineState.PAUSED, 0)
    client.answer([answer])
    client.answer([answer])
    first = plc.next("response")
    assert (first["id"], first["result"], first["state"]) == ("a1", "accepted", "PAUSED")
    plc.say("command", COMMAND)
    seen = []
    rig.until(lambda: client.requests or _collect(plc, "response", seen))
    assert [msgspec.json.decode(message.payload) for message in seen] == [first]
    assert client.requests == ()


def test_a_command_that_cannot_be_read_is_refused(running, rig):
    client, plc = running
    plc.say("command", b"stop!")
    seen = []
    rig.until(lambda: client.requests or _collect(plc, "response", seen))
    response = msgspec.json.decode(seen[0].payload)
    assert (response["id"], response["result"]) == (None, "refused")
    assert client.requests == ()


def test_a_flood_of_messages_holds_nothing_up_and_is_counted(running, rig):
    client, plc = running
    for _ in range(MOST_MESSAGES // 2):
        plc.say("command", b"[" * 3000)
        plc.say("ack", b"?")
    plc.say("command", COMMAND)
    rig.until(lambda: client._outlet.overrun)
    assert client.publish_verdict(rig.record(1, Reason.BELOW_THRESHOLD))
    assert client._outlet.messages.qsize() > MOST_MESSAGES / 2, "a call reads only some"
    rig.until(lambda: client.requests == () and client._outlet.messages.empty())
    assert client.refused == MOST_MESSAGES + 1, "what found no room is counted, too"
    plc.say("command", COMMAND)
    rig.until(lambda: client.requests)


def test_a_retained_command_is_never_obeyed(broker, rig, caplog):
    plc = rig.plc(broker.port)
    plc.say("command", COMMAND, retain=True)
    client = rig.line(rig.mqtt(broker.port, broker.kind))
    rig.until(lambda: client.requests or "retained message" in caplog.text)
    assert client.requests == ()


def test_a_silent_plc_is_an_alarm_until_it_acknowledges(running, rig):
    client, plc = running
    assert client.publish_verdict(rig.record(1, Reason.BELOW_THRESHOLD))
    soon_ns = time.monotonic_ns() + 50_000_000
    assert client.publish_verdict(rig.record(2, deadline_monotonic_ns=soon_ns))
    rig.until(lambda: client.alarm)
    assert "has not acknowledged the reject of part 2" in client.alarm
    plc.say("ack", {**ACK, "session": "another", "sequence": 2})
    plc.say("ack", b"yes")
    plc.say("ack", {**ACK, "sequence": 2})
    rig.until(lambda: not client.alarm)


def test_after_a_reconnection_come_status_then_the_gap_then_verdicts(mosquitto, rig, monkeypatch):
    monkeypatch.setattr(connection, "FIRST_WAIT_S", 1.0)
    broker = mosquitto()
    client = rig.line(rig.mqtt(broker.port))
    client.set_status(rig.order(LineState.RUNNING))
    plc = rig.plc(broker.port)
    plc.status("RUNNING")
    assert client.publish_verdict(rig.record(1, Reason.BELOW_THRESHOLD))
    rig.until(client.take_published)
    rig.cut_off(client, broker.port)
    refused = [client.publish_verdict(rig.record(number)) for number in (2, 3)]
    assert refused == [False, False]
    assert client.alarm == "", "a broker that is away is no alarm: nobody could hear it"
    rig.until(lambda: client.connected)
    assert client.publish_verdict(rig.record(4, Reason.BELOW_THRESHOLD))
    seen = [plc.messages.get(timeout=10) for _ in range(5)]
    names = [message.topic.rpartition("/")[2] for message in seen]
    assert names == ["verdict", "status", "status", "undelivered", "verdict"]
    states = [msgspec.json.decode(message.payload)["state"] for message in seen[1:3]]
    assert states == ["OFFLINE", "RUNNING"]
    assert msgspec.json.decode(seen[3].payload)["undelivered"] == [{"first": 2, "last": 3}]
    rig.until(lambda: (note := client.take_published()) and note.undelivered == ((2, 3),))


def test_a_denied_verdict_is_an_alarm_and_named_to_the_plc(mosquitto, rig, tmp_path):
    rights = tmp_path / "acl"
    rights.write_text(
        "".join(
            f"topic readwrite acme/plant-1/assembly/line-3/inspection/{name}\n"
            for name in ("status", "undelivered", "reject")
        )
    )
    broker = mosquitto(f"acl_file {rights}")
    client = rig.line(rig.mqtt(broker.port))
    client.set_status(rig.order(LineState.RUNNING))
    plc = rig.plc(broker.port)
    plc.status("RUNNING")
    assert client.publish_verdict(rig.record(6))
    rig.until(lambda: "not authorized" in client.alarm)
    assert client.alarm == client.warning
    rig.until(lambda: client.tick(6, 6) or client.take_published())
    assert plc.next("undelivered")["undelivered"] == [{"first": 6, "last": 6}]


def test_a_broker_of_mqtt_5_is_told_when_a_verdict_expires(mosquitto, rig):
    broker = mosquitto()
    client = rig.line(rig.mqtt(broker.port))
    client.set_status(rig.order(LineState.RUNNING))
    plc = rig.plc(broker.port, mqtt_5=True)
    plc.status("RUNNING")
    deadline_ns = time.monotonic_ns() + 60_000_000_000
    assert client.publish_verdict(rig.record(1, deadline_monotonic_ns=deadline_ns))
    for topic in ("reject", "verdict"):
        assert 50 < plc.next_message(topic).properties.MessageExpiryInterval <= 60


def test_a_state_without_identity_keeps_the_last_one(running, rig):
    client, plc = running
    client.set_status(rig.order(LineState.HALTED))
    assert plc.status("HALTED")["bundleId"] == "b-1"
