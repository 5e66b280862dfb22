"""Passwords, certificates, and the broker check."""

from __future__ import annotations

import socket
import subprocess

import pytest

from pipeline.control import LineState
from pipeline.errors import ConfigError
from plc.access import access_of
from plc.client import PlcClient, check_broker, read_password


@pytest.fixture
def certificates(tmp_path):
    """An authority, and a certificate for 127.0.0.1 that it has signed."""

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=tmp_path)

    names = tmp_path / "names"
    names.write_text("subjectAltName=IP:127.0.0.1\n")
    new = ("-newkey", "rsa:2048", "-nodes")
    authority = ("-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=plant")
    openssl("req", "-x509", *new, *authority)
    openssl("req", *new, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=broker")
    signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names")
    openssl("x509", "-req", "-in", "server.csr", "-out", "server.pem", *signed)
    stranger = ("-keyout", "other.key", "-out", "other.pem", "-subj", "/CN=stranger")
    openssl("req", "-x509", *new, *stranger)
    return tmp_path


@pytest.fixture
def tls_broker(mosquitto, certificates):
    return mosquitto(f"certfile {certificates}/server.pem", f"keyfile {certificates}/server.key")


def test_verdict_over_tls(tls_broker, certificates, rig):
    mqtt = rig.mqtt(tls_broker.port, tls={"ca_file": certificates / "ca.pem"})
    assert check_broker(mqtt, 5.0) is None
    plc = rig.plc(tls_broker.port, tls_ca=certificates / "ca.pem")
    client = rig.line(mqtt)
    client.set_status(rig.order(LineState.RUNNING))
    plc.status("RUNNING")
    assert client.publish_verdict(rig.record(1))
    assert plc.next("verdict")["sequence"] == 1


def test_foreign_authority_is_refused(tls_broker, certificates, rig):
    mqtt = rig.mqtt(tls_broker.port, tls={"ca_file": certificates / "other.pem"})
    assert "certificate is not trusted" in check_broker(mqtt, 5.0)
    client = rig.line(mqtt)
    rig.until(lambda: "certificate is not trusted" in client.warning)


def test_missing_certificate_stops_before_the_start(rig, tmp_path):
    mqtt = rig.mqtt(1, tls={"ca_file": tmp_path / "none.pem"})
    with pytest.raises(ConfigError, match=r"no such file: .*none\.pem"):
        PlcClient(mqtt, 3, "s", None)


def test_damaged_certificate_is_a_config_error(rig, tmp_path):
    (tmp_path / "bad.pem").write_text("not a certificate")
    with pytest.raises(ConfigError, match="not usable as PEM"):
        access_of(rig.mqtt(1, tls={"ca_file": tmp_path / "bad.pem"}))


def test_password_from_environment_and_file(rig, tmp_path, monkeypatch):
    monkeypatch.setenv("LINE_3_PASSWORD", "secret")
    from_env = rig.mqtt(1, user="u", password_env="LINE_3_PASSWORD")
    assert read_password(from_env.broker) == "secret"
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
        file.write_text("\n")
    for keys in ({"password_env": "LINE_3_PASSWORD"}, {"password_file": file}):
        with pytest.raises(ConfigError, match=r"LINE_3_PASSWORD|password_file"):
            PlcClient(rig.mqtt(1, user="u", **keys), 3, "s", None)


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


def test_check_names_tls_towards_a_plain_port(mosquitto, rig, certificates):
    broker = mosquitto()
    mqtt = rig.mqtt(broker.port, tls={"ca_file": certificates / "ca.pem"})
    fault = check_broker(mqtt, 2.0)
    assert fault is not None
    assert fault.startswith(f"MQTT broker 127.0.0.1:{broker.port}: ")


def test_check_of_the_embedded_broker_looks_at_the_port(rig, free_port):
    assert check_broker(rig.mqtt(free_port, "embedded"), 1.0) is None
    with socket.create_server(("127.0.0.1", free_port)):
        fault = check_broker(rig.mqtt(free_port, "embedded"), 1.0)
    assert fault == f"port {free_port} is taken by another program; set mqtt.broker.port"
