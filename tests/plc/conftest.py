"""Real brokers, a real subscriber, and records for the tests of the PLC contract."""

from __future__ import annotations

import json
import logging
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from authority import BROKER, Authority
from pipeline.config import Mqtt
from pipeline.control import LineOrder, LineState
from pipeline.messages import REASON_TEXT, Defect, Part, Reason, Verdict, VerdictRecord
from plc.client import PlcClient

ROOT = "acme/plant-1/assembly/line-3/inspection"
WAIT_S = 10.0
SESSION = "20261122-071502-3f9a"
VERDICTS = {Reason.ABOVE_THRESHOLD: Verdict.REJECT, Reason.BELOW_THRESHOLD: Verdict.PASS}
CAPTURED_NS = 1_795_331_702_123_456_789
EMBEDDED = """
import sys
from plc.embedded_broker import EmbeddedBrokerStage
stage = EmbeddedBrokerStage(int(sys.argv[1]))
stage.open()
print("running", file=sys.stderr, flush=True)
sys.stdin.read()
stage.close()
"""


def mosquitto_program() -> str:
    """The broker that the tests need; its absence is a failure, never a skipped test."""
    program = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.fail("these tests need a real broker: apt-get install mosquitto", pytrace=False)
    return program


@dataclass
class BrokerProcess:
    """A broker in a process of its own, which tests start, freeze and kill."""

    kind: str
    port: int
    command: list[str]
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start(self) -> None:
        """Return when the broker says that it is running."""
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        assert self.process.stderr is not None
        said = b""
        for line in self.process.stderr:
            said += line
            if b"running" in line:
                threading.Thread(target=self.process.stderr.read, daemon=True).start()
                return
        pytest.fail(f"{self.kind} did not start: {said.decode()}")

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """kill -9, and wait for the end."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Subscriber:
    """A PLC's view: the messages below the line's root, in the order of their arrival."""

    def __init__(
        self,
        port: int,
        tls: dict[str, str] | None = None,
        mqtt_5: bool = False,
        user: tuple[str, str] | None = None,
        client_id: str = "",
    ) -> None:
        self.port = port
        self.messages: queue.Queue[paho.MQTTMessage] = queue.Queue()
        self._granted: queue.Queue[bool] = queue.Queue()
        protocol = MQTTProtocolVersion.MQTTv5 if mqtt_5 else MQTTProtocolVersion.MQTTv311
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id, protocol=protocol)
        self._client.on_connect = lambda client, *_: client.subscribe(f"{ROOT}/#", qos=1)
        self._client.on_subscribe = lambda *_: self._granted.put(True)
        self._client.on_message = lambda _client, _data, message: self.messages.put(message)
        if tls is not None:
            own = (tls.get("certificate_file"), tls.get("key_file"))
            self._client.tls_set(tls["ca_file"], *own)
        if user is not None:
            self._client.username_pw_set(*user)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self._granted.get(timeout=WAIT_S)

    def next(self, topic: str) -> dict[str, Any]:
        """The next message of `verdict` or `status`; others are passed over."""
        return json.loads(self.next_message(topic).payload)

    def next_message(self, topic: str) -> paho.MQTTMessage:
        deadline = time.monotonic() + WAIT_S
        while True:
            message = self.messages.get(timeout=max(0.0, deadline - time.monotonic()))
            if message.topic == f"{ROOT}/{topic}":
                return message

    def status(self, state: str) -> dict[str, Any]:
        """The next status with this state."""
        while (payload := self.next("status"))["state"] != state:
            pass
        return payload

    def say(self, topic: str, payload: dict[str, Any] | bytes, retain: bool = False) -> None:
        """Publish below the line's root, as a PLC does; returns when the broker has taken it."""
        data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        self._client.publish(f"{ROOT}/{topic}", data, qos=1, retain=retain).wait_for_publish(WAIT_S)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def mosquitto(tmp_path: Path, free_port: int) -> Iterator[Callable[..., BrokerProcess]]:
    """Starts mosquitto with further lines of configuration."""
    started: list[BrokerProcess] = []

    def start(*lines: str, anonymous: bool = True) -> BrokerProcess:
        file = tmp_path / "mosquitto.conf"
        listener = f"listener {free_port} 127.0.0.1"
        allow = f"allow_anonymous {'true' if anonymous else 'false'}"
        who = ["user root"] if os.getuid() == 0 else []
        file.write_text("\n".join([listener, allow, "persistence false", *who, *lines]) + "\n")
        command = [mosquitto_program(), "-c", str(file)]
        broker = BrokerProcess("external", free_port, command)
        started.append(broker)
        broker.start()
        return broker

    yield start
    for broker in started:
        broker.kill()


