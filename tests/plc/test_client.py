"""The line's client against real brokers."""

from __future__ import annotations

import math
import signal
import socket
import subprocess
import sys
import time

import pytest

from pipeline.bell import Bell
from pipeline.control import LineState
from pipeline.messages import Reason
from plc import connection

FITTING = (15, 16)
"""Verdicts in flight: mosquitto allows 20 messages, 4 are kept for others, and a heartbeat may be
on its way, too.
"""
CONNACK = b"\x20\x03\x00\x00\x00"
"""MQTT 5: success, without properties."""
CLIENT = """
import logging, sys
from pipeline.config import Mqtt
from pipeline.control import LineOrder, LineState
from plc.client import PlcClient
mqtt = Mqtt.model_validate_json(sys.argv[1])
client = PlcClient(mqtt, 3, "20261122-071502-3f9a", logging.getLogger())
client.start()
client.set_status(LineOrder("20261122-071502-3f9a", LineState.RUNNING, "ready", 0))
sys.stdin.read()
"""


def test_verdict_arrives(broker, rig):
    plc = rig.plc(broker.port)
    client = rig.line(rig.mqtt(broker.port, broker.kind))
    client.set_status(rig.order(LineState.RUNNING))
    plc.status("RUNNING")
    assert client.publish_verdict(rig.record(7))
    message = plc.next_message("verdict")
    assert message.qos == 1
    assert not message.retain
    assert b'"partId":"L3-20261122-071502-3f9a-000007"' in message.payload
    assert (client.undelivered, client.warning) == (0, "")


def test_status_is_retained_and_only_changes_are_sent(broker, rig):
    client = rig.line(rig.mqtt(broker.port, broker.kind))
    early = rig.plc(broker.port)
    client.set_status(rig.order(LineState.RUNNING))
    early.status("RUNNING")
    client.set_status(rig.order(LineState.RUNNING))
    client.set_status(rig.order(LineState.DEGRADED, "the camera is lost"))
    assert early.next("status")["state"] == "DEGRADED"
    late = rig.plc(broker.port).next_message("status")
    assert late.retain
    assert b"the camera is lost" in late.payload


def test_it_says_when_it_has_something_to_say(broker, rig):
    bell = Bell()
    client = rig.line(rig.mqtt(broker.port, broker.kind), wake=bell.ring)
    rig.until(bell.hear)
    assert client.due_s == math.inf, "without a state it has nothing to say"
    client.set_status(rig.order(LineState.RUNNING))
    assert client.due_s <= time.monotonic()
    client.tick(0, 0)
    beat_s = client.due_s
    assert 0 < beat_s - time.monotonic() < 1
    client.note_unpublished(1)
    assert client.due_s <= beat_s + 1, "the summary of what is undelivered has its time, too"
    broker.kill()
    rig.until(bell.hear)
    assert client.warning
    assert client.due_s == math.inf


def test_a_message_to_the_line_wakes_it_and_an_acknowledgement_does_not(broker, rig):
    bell = Bell()
    client = rig.line(rig.mqtt(broker.port, broker.kind), wake=bell.ring)
    rig.until(bell.hear)
    client.set_status(rig.order(LineState.RUNNING))
    assert client.publish_verdict(rig.record(1))
    rig.until(client.take_published)
    assert not bell.hear()
    rig.plc(broker.port).say("command", {"id": "a", "command": "stop"})
    rig.until(bell.hear)
    assert [request.id for request in client.requests] == ["a"]


def test_killed_line_is_offline(broker, rig):
    plc = rig.plc(broker.port)
    mqtt = rig.mqtt(broker.port, broker.kind).model_dump_json()
    with subprocess.Popen([sys.executable, "-c", CLIENT, mqtt], stdin=subprocess.PIPE) as line:
        plc.status("RUNNING")
        line.send_signal(signal.SIGKILL)
        will = plc.next("status")
    assert (will["state"], will["since"]) == ("OFFLINE", None)
    assert rig.plc(broker.port).next("status")["state"] == "OFFLINE"


def test_closing_says_halted_and_leaves_no_will(broker, rig):
    plc = rig.plc(broker.port)
    client = rig.line(rig.mqtt(broker.port, broker.kind))
    client.set_status(rig.order(LineState.RUNNING))
    plc.status("RUNNING")
    assert client.publish_verdict(rig.record(1))
    client.close(rig.order(LineState.HALTED))
    assert (client.unacknowledged, client.undelivered) == (0, 0)
    assert plc.next("verdict")["sequence"] == 1
    assert plc.next("status")["state"] == "HALTED"
    assert rig.plc(broker.port).next("status")["state"] == "HALTED"


