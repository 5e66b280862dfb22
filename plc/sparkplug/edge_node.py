"""The line as an edge node of Sparkplug B 3.0, with the inspection as its device.

Source: Eclipse Sparkplug specification 3.0.0, sections 4 to 6. One deviation: DDATA goes out with
QoS 1 where the specification asks for 0, since only then the broker confirms a verdict.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.config import Sparkplug
from pipeline.control import Request
from plc.dialect import Incoming, Kind, Outgoing, Packet, Speech
from plc.incoming import AckPayload
from plc.payloads import StatusPayload
from plc.sparkplug.birth_sequence import BirthSequence
from plc.sparkplug.commands import (
    is_ack,
    read_device_ack,
    read_device_command,
    says_nothing,
    wants_rebirth,
)
from plc.sparkplug.metrics import device_birth, metrics_of, node_birth, node_death
from plc.sparkplug.wire import WireError, encode_payload

NAMESPACE = "spBv1.0"
WRITTEN_BY_NODE = ("NBIRTH", "NDEATH", "DBIRTH", "DDATA", "DDEATH")
READ_BY_NODE = ("DCMD", "NCMD")
REBIRTH_PAUSE_S = 1.0
"""Births that are asked for sooner after the last ones come when this time is over."""


@dataclass(frozen=True)
class NodeTopics:
    """The topics of one line."""

    names: Sparkplug

    def of(self, message: str) -> str:
        """The topic of a type of message, for instance DDATA."""
        names = self.names
        node = f"{NAMESPACE}/{names.group}/{message}/{names.edge_node}"
        return node if message.startswith("N") else f"{node}/{names.device}"

    @property
    def pattern(self) -> str:
        """What to subscribe to for all of them."""
        return f"{NAMESPACE}/{self.names.group}/+/{self.names.edge_node}/#"


class EdgeNode:
    """One line, over all of its connections."""

    def __init__(
        self,
        names: Sparkplug,
        births: BirthSequence,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.status: StatusPayload | None = None
        """The newest status, which stands in the births."""
        self.births, self.topics, self.clock = births, NodeTopics(names), clock
        self._session: EdgeSession | None = None

    @property
    def reads(self) -> tuple[str, ...]:
        """Commands for the device, then those for the node."""
        return tuple(self.topics.of(message) for message in READ_BY_NODE)

    def speech(self) -> Speech:
        """A session of its own for each connection."""
        self._session = EdgeSession(self)
        return self._session

    def kind(self, message: Incoming) -> Kind:
        """As topic and metrics say; a request for births is noted for the present session."""
        if message.topic == self.topics.of("NCMD"):
            return self._for_node(message.payload)
        if is_ack(message.payload):
            return Kind.ACK
        return Kind.SETTLED if says_nothing(message.payload) else Kind.COMMAND

    def read_command(self, data: bytes, at_monotonic_ns: int) -> Request:
        """A DCMD as a request. Raises BadCommandError."""
        return read_device_command(data, at_monotonic_ns)

    def read_ack(self, data: bytes) -> AckPayload | None:
        """A DCMD as an acknowledgement, None where it is none."""
        return read_device_ack(data)

    def _for_node(self, data: bytes) -> Kind:
        try:
            wanted = wants_rebirth(data)
        except WireError:
            return Kind.UNREADABLE
        if not wanted:
            return Kind.UNREADABLE
        if self._session is not None:
            self._session.ask_again()
        return Kind.SETTLED


class EdgeSession:
    """One connection: births first, then data, each message with the next number of 0 to 255."""

    def __init__(self, node: EdgeNode) -> None:
        self._node = node
        self._birth_sequence = node.births.next()
        self._seq: int | None = None
        self._born_s = 0.0
        self._asked = False
        death = encode_payload(node_death(self._birth_sequence), None, None, types=True)
        self.will = Packet(node.topics.of("NDEATH"), death)

    @property
    def asked_again(self) -> bool:
        """Whether births are to be sent again now."""
        return self._asked and self._node.clock() - self._born_s >= REBIRTH_PAUSE_S

    def ask_again(self) -> None:
        """Somebody has not heard the births."""
        self._asked = True

    def connecting(self) -> None:
        """The broker has the will, and with it the number of this session."""
        self._node.births.used(self._birth_sequence)

    def packets(self, message: Outgoing) -> list[Packet]:
        """Births where they are due, and the message as DDATA; births carry a status themselves."""
        is_status = isinstance(message.payload, StatusPayload)
        if isinstance(message.payload, StatusPayload):
            self._node.status = message.payload
        births = self._births() if self._seq is None or self.asked_again else []
        return births if births and is_status else [*births, self._data(message)]

    def farewell(self) -> list[Packet]:
        """The device goes, before the will says so of the node."""
        if self._seq is None:
            return []
        return [self._packet("DDEATH", encode_payload((), _now_ms(), self._next()))]

    def _births(self) -> list[Packet]:
        self._seq, self._asked, self._born_s = None, False, self._node.clock()
        node = encode_payload(node_birth(self._birth_sequence), _now_ms(), self._next(), types=True)
        device = encode_payload(
            device_birth(self._node.status), _now_ms(), self._next(), types=True
        )
        return [self._packet("NBIRTH", node), self._packet("DBIRTH", device)]

    def _data(self, message: Outgoing) -> Packet:
        data = encode_payload(metrics_of(message.payload), _now_ms(), self._next())
        return Packet(self._node.topics.of("DDATA"), data, expiry_s=message.expiry_s)

    def _packet(self, message: str, data: bytes) -> Packet:
        return Packet(self._node.topics.of(message), data, qos=0)

    def _next(self) -> int:
        self._seq = 0 if self._seq is None else (self._seq + 1) % 256
        return self._seq


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
