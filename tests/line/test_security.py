"""What a running line opens to others, and tells them: its way to the broker, and no secret."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from pathlib import Path

import pytest

from authority import BROKER, Authority
from plc.access_list import access_list

pytestmark = pytest.mark.slow
TOPIC = "demo/plant-1/finishing/line-3/inspection"
PASSWORDS = {"line-3": "the-secret-of-the-line", "plc-3": "the-secret-of-the-plc"}
LISTENS = "0A"


def sockets_of(pid):
    """The inodes of all sockets that a process has open."""
    links = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            links.add(os.readlink(entry))
        except FileNotFoundError:
            continue  # closed while we looked
    return {link[len("socket:[") : -1] for link in links if link.startswith("socket:[")}


def address(text):
    """`0100007F:1F90` as `127.0.0.1:8080`; an address of version 6 stays as it is."""
    host, port = text.split(":")
    if len(host) == 8:
        host = ".".join(str(byte) for byte in bytes.fromhex(host)[::-1])
    return f"{host}:{int(port, 16)}"


def network_of(pid):
    """(listeners, pairs of connected addresses) of a process, over TCP and UDP.

    Without the pair by which the MQTT library wakes its own thread: both ends are in one process.
    """
    inodes = sockets_of(pid)
    listeners, pairs = set(), set()
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for row in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, local, remote, state, *_, inode = row.split()[:10]
            if inode not in inodes:
                continue
            if state == LISTENS or table.startswith("udp"):
                listeners.add(address(local))
            else:
                pairs.add((address(local), address(remote)))
    return listeners, {(here, there) for here, there in pairs if (there, here) not in pairs}


def network(pids):
    """The same of several processes together."""
    found = [network_of(pid) for pid in pids]
    return set().union(*(it for it, _ in found)), set().union(*(it for _, it in found))


def local_names(pids):
    """The names of these processes' local sockets; one that begins with @ is open to all users."""
    inodes = set().union(*map(sockets_of, pids))
    rows = [row.split() for row in Path("/proc/net/unix").read_text().splitlines()[1:]]
    return {row[7] for row in rows if row[6] in inodes and len(row) > 7}


def assert_private(line, pids):
    """The processes speak through sockets in a folder that only this user may enter."""
    names = local_names(pids)
    assert len([name for name in names if name.startswith(f"{line.run_folder}/")]) > 5
    assert all(name.startswith(f"{line.run_folder}/") for name in names), names
    assert stat.S_IMODE(line.run_folder.stat().st_mode) == 0o700
    assert line.run_folder.stat().st_uid == os.getuid()


def test_only_its_own_broker_listens_and_on_the_loopback_address_only(line, plc, stage_pids):
    line.start()
    plc.wait_for_inspected(1)
    pids = [line.process.pid, *stage_pids(line)]
    broker = f"127.0.0.1:{line.port}"
    listeners, pairs = network(pids)
    assert listeners == {broker}
    assert pairs, "decision is connected"
    assert all(broker in pair for pair in pairs), pairs
    assert_private(line, pids)
    assert line.stop() == 0


@pytest.fixture
def plant(line):
    authority = Authority(line.folder / "plant")
    authority.sign("broker", BROKER)
    for name in PASSWORDS:
        authority.sign(name)
    return authority


@pytest.fixture
def strict_broker(line, plant, mosquitto):
    """A broker that wants a certificate and a password, and gives each side what it needs."""
    rights, passwords = plant.folder / "acl", plant.folder / "passwords"
    rights.write_text(access_list(3, TOPIC, "line-3", ["plc-3"], []))
    passwords.touch()
    for user, password in PASSWORDS.items():
        command = ["mosquitto_passwd", "-b", passwords, user, password]
        subprocess.run(command, check=True, capture_output=True)
    who = (f"acl_file {rights}", f"password_file {passwords}")
    broker = mosquitto(line.port, *plant.listener("broker"), *who)
    broker.start()
    return broker


def contents(folder):
    """Every file below a folder, as bytes."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.usefixtures("strict_broker")
def test_nothing_listens_and_no_secret_is_told(line, plant, run_cli, stage_pids, monkeypatch):
    monkeypatch.setenv("LINE_PASSWORD", PASSWORDS["line-3"])
    own = {"user": "line-3", "password_env": "LINE_PASSWORD", "tls": plant.tls("line-3")}
    section = {"kind": "external", "host": "127.0.0.1", "port": line.port, **own}
    chosen = ("--set", f"mqtt.broker={json.dumps(section)}")
    check = run_cli(["run_line.py", "--line", "3", *line.arguments(), *chosen, "--check"])
    line.start(*chosen, "--verbose", "--set", "logging.level=debug")
    password = plant.folder / "plc-3.password"
    password.touch(mode=0o600)
    password.write_text(PASSWORDS["plc-3"])
    keys = ("--certificate", plant.folder / "plc-3.pem", "--key", plant.folder / "plc-3.key")
    plc = ("--user", "plc-3", "--password-file", password, *keys)
    ends = ("--parts", "3", "--send", "pause", "--seconds", "60")
    command = ["-m", "plc.simulator_command", "--line", "3", *line.arguments(), *chosen]
    simulator = run_cli(
        [*command, *map(str, plc), "--send", "next_batch B-7", *ends[:2], *ends[4:]]
    )

    pids = [line.process.pid, *stage_pids(line)]
    listeners, pairs = network(pids)
    assert listeners == set()
    assert {remote for _, remote in pairs} == {f"127.0.0.1:{line.port}"}
    assert_private(line, pids)
    commands = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids}
    running = contents(line.run_folder)
    assert line.stop() == 0

    assert "ok     MQTT broker" in check.stdout
    assert "next_batch: accepted" in simulator.stdout
    assert "line 3 RUNNING" in simulator.stdout
    told = {"check": check, "simulator": simulator, "output": line.output, **commands, **running}
    told |= contents(line.data_folder) | {"summary": line.summary}
    assert any(path.suffix == ".log" for path in contents(line.data_folder))
    assert b"LINE_PASSWORD" in running[line.run_folder / "line.yaml"], "where it is, not what"
    bodies = [(plant.folder / f"{name}.key").read_text().splitlines()[1] for name in PASSWORDS]
    for secret in (*PASSWORDS.values(), *bodies):
        found = [
            place
            for place, text in told.items()
            if secret.encode() in (text if isinstance(text, bytes) else str(text).encode())
        ]
        assert not found, secret