def test_restarted_broker_gets_the_status_but_no_late_verdict(broker, rig, caplog):
    caplog.set_level("INFO")
    client = rig.line(rig.mqtt(broker.port, broker.kind))
    client.set_status(rig.order(LineState.RUNNING))
    rig.plc(broker.port).status("RUNNING")
    broker.send(signal.SIGSTOP)
    assert client.publish_verdict(rig.record(1)), "handed over, though nobody reads it"
    broker.kill()
    rig.until(lambda: client.warning)
    assert [client.publish_verdict(rig.record(number)) for number in (2, 3, 4)] == [False] * 3
    assert "3 verdicts undelivered" in client.warning
    broker.start()
    plc = rig.plc(broker.port)
    plc.status("RUNNING")
    assert client.publish_verdict(rig.record(5))
    assert plc.next("verdict")["sequence"] == 5
    assert (client.undelivered, client.unacknowledged, client.warning) == (3, 1, "")
    summary = "3 verdicts undelivered, 1 sent without acknowledgement (between sequences 1 and 4)"
    assert summary in caplog.text


def test_line_starts_without_a_broker(rig, free_port, mosquitto):
    client = rig.line(rig.mqtt(free_port))
    client.set_status(rig.order(LineState.RUNNING))
    assert not client.publish_verdict(rig.record(1))
    rig.until(lambda: "connection refused" in client.warning)
    mosquitto()
    rig.plc(free_port).status("RUNNING")
    assert client.warning == ""
    assert client.undelivered == 1


def test_what_a_frozen_broker_has_no_room_for_expires_here_and_is_named(mosquitto, rig):
    """Of 100 verdicts, each with a second to go, only what the broker allows in flight leaves."""
    broker = mosquitto()
    client = rig.line(rig.mqtt(broker.port))
    plc = rig.plc(broker.port)
    client.set_status(rig.order(LineState.RUNNING))
    plc.status("RUNNING")
    rig.until(lambda: client.tick(0, 0) or not client._delivery.in_flight)
    broker.send(signal.SIGSTOP)
    deadline_ns = time.monotonic_ns() + 1_000_000_000
    for number in range(1, 101):
        passed = rig.record(number, Reason.BELOW_THRESHOLD, deadline_monotonic_ns=deadline_ns)
        client.publish_verdict(passed)
    rig.until(lambda: client.tick(100, 100) or "stopped answering" in client.warning)
    rig.until(lambda: client.tick(100, 100) or not client.connected)
    assert not client.publish_verdict(rig.record(101))
    sent = client.unacknowledged
    assert sent in FITTING
    assert client.undelivered == 101 - sent
    broker.send(signal.SIGCONT)
    rig.until(lambda: client.tick(101, 101) or (client.connected and not client.warning))
    assert client.publish_verdict(rig.record(102))
    told = plc.next("undelivered")
    assert told["unconfirmed"] == [{"first": 1, "last": sent}]
    assert told["undelivered"] == [{"first": sent + 1, "last": 101}]


def test_a_heartbeat_counts_no_verdict_that_waits_for_room(mosquitto, rig):
    broker = mosquitto()
    client = rig.line(rig.mqtt(broker.port))
    plc = rig.plc(broker.port)
    client.set_status(rig.order(LineState.RUNNING))
    plc.status("RUNNING")
    rig.until(lambda: client.tick(0, 0) or not client._delivery.in_flight)
    broker.send(signal.SIGSTOP)
    for number in range(1, 101):
        client.publish_verdict(rig.record(number, Reason.BELOW_THRESHOLD))
    rig.until(lambda: client.due_s <= time.monotonic())
    client.tick(100, 100)
    broker.send(signal.SIGCONT)
    while (beat := plc.next("heartbeat"))["sequence"] < 100:
        pass
    assert beat["settled"] in FITTING


def read_all(peer):
    while peer.recv(65_536):
        pass


