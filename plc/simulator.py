"""A PLC to test a line against, and to start from; the command is `plc_simulator --line 3`.

It does what docs/plc.md asks of a PLC: it follows every part from the camera to the gate, fires a
gate that is only counted unless a PASS has come in time, watches the heartbeat, sends commands
until they are answered, and acknowledges rejects. At its end it says what it has seen.
"""

from __future__ import annotations

import queue
import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from paho.mqtt import client as paho
from paho.mqtt.reasoncodes import ReasonCode

from pipeline.config import LineConfig
from pipeline.control import Command
from plc.access import Access
from plc.gate import GateRegister, GateReport
from plc.incoming import AckPayload, CommandPayload
from plc.payloads import (
    HeartbeatPayload,
    RejectPayload,
    ResponsePayload,
    StatusPayload,
    UndeliveredPayload,
    VerdictPayload,
)
from plc.topics import WRITTEN_BY_LINE, Topics

STEP_S = 0.005
"""Longest time between two looks at the gate."""
ENCODER_S = 1.0
REPEAT_S = 2.0
"""A command without a response is sent again, with the same id."""
MISSED_BEATS = 3
MOST_KEPT = 1000
"""States and responses that the report names, the latest ones."""
KINDS: dict[str, type[msgspec.Struct]] = {
    "verdict": VerdictPayload,
    "reject": RejectPayload,
    "status": StatusPayload,
    "heartbeat": HeartbeatPayload,
    "undelivered": UndeliveredPayload,
    "response": ResponsePayload,
}


class SimulatorReport(msgspec.Struct, frozen=True):
    """What a simulated PLC has seen; `silences` counts times without heartbeats."""

    line: int
    gate: GateReport
    heartbeats: int
    silences: int
    acknowledged: int
    states: list[str]
    responses: list[dict[str, Any]]
    unreadable: int

    def text(self) -> str:
        """A few lines for a terminal."""
        answers = [f"{item['command']} {item['result']}" for item in self.responses]
        return "\n".join(
            (
                self.gate.text(),
                f"  heartbeats {self.heartbeats}, silences {self.silences}, "
                f"acknowledged {self.acknowledged}, unreadable {self.unreadable}",
                f"  states: {', '.join(self.states) or 'none'}",
                *([f"  commands: {', '.join(answers)}"] if answers else []),
            )
        )


@dataclass
class _Unanswered:
    """A command that waits for its response."""

    payload: CommandPayload
    sent_s: float


