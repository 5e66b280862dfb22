"""Keeps one client connected to the broker, with a fresh paho client for each connection.

Fresh, because paho sends again what was in flight when a connection broke, and what was published
while it was away. A verdict that arrives late is worse than none: the gate would act on a wrong
part. So what a lost connection did not deliver dies with its client, and with its socket.
"""

from __future__ import annotations

import math
import socket
import struct
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Protocol

from paho.mqtt import client as paho
from paho.mqtt.enums import MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from pipeline.errors import ConfigError
from pipeline.messages import Part
from plc.access import Access
from plc.check import closed_early, not_connected
from plc.delivery import Gap, Sent
from plc.dialect import QOS, Dialect, Incoming, Outgoing, Packet, Speech

FIRST_WAIT_S, LONGEST_WAIT_S = 0.2, 2.0
"""Pause before the next attempt to connect; it doubles with each failure."""
ANSWER_TIMEOUT_S = 5.0
"""Time for the broker's answer to a connection request."""
MOST_IN_FLIGHT = 65_535
"""Messages that a broker takes before it has confirmed the first, where it does not say."""
RESERVED = 4
"""So many of them, but a quarter at most, are kept for what is no verdict."""
_AT_ONCE = struct.pack("ii", 1, 0)
"""SO_LINGER that forgets what a socket has not sent."""
_WITH_WILL = ReasonCode(PacketTypes.DISCONNECT, "Disconnect with will message")


@dataclass(frozen=True)
class Link:
    """One established connection; numbers count up with each attempt."""

    number: int
    client: paho.Client
    speech: Speech
    receive_maximum: int = MOST_IN_FLIGHT
    """Messages that the broker takes before it has confirmed the first."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def publish(
        self, message: Outgoing, part: Part | None = None, gap: Gap | None = None
    ) -> list[Sent]:
        """Hand a message over without waiting: what went out, the message itself last; nothing if
        it was not taken. The lock keeps the order that the speech has given.
        """
        with self._lock:
            sent = [self._hand_over(packet) for packet in self.speech.packets(message)]
        if sent[-1] is None:
            return []
        last = replace(sent[-1], part=part, gap=gap)
        return [*(packet for packet in sent[:-1] if packet is not None), last]

    def room(self, in_flight: int) -> float:
        """Messages that verdicts may add to those in flight; without any, as many as they need."""
        reserved = min(RESERVED, self.receive_maximum // 4)
        return self.receive_maximum - reserved - in_flight if in_flight else math.inf

    def drop(self) -> None:
        """End it without a goodbye, and without what the broker has not taken yet."""
        open_socket = self.client.socket()
        if isinstance(open_socket, socket.socket):
            with suppress(OSError):  # it has ended by itself
                socket.socket.shutdown(open_socket, socket.SHUT_RDWR)

    def close(self) -> None:
        """Disconnect, with the goodbye that the speech asks for."""
        self.client.on_socket_close = None
        with self._lock:
            packets = self.speech.farewell()
            for packet in packets or ():
                self._hand_over(packet)
            if packets is None:
                self.client.disconnect()
            elif self._speaks_5:
                self.client.disconnect(_WITH_WILL)
            else:
                self._hand_over(self.speech.will)
                self.client.disconnect()

    def subscribe(self, topics: Iterable[str]) -> None:
        """Ask for messages; the broker's refusal comes to the listener."""
        self.client.subscribe([(topic, QOS) for topic in topics])

    @property
    def _speaks_5(self) -> bool:
        return self.client.protocol == MQTTProtocolVersion.MQTTv5

    def _hand_over(self, packet: Packet) -> Sent | None:
        info = self.client.publish(
            packet.topic,
            packet.data,
            qos=packet.qos,
            retain=packet.retain,
            properties=self._properties(packet),
        )
        taken = info.rc == MQTTErrorCode.MQTT_ERR_SUCCESS
        return Sent(self.number, info.mid, packet.topic, None, time.monotonic()) if taken else None

    def _properties(self, packet: Packet) -> Properties | None:
        if packet.expiry_s is None or not self._speaks_5:
            return None
        return _expiring(packet.expiry_s)


def _forget_unsent(_client: paho.Client, _data: Any, ending: Any) -> None:
    """Else the kernel goes on sending when a cable is mended, long after the verdicts expired."""
    with suppress(OSError):  # it is closed already
        ending.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)


@lru_cache(maxsize=256)
def _expiring(expiry_s: int) -> Properties:
    """What makes a message expire; the same for all that do so in as many seconds."""
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho's own
    properties.MessageExpiryInterval = expiry_s
    return properties


class Listener(Protocol):
    """Who hears of the connection. All calls come from network threads and must not wait."""

    def on_connected(self, link: Link) -> None:
        """The broker has accepted the line."""

    def on_lost(self, link: Link, reason: str) -> None:
        """A connection has ended, by `close` or by a fault."""

    def on_refused(self, reason: str) -> None:
        """An attempt to connect has failed; the next one follows."""

    def on_acknowledged(self, link: Link, mid: int, problem: str) -> None:
        """The broker has answered a publish; `problem` is empty where it took the message."""

    def on_message(self, message: Incoming) -> None:
        """A message has come on a topic that was subscribed to."""

    def on_unheard(self, problem: str) -> None:
        """The broker refuses a subscription; `problem` is empty where it grants them all."""


