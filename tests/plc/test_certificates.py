"""TLS with client certificates against a real broker that demands them; and what is no use."""

from __future__ import annotations

import json
import re
import shutil
import socket
import ssl
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.control import LineState
from pipeline.errors import ConfigError
from plc.access import access_of
from plc.access_list import access_list
from plc.certificates import certificate_end, certificate_fault
from plc.check import cautions
from plc.client import PlcClient, check_broker
from plc.verdict_watch import VerdictWatch

PAGE = Path(__file__).resolve().parents[2] / "docs" / "plc.md"
ROOT = "acme/plant-1/assembly/line-3/inspection"


@pytest.fixture
def strict(mosquitto, plant, tmp_path):
    """A broker to which a certificate is the user, with least privileges."""
    rights = tmp_path / "acl"
    rights.write_text(access_list(3, ROOT, "line-3", ["plc-3"], ["screen"]))
    who = ("use_identity_as_username true", f"acl_file {rights}")
    return mosquitto(*plant.listener("broker"), *who, anonymous=False)


@pytest.fixture
def copied(plant, tmp_path):
    """The line's certificate in a folder of its own, to be spoilt."""
    for name in ("ca.pem", "line-3.pem", "line-3.key"):
        shutil.copy(plant.folder / name, tmp_path / name)
    return {
        "ca_file": tmp_path / "ca.pem",
        "certificate_file": tmp_path / "line-3.pem",
        "key_file": tmp_path / "line-3.key",
    }


def test_certificates_alone_open_the_broker_to_line_plc_and_watch(strict, plant, rig):
    mqtt = rig.mqtt(strict.port, tls=plant.tls("line-3"))
    assert check_broker(mqtt, 5.0) is None
    plc = rig.plc(strict.port, tls=plant.tls("plc-3"))
    watch = VerdictWatch(rig.mqtt(strict.port, tls=plant.tls("screen")))
    watch.start()
    try:
        client = rig.line(mqtt)
        client.set_status(rig.order(LineState.RUNNING))
        plc.status("RUNNING")
        rig.until(lambda: "RUNNING" in watch.states)
        assert client.publish_verdict(rig.record(1))
        assert plc.next("verdict")["sequence"] == 1
        assert watch.wait(lambda it: it.count == 1, 10.0)
        plc.say("command", {"schema": "inspection.command/1", "id": "1", "command": "pause"})
        rig.until(lambda: client.requests)
    finally:
        watch.close()


def test_the_pages_configuration_of_mosquitto_works(mosquitto, plant, rig, tmp_path):
    (block,) = re.findall(r"```conf\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    for name, file in (("plant-ca.pem", "ca.pem"), ("broker.pem",) * 2, ("broker.key",) * 2):
        shutil.copy(plant.folder / file, tmp_path / name)
    (tmp_path / "line-3.acl").write_text(access_list(3, ROOT, "line-3", ["plc-3"], []))
    lines = block.replace("/etc/mosquitto", str(tmp_path)).splitlines()
    ours = [line for line in lines if line.split()[0] not in ("listener", "allow_anonymous")]
    assert len(lines) - len(ours) == 2
    broker = mosquitto(*ours, anonymous=False)
    client = rig.line(rig.mqtt(broker.port, tls=plant.tls("line-3")))
    client.set_status(rig.order(LineState.RUNNING))
    rig.plc(broker.port, tls=plant.tls("plc-3")).status("RUNNING")
    assert "it asks for a client certificate" in str(
        check_broker(rig.mqtt(broker.port, tls=plant.tls()), 5.0)
    )


def warning_of(rig, mqtt):
    """What a line tells its operator once it has tried to connect."""
    client = rig.line(mqtt)
    rig.until(lambda: ": " in client.warning)
    return client.warning


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        (None, "it asks for a client certificate: give certificate_file and key_file"),
        ("expired", "expired.pem is no use: certificate has expired; it must be replaced"),
        ("stranger", "it does not know the authority that signed the client certificate"),
        ("broker", "broker.pem is no use: unsuitable certificate purpose"),
    ],
)
def test_a_certificate_that_the_broker_refuses_is_explained(
    strict, plant, stranger, rig, own, expected
):
    tls = stranger.tls("line-3") | plant.tls() if own == "stranger" else plant.tls(own)
    mqtt = rig.mqtt(strict.port, tls=tls)
    for said in (str(check_broker(mqtt, 5.0)), warning_of(rig, mqtt)):
        assert expected in said


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        (None, "it agrees to no connection; does it ask for a client certificate?"),
        ("expired", "it takes the client certificate for expired"),
        ("stranger", "it does not know the authority that signed the client certificate"),
    ],
)
def test_so_it_is_by_a_broker_that_speaks_no_tls_1_3(plant, stranger, rig, own, expected):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=plant.ca)
    context.load_cert_chain(plant.folder / "broker.pem", plant.folder / "broker.key")
    context.verify_mode, context.maximum_version = ssl.CERT_REQUIRED, ssl.TLSVersion.TLSv1_2
    tls = stranger.tls("line-3") | plant.tls() if own == "stranger" else plant.tls(own)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        mqtt = rig.mqtt(listener.getsockname()[1], tls=tls)

        def refuse():
            peer, _ = listener.accept()
            with peer, pytest.raises(ssl.SSLError):
                context.wrap_socket(peer, server_side=True)

        with ThreadPoolExecutor(1) as pool:
            refused = pool.submit(refuse)
            assert expected in str(check_broker(mqtt, 5.0))
            refused.result(5.0)