@pytest.fixture(scope="session")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority with a broker, a line, its PLC and a screen; and what cannot be used."""
    authority = Authority(tmp_path_factory.mktemp("plant"))
    for name in ("line-3", "plc-3", "screen"):
        authority.sign(name)
    authority.sign("broker", BROKER)
    authority.sign("old-broker", BROKER, days=-1)
    authority.sign("other-broker", "subjectAltName=DNS:broker.plant.example\n")
    authority.sign("expired", days=-1)
    authority.sign("ending", days=7)
    return authority


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Another authority, with a client of its own."""
    authority = Authority(tmp_path_factory.mktemp("stranger"), "stranger")
    authority.sign("line-3")
    return authority


@pytest.fixture(params=["mosquitto", "embedded"])
def broker(request: pytest.FixtureRequest, free_port: int) -> Iterator[BrokerProcess]:
    """A running broker without access control: mosquitto, then the embedded one."""
    if request.param == "mosquitto":
        yield request.getfixturevalue("mosquitto")()
        return
    process = BrokerProcess("embedded", free_port, [sys.executable, "-c", EMBEDDED, str(free_port)])
    process.start()
    yield process
    process.kill()


class Rig:
    """What a test needs around a broker: the line's client, a PLC, and things to say."""

    def __init__(self) -> None:
        self._open = ExitStack()

    def mqtt(
        self, port: int, kind: str = "external", contract: dict[str, Any] | None = None, **keys: Any
    ) -> Mqtt:
        """The line's configuration for a port: external (with further keys) or embedded."""
        address = {"host": "127.0.0.1"} if kind == "external" else {}
        section = {"kind": kind, "port": port, **address, **keys}
        data = {"broker": section, "topic_root": ROOT, "keepalive_s": 2, **(contract or {})}
        return Mqtt.model_validate_json(json.dumps(data, default=str))

    def line(self, mqtt: Mqtt, wake: Callable[[], None] = lambda: None) -> PlcClient:
        """The line's client, started; closed after the test."""
        client = PlcClient(mqtt, 3, SESSION, logging.getLogger("plc-test"), wake=wake)
        client.start()
        self._open.callback(lambda: client.close(self.order(LineState.HALTED)))
        return client

    def plc(self, port: int, **keys: Any) -> Subscriber:
        """A subscriber to the line's topics; closed after the test."""
        subscriber = Subscriber(port, **keys)
        self._open.callback(subscriber.close)
        return subscriber

    def cut_off(self, client: PlcClient, port: int) -> None:
        """Take the line's connection away: a broker knows each client id once only."""
        thief = paho.Client(CallbackAPIVersion.VERSION2, client_id="inspection-line-3")
        thief.connect("127.0.0.1", port)
        thief.loop_start()
        self.until(lambda: not client.connected)
        thief.disconnect()
        thief.loop_stop()

    def until(self, condition: Callable[[], object]) -> None:
        """Ask for a condition again and again until it holds; fails after a while."""
        deadline = time.monotonic() + WAIT_S
        pace = threading.Event()
        while not condition():
            assert time.monotonic() < deadline, "the condition never came true"
            pace.wait(0.005)

    def order(self, state: LineState, cause: str = "all stages are ready") -> LineOrder:
        return LineOrder(SESSION, state, cause, since_wall_ns=CAPTURED_NS)

    def with_batch(self, order: LineOrder, batch: str) -> LineOrder:
        return msgspec.structs.replace(order, batch=batch)

    def record(
        self, sequence: int = 123, reason: Reason = Reason.ABOVE_THRESHOLD, **changes: Any
    ) -> VerdictRecord:
        """A verdict as the ledger has it; REJECT unless another reason is given."""
        judged = reason in VERDICTS
        fields: dict[str, Any] = {
            "part": Part(3, SESSION, sequence),
            "verdict": VERDICTS.get(reason, Verdict.UNINSPECTED),
            "reason": reason,
            "text": REASON_TEXT[reason],
            "score": 0.8125 if judged else None,
            "threshold": 0.4375,
            "bundle_id": "b-5d41402abc4b",
            "calibration_id": "c-20261120-2",
            "captured_wall_ns": CAPTURED_NS,
            "decided_wall_ns": CAPTURED_NS + 187_400_000,
            "deadline_wall_ns": CAPTURED_NS + 2_000_000_000,
            "late": False,
            "latency_ms": 187.4,
            "simulated": False,
            "source": "camera",
            "truth": None,
            "defects": (Defect(301, 122, 44, 9, 210, 0.984375),) if judged else (),
            "stamps": (),
        }
        return VerdictRecord(**{**fields, **changes})

    def close(self) -> None:
        self._open.close()


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.close()
