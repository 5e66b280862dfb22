"""What the broker denies the line for a while, and how the line comes to know that it is over."""

from __future__ import annotations

import signal
import socket
import threading

import pytest

from pipeline.control import LineState
from plc import denials

ROOT = "acme/plant-1/assembly/line-3/inspection"
NAMES = ("verdict", "reject", "status", "heartbeat", "undelivered", "response", "command", "ack")
CONNACK = b"\x20\x03\x00\x00\x00"
NOT_AUTHORIZED, GRANTED = b"\x87\x87", b"\x01\x01"


@pytest.fixture
def guarded(mosquitto, tmp_path):
    """A broker whose access list can be changed: it denies one topic, or none."""
    file = tmp_path / "acl"

    def rights(denied):
        allowed = (f"topic readwrite {ROOT}/{name}\n" for name in NAMES if name != denied)
        file.write_text("".join(allowed))

    rights(None)
    broker = mosquitto(f"acl_file {file}")

    def deny(denied):
        rights(denied)
        broker.send(signal.SIGHUP)

    broker.deny = deny
    return broker


def test_a_denied_status_is_tried_again_until_it_is_taken(guarded, rig):
    client = rig.line(rig.mqtt(guarded.port))
    client.set_status(rig.order(LineState.RUNNING))
    rig.until(lambda: client.tick(0, 0) or client.connected)
    guarded.deny("status")

    def denied():
        client.set_status(rig.order(LineState.DEGRADED, f"{client.alarm} "))
        client.tick(0, 0)
        return "/status" in client.alarm

    client.set_status(rig.order(LineState.PAUSED))
    rig.until(denied)
    guarded.deny(None)
    rig.until(lambda: client.tick(0, 0) or not client.alarm)
    assert rig.plc(guarded.port).next("status")["state"] == "DEGRADED", "the newest is retained"


def test_a_denied_response_is_an_alarm_for_a_while(guarded, rig, monkeypatch):
    monkeypatch.setattr(denials, "RESPONSE_DENIED_S", 0.5)
    client = rig.line(rig.mqtt(guarded.port))
    client.set_status(rig.order(LineState.RUNNING))
    rig.until(lambda: client.tick(0, 0) or client.connected)
    guarded.deny("response")
    plc = rig.plc(guarded.port)

    def denied():
        plc.say("command", b"unreadable")
        client.tick(0, 0)
        return "/response" in client.alarm

    rig.until(denied)
    rig.until(lambda: client.tick(0, 0) or (not client.requests and not client.alarm))


def test_a_subscription_is_asked_for_again_until_it_is_granted(rig):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = rig.line(rig.mqtt(listener.getsockname()[1]))
        client.set_status(rig.order(LineState.RUNNING))
        peer, _ = listener.accept()
        grants = [NOT_AUTHORIZED, NOT_AUTHORIZED, GRANTED]
        broker = threading.Thread(target=answer, args=(peer, grants))
        broker.start()
        rig.until(lambda: "denies inspection-line-3 to read" in client.alarm)
        rig.until(lambda: client.tick(0, 0) or not client.alarm)
        assert grants == []
        client.close(rig.order(LineState.HALTED))
        broker.join(5)
        peer.close()


def answer(peer, grants):
    """A broker of MQTT 5 that gives these answers to subscriptions, and takes every publish."""
    stream = peer.makefile("rb")
    while head := stream.read(1):
        length, shift = 0, 0
        while True:
            (byte,) = stream.read(1)
            length, shift = length | (byte & 0x7F) << shift, shift + 7
            if byte < 0x80:
                break
        body = stream.read(length)
        match head[0] >> 4:
            case 1:
                peer.sendall(CONNACK)
            case 3 if head[0] & 6:
                start = 2 + int.from_bytes(body[:2])
                peer.sendall(b"\x40\x02" + body[start : start + 2])
            case 8:
                peer.sendall(b"\x90\x05" + body[:2] + b"\x00" + grants.pop(0))
            case 14:
                return
