"""The access list with a real broker: who may do what, and who may not."""

from __future__ import annotations

import subprocess

import pytest

from pipeline.control import LineState
from pipeline.errors import ConfigError
from plc.access_list import access_list, main

ROOT = "acme/plant-1/assembly/line-3/inspection"
USERS = {"line-3": "one", "plc-3": "two", "screen": "three"}


@pytest.fixture
def guarded(mosquitto, tmp_path):
    """mosquitto with a password for each side, and the access list."""
    rights, passwords = tmp_path / "acl", tmp_path / "passwords"
    rights.write_text(access_list(3, ROOT, "line-3", ["plc-3"], ["screen"]))
    passwords.touch()
    for user, password in USERS.items():
        subprocess.run(
            ["mosquitto_passwd", "-b", passwords, user, password], check=True, capture_output=True
        )
    return mosquitto(f"acl_file {rights}", f"password_file {passwords}", anonymous=False)


def test_the_line_may_say_everything_that_the_contract_asks(guarded, rig, monkeypatch):
    monkeypatch.setenv("P", USERS["line-3"])
    mqtt = rig.mqtt(guarded.port, contract={"heartbeat_s": 0.1}, user="line-3", password_env="P")
    client = rig.line(mqtt)
    screen = rig.plc(guarded.port, user=("screen", USERS["screen"]))
    client.set_status(rig.order(LineState.RUNNING))
    screen.status("RUNNING")
    assert client.publish_verdict(rig.record(1))
    assert not client.publish_verdict(rig.record(2, late=True))
    rig.until(lambda: client.tick(1, 1) or client.take_published())
    for topic in ("reject", "verdict", "heartbeat"):
        screen.next(topic)
    rig.until(lambda: client.tick(1, 1) or client.take_published())
    screen.next("undelivered")
    assert client.alarm == ""


def test_only_the_plc_commands(guarded, rig, monkeypatch):
    monkeypatch.setenv("P", USERS["line-3"])
    client = rig.line(rig.mqtt(guarded.port, user="line-3", password_env="P"))
    client.set_status(rig.order(LineState.RUNNING))
    sides = {name: rig.plc(guarded.port, user=(name, USERS[name])) for name in ("screen", "plc-3")}
    sides["screen"].status("RUNNING")
    for name, side in sides.items():
        command = {"schema": "inspection.command/1", "id": f"of {name}", "command": "pause"}
        side.say("command", command)
    rig.until(lambda: client.requests)
    assert [request.id for request in client.requests] == ["of plc-3"]


def test_nobody_but_the_line_gives_verdicts(guarded, rig):
    plc = rig.plc(guarded.port, user=("plc-3", USERS["plc-3"]))
    screen = rig.plc(guarded.port, user=("screen", USERS["screen"]))
    for topic in ("verdict", "status"):
        plc.say(topic, b"{}")
        screen.say(topic, b"{}")
    plc.say("ack", b"{}")
    assert screen.messages.get(timeout=10).topic == f"{ROOT}/ack", "the verdicts were dropped"


@pytest.mark.parametrize("user", ["", " x", "a\nb", "#x"])
def test_names_that_the_file_cannot_hold_are_refused(user):
    with pytest.raises(ConfigError, match="access list cannot hold"):
        access_list(3, ROOT, "line-3", [user], [])


def test_one_user_for_two_sides_is_refused():
    with pytest.raises(ConfigError, match="line-3: given twice"):
        access_list(3, ROOT, "line-3", ["line-3"], [])


def test_the_lines_user_is_the_configured_one(capsys):
    assert main(["--line", "2", "--plc-user", "plc"]) == 0
    assert "user line-2\n" in capsys.readouterr().out
    assert main(["--line", "3", "--plc-user", "plc"]) == 2
    assert "--line-user" in capsys.readouterr().err
