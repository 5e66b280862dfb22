"""The simulated PLC as a user of its own, by password or certificate, and what it cannot be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.config_file import line_file, load_line
from pipeline.control import LineState
from plc import simulator_command
from plc.access_list import access_list
from plc.credentials import Credentials, plc_access

PROJECT = Path(__file__).resolve().parents[2]
ROOT = "acme/plant-1/assembly/line-3/inspection"


def line(port=1, **keys):
    """Line 3 at a broker of the plant."""
    broker = {"kind": "external", "host": "127.0.0.1", "port": port, **keys}
    return load_line(line_file(3), [("mqtt.broker", broker), ("mqtt.topic_root", ROOT)])


@pytest.fixture
def password(tmp_path):
    file = tmp_path / "password"
    file.touch(mode=0o600)
    file.write_text("from file\n")
    return file


def test_without_options_the_plc_is_the_lines_user(monkeypatch):
    monkeypatch.setenv("LINE_PASSWORD", "of the line")
    config = line(user="line-3", password_env="LINE_PASSWORD")
    access = plc_access(config, Credentials())
    assert (access.user, access.password) == ("line-3", "of the line")


def test_the_plc_has_a_user_and_password_of_its_own(monkeypatch, password):
    monkeypatch.setenv("PLC_PASSWORD", "from environment")
    config = line(user="line-3", password_env="LINE_PASSWORD")
    by_env = plc_access(config, Credentials("plc-3", password_env="PLC_PASSWORD"))
    assert (by_env.user, by_env.password) == ("plc-3", "from environment")
    by_file = plc_access(config, Credentials("plc-3", password_file=password))
    assert (by_file.user, by_file.password) == ("plc-3", "from file")
    assert "from" not in repr((by_env, by_file))


def test_a_certificate_takes_the_place_of_the_lines_with_its_user(plant):
    config = line(user="line-3", password_env="NOT_SET", tls=plant.tls("line-3"))
    certificate, key = plant.folder / "plc-3.pem", plant.folder / "plc-3.key"
    access = plc_access(config, Credentials(certificate=certificate, key=key))
    assert (access.user, access.password) == (None, None)
    assert (access.tls.certificate_file, access.tls.key_file) == (certificate, key)
    assert access.tls.ca_file == plant.ca
    as_user = plc_access(config, Credentials(user="plc-3"))
    assert as_user.tls.certificate_file == plant.folder / "line-3.pem"


def test_the_embedded_broker_knows_no_users():
    assert plc_access(load_line(line_file(3)), Credentials("plc-3")).user is None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--password-env", "P"], "a password needs a user: give --user as well"),
        (["--user", "u", "--password-env", "P", "--password-file", "f"], "not both"),
        (["--user", "u", "--password-env", "NOT_SET"], "NOT_SET is not set or empty"),
        (["--certificate", "c.pem"], "--certificate and --key go together"),
        (["--certificate", "c.pem", "--key", "c.key"], "the line connects without TLS"),
    ],
)
def test_options_that_do_not_fit_are_refused(capsys, options, said):
    broker = "mqtt.broker={kind: external, host: 127.0.0.1, port: 1}"
    assert simulator_command.main(["--line", "3", "--set", broker, *options]) == 2
    assert said in capsys.readouterr().err


def simulator(port, plant, *options):
    """The command as a process, at a broker that wants certificates; relative to their folder."""
    tls = json.dumps({"ca_file": str(plant.ca)})
    broker = f"mqtt.broker={{kind: external, host: 127.0.0.1, port: {port}, tls: {tls}}}"
    line_3 = ("--line", "3", "--set", broker, "--set", f"mqtt.topic_root={ROOT}")
    return subprocess.Popen(
        [sys.executable, "-m", "plc.simulator_command", *line_3, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=plant.folder,
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
    )


def test_the_command_uses_its_certificate_and_may_command(mosquitto, plant, rig, tmp_path):
    rights = tmp_path / "acl"
    rights.write_text(access_list(3, ROOT, "line-3", ["plc-3"], []))
    who = ("use_identity_as_username true", f"acl_file {rights}")
    broker = mosquitto(*plant.listener("broker"), *who, anonymous=False)
    client = rig.line(rig.mqtt(broker.port, tls=plant.tls("line-3")))
    client.set_status(rig.order(LineState.RUNNING))
    own = ("--certificate", "plc-3.pem", "--key", "plc-3.key")
    with simulator(broker.port, plant, *own, "--send", "pause", "--seconds", "20") as process:
        heard = next((said for said in process.stdout if "line 3 RUNNING" in said), None)
        rig.until(lambda: client.tick(0, 0) or client.requests)
        process.terminate()
    assert heard


def test_the_command_says_why_the_broker_refuses_it(mosquitto, plant):
    broker = mosquitto(*plant.listener("broker"), anonymous=True)
    with simulator(broker.port, plant, "--seconds", "0.1") as process:
        _, errors = process.communicate(timeout=30)
    assert errors.startswith(
        f"MQTT broker 127.0.0.1:{broker.port}: it closed the connection without an answer: its TLS "
        "refuses the connection: it asks for a client certificate: give certificate_file and "
        "key_file; trying again\n"
    )
    assert process.returncode == 1, "nothing was heard of the line"