class Connection:
    """Connects, and connects again, until closed."""

    def __init__(
        self, access: Access, client_id: str, dialect: Dialect, listener: Listener
    ) -> None:
        self._access = access
        self._client_id = client_id
        self._dialect = dialect
        self._listener = listener
        self._stop = threading.Event()
        self._link: Link | None = None
        self._thread = threading.Thread(target=self._run, name="mqtt-connection", daemon=True)

    def start(self) -> None:
        """Begin to connect; never waits and never fails."""
        self._thread.start()

    def close(self, timeout_s: float) -> None:
        """Disconnect with a goodbye; gives up waiting for the broker after a time."""
        self._stop.set()
        link = self._link
        if link is not None:
            link.close()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        wait_s = FIRST_WAIT_S
        number = 0
        while not self._stop.is_set():
            number += 1
            connected = self._connect_once(number)
            wait_s = FIRST_WAIT_S if connected else min(2 * wait_s, LONGEST_WAIT_S)
            self._stop.wait(wait_s)

    def _connect_once(self, number: int) -> bool:
        """One connection from its beginning to its end; whether the broker accepted it."""
        try:
            client = self._access.new_client(self._client_id)
        except ConfigError as error:  # its certificates were changed while it ran
            self._listener.on_refused(str(error))
            return False
        link = Link(number, client, self._dialect.speech())
        will = link.speech.will
        client.will_set(will.topic, will.data, will.qos, will.retain)
        attempt = _Attempt(link, self._listener)
        attempt.listen()
        client.on_socket_close = _forget_unsent
        try:
            client.connect(self._access.host, self._access.port, self._access.keepalive_s)
        except (OSError, ValueError) as error:
            self._listener.on_refused(not_connected(self._access, error))
            return False
        link.speech.connecting()
        self._link = link
        client.loop_start()
        if self._stop.is_set():
            client.disconnect()
        if not attempt.wait(ANSWER_TIMEOUT_S):
            self._listener.on_refused("it takes the connection but does not answer in time")
            client.disconnect()
        client.loop_stop()
        if attempt.closed_early and not self._stop.is_set():
            self._listener.on_refused(closed_early(self._access))
        return attempt.accepted


class _Attempt:
    """Turns the callbacks of one paho client into calls of the listener."""

    def __init__(self, link: Link, listener: Listener) -> None:
        self._link = link
        self._listener = listener
        self._answered = threading.Event()
        self._ended = threading.Event()
        self.accepted = False
        self.closed_early = False
        """Whether the broker ended the connection before it had answered."""

    def listen(self) -> None:
        """Take the callbacks of the link's client."""
        self._link.client.on_connect = self._on_connect
        self._link.client.on_disconnect = self._on_disconnect
        self._link.client.on_publish = self._on_publish
        self._link.client.on_message = self._on_message
        self._link.client.on_subscribe = self._on_subscribe

    def wait(self, answer_timeout_s: float) -> bool:
        """Return when the connection has ended; False if the broker does not answer in time."""
        if not self._answered.wait(answer_timeout_s):
            self._answered.set()  # the end that follows is no further news
            return False
        return self._ended.wait()

    def _on_connect(
        self, _client: paho.Client, _data: Any, _flags: Any, reason: ReasonCode, properties: Any
    ) -> None:
        if reason.is_failure:
            self._listener.on_refused(f"it refuses the line: {str(reason).lower()}")
        else:
            self.accepted = True
            most = getattr(properties, "ReceiveMaximum", MOST_IN_FLIGHT)
            self._link = replace(self._link, receive_maximum=most)
            self._listener.on_connected(self._link)
        self._answered.set()

    def _on_disconnect(
        self, _client: paho.Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any
    ) -> None:
        if self.accepted:
            self._listener.on_lost(self._link, str(reason).lower())
        self.closed_early = not self._answered.is_set()
        self._answered.set()
        self._ended.set()

    def _on_publish(
        self,
        _client: paho.Client,
        _data: Any,
        mid: int,
        reason: ReasonCode,
        _properties: Properties,
    ) -> None:
        problem = str(reason).lower() if reason.is_failure else ""
        self._listener.on_acknowledged(self._link, mid, problem)

    def _on_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        self._listener.on_message(
            Incoming(message.topic, bytes(message.payload), message.retain, time.monotonic_ns())
        )

    def _on_subscribe(
        self,
        _client: paho.Client,
        _data: Any,
        _mid: int,
        reasons: list[ReasonCode],
        _properties: Properties,
    ) -> None:
        problems = (str(reason).lower() for reason in reasons if reason.is_failure)
        self._listener.on_unheard(next(problems, ""))