def test_what_the_kernel_has_not_sent_to_a_broker_that_does_not_read_is_forgotten(rig):
    """The end of such a connection is a reset, not a goodbye behind all that still waits."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client = rig.line(rig.mqtt(listener.getsockname()[1]))
        peer, _ = listener.accept()
        with peer:
            peer.recv(4096)
            peer.sendall(CONNACK)
            rig.until(lambda: client.connected)
            client.set_status(rig.order(LineState.RUNNING))
            for number in range(1, 5001):
                client.publish_verdict(rig.record(number))
            rig.until(lambda: client.tick(5000, 5000) or not client.connected)
            with pytest.raises(ConnectionResetError):
                read_all(peer)


def test_closing_sends_what_waits_for_room(mosquitto, rig):
    broker = mosquitto()
    client = rig.line(rig.mqtt(broker.port))
    plc = rig.plc(broker.port)
    client.set_status(rig.order(LineState.RUNNING))
    plc.status("RUNNING")
    for number in range(1, 101):
        client.publish_verdict(rig.record(number, Reason.BELOW_THRESHOLD))
    client.close(rig.order(LineState.HALTED))
    assert (client.undelivered, client.unacknowledged) == (0, 0)
    seen = [plc.messages.get(timeout=10).topic.rpartition("/")[2] for _ in range(101)]
    assert seen == ["verdict"] * 100 + ["status"]


def test_a_broker_that_goes_on_gets_what_waited_for_room(mosquitto, rig):
    broker = mosquitto()
    bell = Bell()
    client = rig.line(rig.mqtt(broker.port), wake=bell.ring)
    plc = rig.plc(broker.port)
    client.set_status(rig.order(LineState.RUNNING))
    plc.status("RUNNING")
    rig.until(bell.hear)
    broker.send(signal.SIGSTOP)
    for number in range(1, 101):
        client.publish_verdict(rig.record(number, Reason.BELOW_THRESHOLD))
    broker.send(signal.SIGCONT)
    rig.until(lambda: (bell.hear() and client.tick(100, 100)) or len(client._verdicts) == 0)
    assert [plc.next("verdict")["sequence"] for _ in range(100)] == list(range(1, 101))
    assert (client.undelivered, client.unacknowledged) == (0, 0)


def test_denied_publish_is_a_warning(mosquitto, rig, tmp_path):
    rights = tmp_path / "acl"
    rights.write_text("topic readwrite acme/plant-1/assembly/line-3/inspection/status\n")
    broker = mosquitto(f"acl_file {rights}")
    client = rig.line(rig.mqtt(broker.port))
    client.set_status(rig.order(LineState.RUNNING))
    rig.plc(broker.port).status("RUNNING")
    assert client.publish_verdict(rig.record(1))
    rig.until(lambda: "not authorized" in client.warning)
    assert "denies inspection-line-3 to publish to" in client.warning
    rig.until(lambda: client.warning and client.undelivered == 1)


def test_wrong_password_is_a_warning_without_the_password(
    mosquitto, rig, tmp_path, monkeypatch, caplog
):
    users = tmp_path / "users"
    subprocess.run(
        ["mosquitto_passwd", "-c", "-b", users, "line-3", "right"], check=True, capture_output=True
    )
    broker = mosquitto(f"password_file {users}", anonymous=False)
    monkeypatch.setenv("LINE_3_PASSWORD", "wrong-secret")
    client = rig.line(rig.mqtt(broker.port, user="line-3", password_env="LINE_3_PASSWORD"))
    rig.until(lambda: "not authorized" in client.warning)
    assert "wrong-secret" not in client.warning + caplog.text


def test_silent_peer_is_a_warning(rig, monkeypatch):
    monkeypatch.setattr(connection, "ANSWER_TIMEOUT_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = rig.line(rig.mqtt(silent.getsockname()[1]))
        rig.until(lambda: "does not answer in time" in client.warning)
        assert not client.publish_verdict(rig.record(1))


def test_closing_without_a_broker_is_quick(rig, free_port):
    client = rig.line(rig.mqtt(free_port))
    started = time.monotonic()
    client.close(rig.order(LineState.HALTED))
    assert time.monotonic() - started < 2.5


def test_who_closes_before_the_first_connection_says_all_the_same_how_it_ended(broker, rig):
    client = rig.line(rig.mqtt(broker.port, broker.kind))
    client.close(rig.order(LineState.FAULT))
    assert rig.plc(broker.port).next("status")["state"] == "FAULT"


def test_a_burst_arrives_complete_and_in_order(broker, rig):
    count = 400
    plc = rig.plc(broker.port)
    client = rig.line(rig.mqtt(broker.port, broker.kind))
    client.set_status(rig.order(LineState.RUNNING))
    plc.status("RUNNING")
    assert all(client.publish_verdict(rig.record(number)) for number in range(1, count + 1))
    rig.until(lambda: client.tick(count, count) or client._delivery.in_flight == 0)
    arrived = [plc.next("verdict")["sequence"] for _ in range(count)]
    assert arrived == list(range(1, count + 1))