class PlcSimulator:
    """A PLC of one line. `step` is its cycle; everything but the network runs in it.

    `hear` is called with every payload that could be read, and whether the broker had kept it.
    """

    def __init__(
        self,
        config: LineConfig,
        access: Access,
        *,
        speed: float | None = None,
        acknowledge: bool = True,
        say: Callable[[str], None] = lambda _text: None,
        hear: Callable[[msgspec.Struct, bool], None] = lambda _payload, _retained: None,
    ) -> None:
        self._line, self._topics = config.line, Topics(config.mqtt.topic_root)
        self._hear = hear
        self._speed, self._acknowledge, self._say = speed, acknowledge, say
        self._silence_s = MISSED_BEATS * config.mqtt.heartbeat_s
        self.register = GateRegister(config.timing.deadline_ms / 1000)
        self._messages: queue.SimpleQueue[paho.MQTTMessage] = queue.SimpleQueue()
        self._own_id = f"plc-{config.line}-{secrets.token_hex(3)}"
        self._commands = 0
        self._unanswered: dict[str, _Unanswered] = {}
        self._encoder_id = ""
        self._started_s = self._heard_s = time.monotonic()
        self._encoder_due_s = self._started_s
        self._alive = False
        self._heartbeats = self._silences = self._acknowledged = self._unreadable = 0
        self._states: deque[str] = deque(maxlen=MOST_KEPT)
        self._responses: deque[dict[str, Any]] = deque(maxlen=MOST_KEPT)
        self._begun = False
        self._client = access.new_client(self._own_id, reconnect=True)
        self._client.on_connect = self._on_connect
        self._client.on_message = self._on_message
        self._client.reconnect_delay_set(1, 2)
        self._client.connect_async(access.host, access.port, access.keepalive_s)

    def start(self) -> None:
        """Begin to connect; a broker that is away is tried again."""
        self._client.loop_start()

    def close(self) -> None:
        """Leave the broker."""
        self._client.disconnect()
        self._client.loop_stop()

    @property
    def connected(self) -> bool:
        """Whether the broker is there."""
        return self._client.is_connected()

    @property
    def state(self) -> str:
        """The line's state as it was told last; empty before the first status."""
        return self._states[-1] if self._states else ""

    @property
    def over(self) -> bool:
        """Whether the line has ended in our time, and no part is on the belt."""
        ended = self.state == "HALTED" or (self.state == "FAULT" and not self._alive)
        return self._begun and ended and not self.register.on_belt

    @property
    def idle(self) -> bool:
        """Whether every command has its response."""
        return not self._unanswered

    def command(self, command: Command, **values: Any) -> str:
        """Send a command until it is answered; its id."""
        self._commands += 1
        payload = CommandPayload(f"{self._own_id}-{self._commands}", command, **values)
        self._unanswered[payload.id] = _Unanswered(payload, 0.0)
        return payload.id

    def step(self) -> None:
        """One cycle: messages in, gate, heartbeat watch, commands and encoder out."""
        try:
            self._take(self._messages.get(timeout=STEP_S))
            while True:
                self._take(self._messages.get_nowait())
        except queue.Empty:
            pass  # the usual end of a cycle's messages
        now_s = time.monotonic()
        self._work_the_gate(now_s)
        self._watch_heartbeat(now_s)
        self._send_encoder(now_s)
        self._send_commands(now_s)

    def report(self) -> SimulatorReport:
        """What was seen so far."""
        return SimulatorReport(
            line=self._line,
            gate=self.register.report(),
            heartbeats=self._heartbeats,
            silences=self._silences,
            acknowledged=self._acknowledged,
            states=list(self._states),
            responses=list(self._responses),
            unreadable=self._unreadable,
        )

    def _on_connect(
        self, client: paho.Client, _data: Any, _flags: Any, reason: ReasonCode, _more: Any
    ) -> None:
        if reason.is_failure:
            self._say(f"the broker refuses this PLC: {str(reason).lower()}")
        names = [(f"{self._topics.root}/{name}", 1) for name in WRITTEN_BY_LINE]
        client.subscribe(names)  # a clean session: nothing is kept for us while we are away

    def _on_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        self._messages.put(message)

    def _take(self, message: paho.MQTTMessage) -> None:
        kind = KINDS[message.topic.rpartition("/")[2]]
        try:
            payload = msgspec.json.decode(message.payload, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            self._unreadable += 1
            return
        self._hear(payload, message.retain)
        if message.retain and kind is not StatusPayload:  # of long ago, and not kept by the line
            return
        now_s = time.monotonic()
        match payload:
            case VerdictPayload():
                self.register.verdict(payload, now_s)
            case RejectPayload():
                self.register.reject(payload, now_s)
            case UndeliveredPayload():
                self.register.undelivered(payload, now_s)
                self._say(f"undelivered parts: {payload.count}")
            case StatusPayload():
                if not message.retain:  # a kept one counts parts of long ago
                    self.register.hear_of(payload.session, payload.sequence, now_s)
                self._states.append(payload.state)
                self._begun |= payload.state not in ("HALTED", "FAULT", "OFFLINE")
                self._say(f"line {payload.line} {payload.state}: {payload.cause}")
            case HeartbeatPayload():
                self.register.heartbeat(payload, now_s)
                self._heartbeats += 1
                self._alive, self._heard_s = True, now_s
            case ResponsePayload():
                self._note_response(payload)

    def _note_response(self, response: ResponsePayload) -> None:
        if response.id is None or self._unanswered.pop(response.id, None) is None:
            return
        if response.id == self._encoder_id and response.result == "accepted":
            return
        self._responses.append(msgspec.to_builtins(response))
        self._say(f"{response.command}: {response.result} {response.reason}".rstrip())

    def _work_the_gate(self, now_s: float) -> None:
        for part in self.register.advance(now_s, self._position(now_s)):
            if part.fired and part.rejected and self._acknowledge:
                self._publish(self._topics.ack, AckPayload(part.session, part.sequence))
                self._acknowledged += 1

    def _watch_heartbeat(self, now_s: float) -> None:
        """A silent line proves nothing any more; what has its PASS already has its proof."""
        if self._alive and now_s - self._heard_s > self._silence_s:
            self._alive = False
            self._silences += 1
            self._say(f"no heartbeat for {self._silence_s:g} s")

    def _position(self, now_s: float) -> float | None:
        return None if self._speed is None else self._speed * (now_s - self._started_s)

    def _send_encoder(self, now_s: float) -> None:
        position = self._position(now_s)
        if position is None or now_s < self._encoder_due_s or not self._client.is_connected():
            return
        self._encoder_due_s = now_s + ENCODER_S
        self._unanswered.pop(self._encoder_id, None)  # an old position is worth nothing
        self._encoder_id = self.command(
            Command.SET_ENCODER, position=round(position, 3), speed=self._speed
        )

    def _send_commands(self, now_s: float) -> None:
        """New ones, and those that nobody has answered."""
        if not self._client.is_connected():
            return
        for waiting in self._unanswered.values():
            if now_s - waiting.sent_s > REPEAT_S:
                waiting.sent_s = now_s
                self._publish(self._topics.command, waiting.payload)

    def _publish(self, topic: str, payload: msgspec.Struct) -> None:
        if self._client.is_connected():  # else paho would keep it and send it too late
            self._client.publish(topic, msgspec.json.encode(payload), qos=1)
