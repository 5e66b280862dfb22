"""The access list with a real broker: who may do what, and who may not."""

from __future__ import annotations

import subprocess

import pytest

from pipeline.control import LineState
from pipeline.errors import ConfigError
from plc.access_list import access_list, main
from plc.topics import WRITTEN_BY_LINE, WRITTEN_BY_PLC

ROOT = "acme/plant-1/assembly/line-3/inspection"
ROOT_4 = ROOT.replace("line-3", "line-4")
USERS = {name: f"password of {name}" for name in ("line-3", "plc-3", "mes", "screen", "plc-4")}
EVERYTHING = {*WRITTEN_BY_LINE, *WRITTEN_BY_PLC}
WRITES = {
    "line-3": set(WRITTEN_BY_LINE),
    "plc-3": {"command", "ack"},
    "mes": {"command"},
    "screen": set(),
    "plc-4": set(),
    "guest": set(),
}
READS = {
    "line-3": {"command", "ack"},
    "plc-3": set(WRITTEN_BY_LINE),
    "mes": set(WRITTEN_BY_LINE),
    "screen": set(WRITTEN_BY_LINE),
    "plc-4": set(),
    "guest": set(),
}
AUDIT = f"""
user auditor
topic readwrite {ROOT}/#
pattern read {ROOT}/end/%u
"""
"""For the tests: a user who sees and says all, and a mark that each of the others may read."""


@pytest.fixture
def guarded(mosquitto, tmp_path, request):
    """mosquitto with a password for each user, and the access lists of two lines."""
    rights, passwords = tmp_path / "acl", tmp_path / "passwords"
    line_3 = access_list(3, ROOT, "line-3", ["plc-3"], ["screen"], ["mes"])
    rights.write_text(line_3 + access_list(4, ROOT_4, "line-4", ["plc-4"], []) + AUDIT)
    passwords.touch()
    for user, password in {**USERS, "guest": "guest", "auditor": "auditor"}.items():
        subprocess.run(
            ["mosquitto_passwd", "-b", passwords, user, password], check=True, capture_output=True
        )
    more = getattr(request, "param", ())
    return mosquitto(f"acl_file {rights}", f"password_file {passwords}", *more, anonymous=False)


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


def test_only_plc_and_mes_command(guarded, rig, monkeypatch):
    monkeypatch.setenv("P", USERS["line-3"])
    client = rig.line(rig.mqtt(guarded.port, user="line-3", password_env="P"))
    client.set_status(rig.order(LineState.RUNNING))
    sides = ("screen", "plc-4", "plc-3", "mes")
    plcs = {name: rig.plc(guarded.port, user=(name, USERS[name])) for name in sides}
    plcs["screen"].status("RUNNING")
    for name, side in plcs.items():
        command = {"schema": "inspection.command/1", "id": f"of {name}", "command": "pause"}
        side.say("command", command)
    rig.until(lambda: len(client.requests) == 2)
    assert [request.id for request in client.requests] == ["of plc-3", "of mes"]


@pytest.fixture
def auditor(guarded, rig):
    return rig.plc(guarded.port, user=("auditor", "auditor"))


@pytest.fixture(params=list(WRITES))
def user(request, guarded, rig):
    """Each user in turn: the name, and its connection."""
    name = request.param
    return name, rig.plc(guarded.port, user=(name, USERS.get(name, name)))


def until_end(side, name):
    """The topics below the root on which something came, before the end that the auditor says."""
    heard = set()
    while (topic := side.messages.get(timeout=10).topic) != f"{ROOT}/end/{name}":
        heard.add(topic.removeprefix(f"{ROOT}/"))
    return heard


def test_each_user_says_what_its_role_needs_and_no_more(auditor, user):
    name, side = user
    for topic in (*EVERYTHING, "other", "verdict/more", f"end/{name}"):
        side.say(topic, b"{}")
    auditor.say(f"end/{name}", b"{}")
    assert until_end(auditor, name) == WRITES[name]


def test_each_user_hears_what_its_role_needs_and_no_more(auditor, user):
    name, side = user
    for topic in (*EVERYTHING, "other", "verdict/more"):
        auditor.say(topic, b"{}")
    auditor.say(f"end/{name}", b"{}")
    assert until_end(side, name) == READS[name]


@pytest.mark.parametrize("guarded", [["use_username_as_clientid true"]], indirect=True)
def test_the_lines_connection_is_not_for_the_taking_where_the_user_is_the_client_id(
    guarded, rig, monkeypatch
):
    monkeypatch.setenv("P", USERS["line-3"])
    client = rig.line(rig.mqtt(guarded.port, user="line-3", password_env="P"))
    client.set_status(rig.order(LineState.RUNNING))
    plc = rig.plc(guarded.port, user=("plc-3", USERS["plc-3"]))
    plc.status("RUNNING")
    screen = ("screen", USERS["screen"])
    rig.plc(guarded.port, user=screen, client_id="inspection-line-3")
    assert client.publish_verdict(rig.record(1))
    heard = [plc.messages.get(timeout=10).topic for _ in range(2)]
    assert heard == [f"{ROOT}/reject", f"{ROOT}/verdict"], "no OFFLINE between"
    assert client.connected


@pytest.mark.parametrize("user", ["", " x", "a\nb", "#x"])
def test_names_that_the_file_cannot_hold_are_refused(user):
    with pytest.raises(ConfigError, match="access list cannot hold"):
        access_list(3, ROOT, "line-3", [user], [])


def test_one_user_for_two_sides_is_refused():
    with pytest.raises(ConfigError, match="line-3: given twice"):
        access_list(3, ROOT, "line-3", ["line-3"], [])


def test_the_lines_user_is_the_configured_one(capsys):
    users = ["--plc-user", "plc", "--mes-user", "mes", "--viewer", "hall", "--viewer", "office"]
    assert main(["--line", "2", *users]) == 0
    printed = capsys.readouterr().out
    for user in ("line-2", "plc", "mes", "hall", "office"):
        assert printed.count(f"user {user}\n") == 1
    assert main(["--line", "3", "--plc-user", "plc"]) == 2
    assert "--line-user" in capsys.readouterr().err