@pytest.mark.parametrize(
    ("broker", "said"),
    [
        ("old-broker", "certificate has expired): it has expired; the broker needs a new one"),
        ("other-broker", "it is made out to another address; give its name as mqtt.broker.host"),
    ],
)
def test_a_brokers_certificate_that_is_no_good_is_explained(mosquitto, plant, rig, broker, said):
    mqtt = rig.mqtt(mosquitto(*plant.listener(broker)).port, tls=plant.tls("line-3"))
    assert said in str(check_broker(mqtt, 5.0))
    assert said in warning_of(rig, mqtt)


def test_a_foreign_authority_is_refused(strict, plant, stranger, rig):
    mqtt = rig.mqtt(strict.port, tls=plant.tls("line-3") | stranger.tls())
    for said in (str(check_broker(mqtt, 5.0)), warning_of(rig, mqtt)):
        assert "its certificate is not trusted" in said
        assert "its authority is not the one in mqtt.broker.tls.ca_file" in said


def test_a_connection_without_tls_to_a_port_with_tls_is_explained(strict, rig):
    mqtt = rig.mqtt(strict.port)
    for said in (str(check_broker(mqtt, 5.0)), warning_of(rig, mqtt)):
        assert "does it speak MQTT 5, and no TLS on this port?" in said


def test_a_renewed_certificate_counts_without_a_restart(strict, plant, copied, rig):
    for kind in ("pem", "key"):
        shutil.copy(plant.folder / f"expired.{kind}", copied["ca_file"].parent / f"line-3.{kind}")
    client = rig.line(rig.mqtt(strict.port, tls=copied))
    rig.until(lambda: "has expired" in client.warning)
    copied["key_file"].unlink()
    rig.until(lambda: "no such file" in client.warning)
    for kind in ("pem", "key"):
        shutil.copy(plant.folder / f"line-3.{kind}", copied["ca_file"].parent / f"line-3.{kind}")
    rig.until(lambda: client.connected and not client.warning)


@pytest.mark.parametrize("missing", ["ca_file", "certificate_file", "key_file"])
def test_a_missing_file_stops_before_the_start(rig, copied, missing):
    copied[missing].unlink()
    mqtt = rig.mqtt(1, tls=copied)
    for start in (lambda: PlcClient(mqtt, 3, "s", None), lambda: check_broker(mqtt, 1.0)):
        with pytest.raises(ConfigError, match=rf"no such file: .*{copied[missing].name}"):
            start()


@pytest.mark.parametrize("damaged", ["ca_file", "certificate_file", "key_file"])
def test_a_damaged_file_is_a_config_error(rig, copied, damaged):
    copied[damaged].write_text("not a certificate")
    with pytest.raises(ConfigError, match=rf"not usable as PEM .*{copied[damaged].name}"):
        access_of(rig.mqtt(1, tls=copied))


def test_a_key_of_another_certificate_is_refused(rig, copied, plant):
    shutil.copy(plant.folder / "plc-3.key", copied["key_file"])
    with pytest.raises(ConfigError, match=r"the key is not that of .*line-3\.pem"):
        access_of(rig.mqtt(1, tls=copied))


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o660])
def test_a_key_that_others_may_read_or_replace_is_refused(rig, copied, mode):
    copied["key_file"].chmod(mode)
    expected = rf"tls\.key_file: .* is open to others \(mode {mode:03o}\); chmod 600"
    with pytest.raises(ConfigError, match=expected):
        access_of(rig.mqtt(1, tls=copied))
    copied["key_file"].chmod(0o640)
    assert access_of(rig.mqtt(1, tls=copied)).tls is not None


def test_an_encrypted_key_asks_nobody_for_its_passphrase(rig, copied):
    command = ["openssl", "pkey", "-in", copied["key_file"], "-aes128", "-passout", "pass:secret"]
    locked = subprocess.run(command, check=True, capture_output=True).stdout
    copied["key_file"].write_bytes(locked)
    with pytest.raises(ConfigError, match="the key is encrypted") as caught:
        access_of(rig.mqtt(1, tls=copied))
    assert "secret" not in str(caught.value)


def test_the_end_of_a_certificate_is_known_and_told_in_time(rig, plant, caplog):
    ending = rig.mqtt(1, tls=plant.tls("ending"))
    end_s = certificate_end(ending.broker.tls)
    assert end_s - time.time() == pytest.approx(7 * 86_400, abs=300)
    (caution,) = cautions(access_of(ending))
    day = time.strftime("%Y-%m-%d", time.gmtime(end_s))
    assert caution.endswith(f"ending.pem expires on {day}; renew it in time")
    rig.line(ending)
    assert caution in caplog.text
    for name in (None, "line-3"):
        fine = rig.mqtt(1, tls=plant.tls(name))
        assert certificate_fault(fine.broker.tls) is None
        assert cautions(access_of(fine)) == []
    (caution,) = cautions(access_of(rig.mqtt(1, tls=plant.tls("expired"))))
    assert "certificate has expired" in caution


def test_nothing_of_a_key_shows_in_a_text_of_the_access(rig, plant):
    shown = repr(access_of(rig.mqtt(1, tls=plant.tls("line-3"))))
    key = (plant.folder / "line-3.key").read_text().splitlines()[1]
    assert key not in shown
    assert json.dumps(str(plant.folder / "line-3.key"))[1:-1] in shown, "only where it lies"
