"""Raw bytes at the embedded broker's port: it keeps none of them, and serves on."""

from __future__ import annotations

import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

from benchmarks.fuzz_port import CONNECT, MOST_OPEN, WAYS, PortAttack
from pipeline.loopback import HOST
from plc.embedded_broker import EmbeddedBrokerStage

CONNECTIONS = 500
WAIT_S = 10.0


@pytest.fixture
def port() -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        number = int(probe.getsockname()[1])
    broker = EmbeddedBrokerStage(number)
    broker.open()
    yield number
    broker.close()


def until(condition: Callable[[], object]) -> None:
    end_s, pace = time.monotonic() + WAIT_S, threading.Event()
    while not condition():
        assert time.monotonic() < end_s, "the condition never came true"
        pace.wait(0.02)


def test_what_is_no_mqtt_leaves_nothing_open_and_the_broker_serves_on(port: int) -> None:
    attack = PortAttack(HOST, port, os.getpid(), random.Random(7))
    until(lambda: attack.feed(CONNECTIONS) or attack.sent == CONNECTIONS)
    assert attack.descriptors > MOST_OPEN, "they are held open"
    attack.close()
    until(lambda: not attack.left_open)
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.connect(HOST, port)
    client.loop_start()
    until(client.is_connected)
    client.disconnect()
    client.loop_stop()


def test_the_sound_request_is_sound(port: int) -> None:
    """Else all of them would fail for the same fault."""
    with socket.create_connection((HOST, port), WAIT_S) as peer:
        peer.sendall(CONNECT)
        assert peer.recv(4) == b"\x20\x02\x00\x00"


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_seed_is_a_series(way: Callable[[random.Random], bytes]) -> None:
    first, again = ([way(random.Random(n)) for n in range(20)] for _ in range(2))
    assert first == again
    assert CONNECT not in first
