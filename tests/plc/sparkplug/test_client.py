"""The line's client in Sparkplug B against real brokers, seen by a host with another's protobuf."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from pipeline.control import Answer, Command, LineState
from pipeline.messages import Reason
from plc.access_list import access_list
from sparkplug_host import DEVICE, GROUP, NODE, SECTION, Host

CLIENT = """
import logging, pathlib, sys
from pipeline.config import Mqtt
from pipeline.control import LineOrder, LineState
from plc.client import PlcClient
mqtt = Mqtt.model_validate_json(sys.argv[1])
client = PlcClient(mqtt, 3, "s", logging.getLogger(), pathlib.Path(sys.argv[2]))
client.start()
client.set_status(LineOrder("s", LineState.RUNNING, "ready", 0))
sys.stdin.read()
"""
CONTRACT = {"payload": "sparkplug", "sparkplug": SECTION, "heartbeat_s": 0.1}


@pytest.fixture
def host():
    hosts = []

    def start(port):
        hosts.append(Host(port))
        hosts[-1].wait_subscribed()
        return hosts[-1]

    yield start
    for host in hosts:
        host.close()
        assert host.faults == []


@pytest.fixture
def start_line(rig):
    def start(broker, **contract):
        client = rig.line(rig.mqtt(broker.port, broker.kind, {**CONTRACT, **contract}))
        client.set_status(rig.order(LineState.RUNNING))
        return client

    return start


def alive(state="RUNNING"):
    return lambda host: host.device_alive and host.tags["status/state"] == state


def test_births_then_reject_and_verdict(broker, rig, host, start_line):
    scada = host(broker.port)
    client = start_line(broker)
    scada.wait(alive(), "birth")
    assert scada.kinds[:2] == ["NBIRTH", "DBIRTH"]
    assert scada.tags["verdict/sequence"] is None
    assert client.publish_verdict(rig.record(7))
    verdict = scada.next_data("verdict")
    assert (verdict["sequence"], verdict["verdict"], verdict["score"]) == (7, "REJECT", 0.8125)
    (defect,) = verdict["defects"]
    assert (defect["x"], defect["peak"]) == (301, 0.984375)
    assert scada.kinds[2:] == ["DDATA", "DDATA"]
    assert scada.data("reject")[0]["sequence"] == 7
    rig.until(client.take_published)
    assert (client.undelivered, client.warning, client.alarm) == (0, "", "")


def test_state_and_heartbeat_are_data(broker, rig, host, start_line):
    scada = host(broker.port)
    client = start_line(broker)
    scada.wait(alive(), "birth")
    client.set_status(rig.order(LineState.DEGRADED, "the camera is lost"))
    assert scada.next_data("status")["cause"] == "the camera is lost"
    rig.until(lambda: client.tick(131, 122) or scada.data("heartbeat"))
    beat = scada.data("heartbeat")[0]
    assert (beat["sequence"], beat["settled"], beat["state"]) == (131, 122, "DEGRADED")


def test_a_late_host_asks_for_the_births(broker, rig, host, start_line):
    first = host(broker.port)
    client = start_line(broker)
    first.wait(alive(), "birth")
    assert client.publish_verdict(rig.record(1))
    first.next_data("verdict")
    late = host(broker.port)
    late.ask_for_rebirth()
    rig.until(lambda: client.tick(1, 1) or late.device_alive)
    late.wait(alive(), "birth")
    assert late.tags["verdict/sequence"] is None, "an old verdict must not act again"
    assert client.publish_verdict(rig.record(2))
    assert late.next_data("verdict")["sequence"] == 2
    first.wait(lambda host: host.kinds.count("NBIRTH") == 2, "second birth")
    assert first.born == late.born == 0


def test_killed_process_dies_for_the_host_and_comes_back_with_the_next_number(
    broker, rig, host, tmp_path
):
    scada = host(broker.port)
    mqtt = rig.mqtt(broker.port, broker.kind, CONTRACT).model_dump_json()
    command = [sys.executable, "-c", CLIENT, mqtt, str(tmp_path)]
    for number in (0, 1):
        with subprocess.Popen(command, stdin=subprocess.PIPE) as line:
            scada.wait(alive(), f"birth {number}")
            line.send_signal(signal.SIGKILL)
            scada.wait(lambda host: not host.alive, f"death {number}")
        assert scada.born == number
    assert scada.kinds[-1] == "NDEATH"


def test_closing_says_halted_and_takes_device_and_node_off(broker, rig, host, start_line):
    scada = host(broker.port)
    client = start_line(broker)
    scada.wait(alive(), "birth")
    assert client.publish_verdict(rig.record(1))
    client.close(rig.order(LineState.HALTED))
    scada.wait(lambda host: not host.alive, "death")
    assert scada.data("status")[-1]["state"] == "HALTED"
    assert scada.kinds[-3:] == ["DDATA", "DDEATH", "NDEATH"]
    assert (client.unacknowledged, client.undelivered) == (0, 0)


def test_after_a_restarted_broker_births_then_the_undelivered_then_verdicts(
    mosquitto, rig, host, start_line
):
    broker = mosquitto()
    client = start_line(broker)
    rig.until(lambda: client.connected)
    broker.send(signal.SIGSTOP)
    assert client.publish_verdict(rig.record(1)), "handed over, though nobody reads it"
    broker.kill()
    rig.until(lambda: client.warning)
    assert [client.publish_verdict(rig.record(number)) for number in (2, 3, 4)] == [False] * 3
    broker.start()
    scada = host(broker.port)
    rig.until(lambda: client.connected)
    assert client.publish_verdict(rig.record(5))
    assert scada.next_data("verdict")["sequence"] == 5
    assert [values["sequence"] for values in scada.data("verdict")] == [5]
    missing = scada.data("undelivered")[0]
    assert missing["undelivered"] == [{"first": 2, "last": 4}]
    assert missing["unconfirmed"] == [{"first": 1, "last": 1}]
    assert scada.kinds.index("DDATA") in (0, 2), "births first, if the host was there in time"
    assert [next(iter(values)) for kind, values in scada.messages if kind == "DDATA"] == [
        "undelivered/line",
        "reject/line",
        "verdict/line",
    ]
    scada.ask_for_rebirth()
    rig.until(lambda: client.tick(5, 5) or scada.device_alive)
    assert scada.born == 1


def test_what_has_expired_is_not_sent_but_named(broker, rig, host, start_line):
    scada = host(broker.port)
    client = start_line(broker)
    scada.wait(alive(), "birth")
    gone = time.monotonic_ns() - 1
    assert not client.publish_verdict(rig.record(1, deadline_monotonic_ns=gone))
    assert client.publish_verdict(rig.record(2, Reason.BELOW_THRESHOLD))
    scada.next_data("verdict")
    rig.until(lambda: client.tick(2, 2) or scada.data("undelivered"))
    assert scada.data("undelivered")[0]["undelivered"] == [{"first": 1, "last": 1}]
    assert [values["sequence"] for values in scada.data("verdict")] == [2]


def test_commands_are_answered_once(broker, rig, host, start_line):
    scada = host(broker.port)
    client = start_line(broker)
    scada.wait(alive(), "birth")
    recipe = {"command__id": "plc-7", "command__select_recipe": "cap_b"}
    scada.write(**recipe)
    rig.until(lambda: client.requests)
    (request,) = client.requests
    assert (request.command, request.recipe) == (Command.SELECT_RECIPE, "cap_b")
    client.answer([Answer("plc-7", request.command, False, "why not", LineState.RUNNING, 1)])
    response = scada.next_data("response")
    assert (response["id"], response["result"], response["reason"]) == (
        "plc-7",
        "refused",
        "why not",
    )
    scada.write(**recipe)
    rig.until(lambda: client.requests or len(scada.data("response")) == 2)
    assert scada.data("response")[1] == response
    scada.write(command__id="b", command__explode=True)
    rig.until(lambda: client.requests or len(scada.data("response")) == 3)
    assert "nobody can write" in scada.data("response")[2]["reason"]
    assert client.refused == 1


def test_acknowledgements_end_the_alarm(broker, rig, host, start_line):
    scada = host(broker.port)
    client = start_line(broker, ack_window_s=0.1)
    scada.wait(alive(), "birth")
    soon = time.monotonic_ns() + 50_000_000
    assert client.publish_verdict(rig.record(1, deadline_monotonic_ns=soon))
    rig.until(lambda: "not acknowledged the reject of part 1" in client.alarm)
    session = scada.next_data("reject")["session"]
    scada.write(ack__session=session, ack__sequence=1)
    rig.until(lambda: not client.alarm)


def test_denied_data_is_an_alarm(mosquitto, rig, tmp_path):
    rights = tmp_path / "acl"
    rights.write_text(f"topic readwrite spBv1.0/{GROUP}/NBIRTH/#\n")
    broker = mosquitto(f"acl_file {rights}")
    client = rig.line(rig.mqtt(broker.port, contract=CONTRACT))
    client.set_status(rig.order(LineState.RUNNING))
    rig.until(lambda: client.connected)
    assert client.publish_verdict(rig.record(1, Reason.BELOW_THRESHOLD))
    rig.until(lambda: "denies" in client.alarm)
    assert f"spBv1.0/{GROUP}/DDATA/{NODE}/{DEVICE}" in client.alarm
    assert client.undelivered == 1


def test_the_access_list_is_enough_for_the_line(mosquitto, rig, host, tmp_path, monkeypatch):
    rights, passwords = tmp_path / "acl", tmp_path / "passwords"
    mqtt = rig.mqtt(1, contract=CONTRACT, user="line-3", password_env="P")
    users = "line-3", ["plc-3"], ["screen"]
    text = access_list(3, mqtt.topic_root, *users, sparkplug=mqtt.sparkplug)
    rights.write_text(f"# whoever has no name only reads\ntopic read spBv1.0/#\n\n{text}")
    passwords.touch()
    subprocess.run(
        ["mosquitto_passwd", "-b", passwords, "line-3", "one"], check=True, capture_output=True
    )
    broker = mosquitto(f"acl_file {rights}", f"password_file {passwords}")
    monkeypatch.setenv("P", "one")
    scada = host(broker.port)
    client = rig.line(rig.mqtt(broker.port, contract=CONTRACT, user="line-3", password_env="P"))
    client.set_status(rig.order(LineState.RUNNING))
    scada.wait(alive(), "birth")
    assert client.publish_verdict(rig.record(1))
    scada.next_data("verdict")
    scada.write(command__id="not-allowed", command__pause=True)
    client.close(rig.order(LineState.HALTED))
    scada.wait(lambda host: not host.alive, "death")
    assert (client.alarm, client.requests) == ("", ())
    assert "user plc-3" in text
    assert f"topic write spBv1.0/{GROUP}/DCMD/{NODE}/{DEVICE}" in text
    assert f"user screen\ntopic read spBv1.0/{GROUP}/NBIRTH/{NODE}" in text


def test_a_burst_arrives_complete_and_in_order(broker, rig, host, start_line):
    count = 400
    scada = host(broker.port)
    client = start_line(broker)
    scada.wait(alive(), "birth")
    for number in range(1, count + 1):
        assert client.publish_verdict(rig.record(number, Reason.BELOW_THRESHOLD))
    rig.until(lambda: client.tick(count, count) or client._delivery.in_flight == 0)
    scada.next_data("verdict", count)
    assert [values["sequence"] for values in scada.data("verdict")] == [*range(1, count + 1)]
