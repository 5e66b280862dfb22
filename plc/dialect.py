"""How the messages of the contract look on the wire: what is asked of a dialect, and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

from pipeline.control import Request
from plc.incoming import AckPayload, read_ack, read_command
from plc.payloads import Payload, encode, will_payload
from plc.topics import Topics

QOS = 1


@dataclass(frozen=True)
class Outgoing:
    """A message of the contract. `expiry_s`: a broker of MQTT 5 drops it that long after."""

    topic: str
    payload: Payload
    retain: bool = False
    qos: int = QOS
    expiry_s: int | None = None


@dataclass(frozen=True)
class Packet:
    """The same on the wire."""

    topic: str
    data: bytes
    retain: bool = False
    qos: int = QOS
    expiry_s: int | None = None


@dataclass(frozen=True)
class Incoming:
    """A message for the line, at the moment of its arrival."""

    topic: str
    payload: bytes
    retained: bool
    at_monotonic_ns: int


class Kind(Enum):
    """What a message for the line is."""

    COMMAND = auto()
    ACK = auto()
    SETTLED = auto()
    """The dialect has done what was asked, or will with the next message."""
    UNREADABLE = auto()


class Speech(Protocol):
    """How the line speaks on one connection. For one thread at a time."""

    @property
    def will(self) -> Packet:
        """What the broker says when it loses the connection."""

    @property
    def asked_again(self) -> bool:
        """Whether somebody has asked for what a connection begins with."""

    def connecting(self) -> None:
        """The connection is under way: the broker knows the will."""

    def packets(self, message: Outgoing) -> Sequence[Packet]:
        """What goes out for a message, in this order; the last one carries it."""

    def farewell(self) -> Sequence[Packet] | None:
        """What goes out before the will, which ends the connection; None ends it without."""


class Dialect(Protocol):
    """How one line speaks and listens, on all of its connections."""

    @property
    def reads(self) -> tuple[str, ...]:
        """Topics that the line listens to; commands come on the first one."""

    def speech(self) -> Speech:
        """For the next attempt to connect."""

    def kind(self, message: Incoming) -> Kind:
        """What a message is."""

    def read_command(self, data: bytes, at_monotonic_ns: int) -> Request:
        """A command as a request. Raises BadCommandError."""

    def read_ack(self, data: bytes) -> AckPayload | None:
        """An acknowledgement, None where it is none."""


class JsonDialect:
    """Each message of the contract is one of JSON, on the topic that has its name."""

    def __init__(self, topics: Topics, line: int, session: str) -> None:
        self.reads = topics.command, topics.ack
        self._speech = _JsonSpeech(
            Packet(topics.status, encode(will_payload(line, session)), retain=True)
        )

    def speech(self) -> Speech:
        """The same for every connection."""
        return self._speech

    def kind(self, message: Incoming) -> Kind:
        """As the topic says."""
        command, _ack = self.reads
        return Kind.COMMAND if message.topic == command else Kind.ACK

    def read_command(self, data: bytes, at_monotonic_ns: int) -> Request:
        """A command as a request. Raises BadCommandError."""
        return read_command(data, at_monotonic_ns)

    def read_ack(self, data: bytes) -> AckPayload | None:
        """An acknowledgement, None where it is none."""
        return read_ack(data)


@dataclass(frozen=True)
class _JsonSpeech:
    will: Packet
    asked_again: bool = False

    def connecting(self) -> None:
        """Nothing depends on it."""

    def packets(self, message: Outgoing) -> tuple[Packet, ...]:
        data = encode(message.payload)
        return (Packet(message.topic, data, message.retain, message.qos, message.expiry_s),)

    def farewell(self) -> None:
        """The last status is the goodbye; the will is for the line that died."""
