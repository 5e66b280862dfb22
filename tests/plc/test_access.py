"""Passwords, and the broker check."""

from __future__ import annotations

import socket

import pytest

from pipeline.errors import ConfigError
from plc.access import access_of
from plc.check import cautions
from plc.client import PlcClient, check_broker, read_password


def test_password_from_environment_and_file(rig, tmp_path, monkeypatch):
    monkeypatch.setenv("LINE_3_PASSWORD", "secret")
    from_env = rig.mqtt(1, user="u", password_env="LINE_3_PASSWORD")
    assert read_password(from_env.broker) == "secret"
    (tmp_path / "password").touch(mode=0o600)
    (tmp_path / "password").write_text("other secret\nignored\n")
    from_file = rig.mqtt(1, user="u", password_file=tmp_path / "password")
    assert read_password(from_file.broker) == "other secret"
    assert read_password(rig.mqtt(1, user="u").broker) is None
    assert read_password(rig.mqtt(1, "embedded").broker) is None
    assert "secret" not in repr(access_of(from_env))


@pytest.mark.parametrize("empty", [True, False])
def test_missing_password_is_a_config_error(rig, tmp_path, monkeypatch, empty):
    monkeypatch.delenv("LINE_3_PASSWORD", raising=False)
    file = tmp_path / "password"
    if empty:
        file.touch(mode=0o600)
        file.write_text("\n")
    for keys in ({"password_env": "LINE_3_PASSWORD"}, {"password_file": file}):
        with pytest.raises(ConfigError, match=r"LINE_3_PASSWORD|password_file"):
            PlcClient(rig.mqtt(1, user="u", **keys), 3, "s", None)


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o620, 0o602])
def test_password_that_others_may_read_or_replace_is_refused(rig, tmp_path, mode):
    file = tmp_path / "password"
    file.write_text("secret\n")
    file.chmod(mode)
    mqtt = rig.mqtt(1, user="u", password_file=file)
    with pytest.raises(ConfigError, match=rf"mode {mode:03o}\); chmod 600 .*/password") as caught:
        read_password(mqtt.broker)
    assert "secret" not in str(caught.value)
    file.chmod(0o640)
    assert read_password(mqtt.broker) == "secret"


def test_a_password_in_clear_is_worth_a_warning(rig, monkeypatch, plant):
    monkeypatch.setenv("LINE_3_PASSWORD", "secret")
    keys = {"user": "line-3", "password_env": "LINE_3_PASSWORD"}
    (caution,) = cautions(access_of(rig.mqtt(1, host="broker.plant.example", **keys)))
    assert caution == (
        "the password of line-3 crosses the network to MQTT broker broker.plant.example:1 "
        "unencrypted; set mqtt.broker.tls"
    )
    assert cautions(access_of(rig.mqtt(1, **keys))) == [], "it stays on this machine"
    encrypted = rig.mqtt(1, host="broker.plant.example", tls=plant.tls(), **keys)
    assert cautions(access_of(encrypted)) == []


def test_check_finds_a_good_broker_good(mosquitto, rig):
    assert check_broker(rig.mqtt(mosquitto().port), 5.0) is None


def test_check_names_a_refused_connection(rig, free_port):
    fault = check_broker(rig.mqtt(free_port), 5.0)
    assert fault == (
        f"MQTT broker 127.0.0.1:{free_port}: connection refused: no broker listens there"
    )


def test_check_names_wrong_credentials(mosquitto, rig):
    broker = mosquitto(anonymous=False)
    assert "a client without user name" in check_broker(rig.mqtt(broker.port), 5.0)
    assert "user 'ghost'" in check_broker(rig.mqtt(broker.port, user="ghost"), 5.0)


def test_check_gives_up_on_a_silent_peer(rig):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        fault = check_broker(rig.mqtt(silent.getsockname()[1]), 0.3)
    assert "does not answer in time" in fault


def test_check_names_tls_towards_a_plain_port(mosquitto, rig, plant):
    broker = mosquitto()
    mqtt = rig.mqtt(broker.port, tls=plant.tls())
    fault = check_broker(mqtt, 2.0)
    assert fault is not None
    assert fault.startswith(f"MQTT broker 127.0.0.1:{broker.port}: ")


def test_check_of_the_embedded_broker_looks_at_the_port(rig, free_port):
    assert check_broker(rig.mqtt(free_port, "embedded"), 1.0) is None
    taken = f"port {free_port} is taken by another program; set mqtt.broker.port"
    with (
        socket.create_server(("127.0.0.1", free_port)),
        pytest.raises(ConfigError, match=taken),
    ):
        check_broker(rig.mqtt(free_port, "embedded"), 1.0)


def test_a_small_message_does_not_wait_for_the_answer_to_the_one_before(rig):
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = access_of(rig.mqtt(server.getsockname()[1])).new_client("line")
        client.connect("127.0.0.1", server.getsockname()[1])
        try:
            assert client.socket().getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        finally:
            client.disconnect()
            client.loop_misc()
