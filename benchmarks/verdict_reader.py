"""Readers that note when each verdict comes, on the monotonic clock: what is asked of one, and the
plainest, over MQTT in either payload.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any, Protocol

import msgspec
from paho.mqtt import client as paho

from pipeline.config import LineConfig
from pipeline.errors import LineError
from plc.access import access_of
from plc.payloads import VerdictPayload
from plc.sparkplug.edge_node import NodeTopics
from plc.sparkplug.wire import number_of
from plc.topics import Topics

SEQUENCE = "verdict/sequence"
ANSWER_S = 10.0


class Reader(Protocol):
    """Hears one line from its start to its end."""

    @property
    def count(self) -> int:
        """Verdicts so far, or a little more."""

    def start(self) -> None:
        """Listen. Raises LineError where the broker does not answer."""

    def close(self) -> None:
        """Leave the broker; what was heard stays."""

    def arrivals(self) -> dict[int, list[int]]:
        """Monotonic nanoseconds of every arrival, by the parts' numbers."""


def wait_for(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Whether something became true in time; looked at a hundred times a second."""
    end_s = time.monotonic() + timeout_s
    while not (there := condition()) and time.monotonic() < end_s:
        time.sleep(0.01)
    return there


class VerdictReader:
    """Hears what a PLC needs of a line: verdicts, rejects and states, all with QoS 1.

    It decodes nothing before it is asked; `start` returns when the broker has its subscription.
    """

    def __init__(self, config: LineConfig) -> None:
        access, topics = access_of(config.mqtt), Topics(config.mqtt.topic_root)
        names = config.mqtt.sparkplug
        self._sparkplug = None if names is None else NodeTopics(names).of("DDATA")
        self._verdict_topic = self._sparkplug or topics.verdict
        json = [topics.verdict, topics.reject, topics.status]
        self._reads = json if self._sparkplug is None else [self._sparkplug]
        self._address = access.address
        self._heard: list[tuple[bytes, int]] = []
        self._subscribed = threading.Event()
        self._client = access.new_client(f"reader-{secrets.token_hex(4)}")
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._on_message
        self._client.connect(access.host, access.port, access.keepalive_s)

    @property
    def count(self) -> int:
        """Messages that may be verdicts, so far: with Sparkplug others come on the same topic."""
        return len(self._heard)

    def start(self) -> None:
        """Listen. Raises LineError where the broker does not answer."""
        self._client.loop_start()
        if not self._subscribed.wait(ANSWER_S):
            raise LineError(f"MQTT broker {self._address} takes no subscription")

    def close(self) -> None:
        """Leave the broker; what was heard stays."""
        self._client.disconnect()
        self._client.loop_stop()

    def arrivals(self) -> dict[int, list[int]]:
        """Monotonic nanoseconds of every arrival, by the parts' numbers.

        Raises msgspec.MsgspecError or plc.sparkplug.wire.WireError for what is no such message.
        """
        found: defaultdict[int, list[int]] = defaultdict(list)
        decoder = msgspec.json.Decoder(VerdictPayload)
        for payload, at_ns in list(self._heard):
            if self._sparkplug is None:
                found[decoder.decode(payload).sequence].append(at_ns)
            elif (sequence := number_of(payload, SEQUENCE)) is not None:
                found[sequence].append(at_ns)
        return dict(found)

    def _on_connect(self, client: paho.Client, *_: Any) -> None:
        client.subscribe([(topic, 1) for topic in self._reads])

    def _on_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        at_ns = time.monotonic_ns()
        if message.topic == self._verdict_topic:
            self._heard.append((bytes(message.payload), at_ns))
