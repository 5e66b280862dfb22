"""The stage around the embedded broker."""

from __future__ import annotations

import logging
import socket
import threading
import time

import pytest

from pipeline.bell import Bell
from pipeline.config_file import line_file, load_line
from pipeline.control import LineState
from pipeline.errors import LineError
from pipeline.stage import StageContext
from plc import embedded_broker


@pytest.fixture
def bell():
    return Bell()


@pytest.fixture
def stage(free_port, bell):
    config = load_line(line_file(3), [("mqtt.broker.port", free_port)])
    stage = embedded_broker.build(StageContext(config, "s", 0, logging.getLogger(), bell))
    yield stage
    stage.close()


def test_port_listens_when_open_returns(stage, free_port):
    stage.open()
    with socket.create_connection(("127.0.0.1", free_port), timeout=2):
        pass


def test_only_the_loopback_address_listens(stage, free_port):
    stage.open()
    with open("/proc/net/tcp") as file:
        listening = [line.split()[1] for line in file if line.split()[3] == "0A"]
    assert [local for local in listening if local.endswith(f":{free_port:04X}")] == [
        f"0100007F:{free_port:04X}"
    ]


def test_taken_port_is_named(stage, free_port):
    with (
        socket.create_server(("127.0.0.1", free_port)),
        pytest.raises(LineError, match=rf"port {free_port} is taken.*set mqtt\.broker\.port"),
    ):
        stage.open()


def test_port_lost_between_look_and_start_is_named(stage, free_port, monkeypatch):
    monkeypatch.setattr(embedded_broker, "port_fault", lambda _port: None)
    with (
        socket.create_server(("127.0.0.1", free_port)),
        pytest.raises(LineError, match=f"port {free_port} is taken"),
    ):
        stage.open()


def test_closing_while_the_thread_of_a_failed_broker_still_ends(free_port, monkeypatch):
    monkeypatch.setattr(embedded_broker, "port_fault", lambda _port: None)
    told, go_on = threading.Event(), threading.Event()

    def ended() -> None:
        told.set()
        go_on.wait()

    stage = embedded_broker.EmbeddedBrokerStage(free_port, ended)
    with (
        socket.create_server(("127.0.0.1", free_port)),
        pytest.raises(LineError, match=f"port {free_port} is taken"),
    ):
        stage.open()
    assert told.wait(5)
    stage.close()
    go_on.set()


def test_closing_with_a_connected_client_is_quick_and_frees_the_port(stage, free_port, rig):
    stage.open()
    rig.plc(free_port)
    started = time.monotonic()
    stage.close()
    assert time.monotonic() - started < 1.0
    with socket.create_server(("127.0.0.1", free_port)):
        pass


def test_tick_raises_once_the_broker_has_died(stage, bell, rig):
    stage.open()
    running = rig.order(LineState.RUNNING)
    assert list(stage.tick(0, running, True)) == []
    assert not bell.hear()
    stage._loop.call_soon_threadsafe(stage._loop.stop)
    rig.until(bell.hear)

    def death():
        try:
            stage.tick(0, running, True)
        except LineError as error:
            return str(error)

    rig.until(death)
    assert death().startswith("the embedded MQTT broker has ended: Event loop stopped")
