"""Hears a line as its PLC does, and notes when each verdict comes: for measurements from outside.

It subscribes to verdicts and states only, answers nothing, and decodes no verdict before it is
asked, so that it costs the line no more than one reader costs the broker.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from paho.mqtt import client as paho
from paho.mqtt.reasoncodes import ReasonCode

from pipeline.config import Mqtt
from pipeline.control import Command
from plc.access import access_of
from plc.incoming import CommandPayload
from plc.payloads import StatusPayload, VerdictPayload
from plc.topics import Topics


@dataclass(frozen=True)
class Arrival:
    """A verdict and when it came, in nanoseconds since 1970, UTC."""

    verdict: VerdictPayload
    at_wall_ns: int

    @property
    def latency_ms(self) -> float | None:
        """From capture to arrival, None for a part of which no capture is known.

        The payload's times are cut to milliseconds, so it is up to 1 ms too long.
        """
        return self._since_ms(self.verdict.captured_at)

    @property
    def captured_s(self) -> float:
        """When the part was captured, in seconds since 1970; of one without, when it arrived."""
        since_ms = self._since_ms(self.verdict.captured_at) or 0.0
        return self.at_wall_ns / 1e9 - since_ms / 1e3

    @property
    def too_late(self) -> bool:
        """Whether it came after the part's deadline."""
        after_ms = self._since_ms(self.verdict.deadline)
        return after_ms is not None and after_ms >= 1

    def _since_ms(self, moment: str | None) -> float | None:
        if moment is None:
            return None
        return self.at_wall_ns / 1e6 - 1e3 * datetime.fromisoformat(moment).timestamp()


class VerdictWatch:
    """Listens to one line's broker from `start` to `close`; a broker that is away is tried again.

    Raises ConfigError where the configured password or certificates are missing.
    """

    def __init__(self, mqtt: Mqtt) -> None:
        access, self._topics = access_of(mqtt), Topics(mqtt.topic_root)
        self._changed = threading.Condition()
        self._verdicts: list[tuple[bytes, int]] = []
        self._states: list[str] = []
        self._client = access.new_client(f"watch-{secrets.token_hex(4)}", reconnect=True)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = self._on_connect
        self._client.on_message = self._on_message
        self._client.connect_async(access.host, access.port, access.keepalive_s)

    @property
    def states(self) -> tuple[str, ...]:
        """The states that the line has told, the present one last."""
        return tuple(self._states)

    @property
    def count(self) -> int:
        """Verdicts that have come."""
        return len(self._verdicts)

    def start(self) -> None:
        """Begin to connect."""
        self._client.loop_start()

    def close(self) -> None:
        """Leave the broker; what was heard stays."""
        self._client.disconnect()
        self._client.loop_stop()

    def wait(self, until: Callable[[VerdictWatch], bool], timeout_s: float) -> bool:
        """Whether `until` became true in time; it is asked again whenever something is heard."""
        with self._changed:
            return self._changed.wait_for(lambda: until(self), timeout_s)

    def send(self, command: Command) -> None:
        """Send a command without values, once."""
        payload = CommandPayload(f"watch-{secrets.token_hex(4)}", command)
        self._client.publish(self._topics.command, msgspec.json.encode(payload), qos=1)

    def arrivals(self) -> list[Arrival]:
        """The verdicts by their parts' numbers, of each part the first to come.

        Raises msgspec.MsgspecError for one that is not what the contract says.
        """
        decoder = msgspec.json.Decoder(VerdictPayload)
        found: dict[int, Arrival] = {}
        for payload, at_wall_ns in list(self._verdicts):
            verdict = decoder.decode(payload)
            found.setdefault(verdict.sequence, Arrival(verdict, at_wall_ns))
        return [found[sequence] for sequence in sorted(found)]

    def _on_connect(
        self, client: paho.Client, _data: Any, _flags: Any, _reason: ReasonCode, _more: Any
    ) -> None:
        client.subscribe([(self._topics.verdict, 1), (self._topics.status, 1)])

    def _on_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        at_wall_ns = time.time_ns()
        with self._changed:
            if message.topic == self._topics.verdict:
                self._verdicts.append((bytes(message.payload), at_wall_ns))
            else:
                self._states.append(msgspec.json.decode(message.payload, type=StatusPayload).state)
            self._changed.notify_all()
