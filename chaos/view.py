"""What the PLC sees: the simulator runs here, and every word of the line is kept with its moment.

All moments are of the machine's monotonic clock, in seconds, which no fault touches.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import msgspec

from pipeline.config import LineConfig
from pipeline.control import Command, LineState
from pipeline.messages import Verdict
from plc.access import Access
from plc.gate import GateRegister, Key, TrackedPart
from plc.payloads import (
    HeartbeatPayload,
    RejectPayload,
    ResponsePayload,
    StatusPayload,
    UndeliveredPayload,
    VerdictPayload,
)
from plc.simulator import MISSED_BEATS, PlcSimulator


@dataclass(frozen=True)
class Heard:
    """A verdict and when it came."""

    at_s: float
    payload: VerdictPayload


@dataclass(frozen=True)
class HeardReject:
    """A message for the gate and when it came."""

    at_s: float
    payload: RejectPayload


@dataclass(frozen=True)
class GateEvent:
    """A part at the gate, and whether the gate was fired at it. `looked_s`: when the PLC had looked
    at its gate before that, without finding the part there.
    """

    at_s: float
    key: Key
    fired: bool
    looked_s: float


@dataclass
class Away:
    """A time in which the PLC did not hear the broker: from the last word to the next one."""

    from_s: float
    to_s: float | None = None


@dataclass
class _Asked:
    """A command for the PLC's thread; `id` once it is on its way."""

    command: Command
    values: dict[str, str]
    id: str | None = None


@dataclass
class _NotingRegister(GateRegister):
    gates: list[GateEvent] = field(default_factory=list)
    _looked_s: float = 0.0

    def advance(self, now_s: float, position: float | None) -> Iterator[TrackedPart]:
        for part in super().advance(now_s, position):
            key = part.session, part.sequence
            self.gates.append(GateEvent(now_s, key, bool(part.fired), self._looked_s))
            yield part
        self._looked_s = now_s


class PlcView:
    """A simulated PLC in a thread of its own, and everything that it was told."""

    def __init__(self, config: LineConfig, access: Access) -> None:
        self._changed = threading.Condition()
        self._silence_s = MISSED_BEATS * config.mqtt.heartbeat_s
        self.verdicts: defaultdict[Key, list[Heard]] = defaultdict(list)
        self.rejects: defaultdict[Key, list[HeardReject]] = defaultdict(list)
        self.statuses: list[tuple[float, StatusPayload]] = []
        self.responses: list[ResponsePayload] = []
        self.undelivered: set[Key] = set()
        self.signs: list[tuple[float, str]] = []
        """When the PLC could see that not all is well, and by what."""
        self.away: list[Away] = [Away(time.monotonic())]
        self.session, self.sequence, self.scored = "", 0, 0
        self.given_out: dict[str, int] = {}
        """By session: the highest number that the line has told the PLC of."""
        self.inspected: dict[str, int] = {}
        """By session: the highest number with a PASS or a REJECT."""
        self.settled: dict[str, int] = {}
        """By session: up to which part all have their verdicts, as the line has told the PLC."""
        self._heard_s = self._beat_s = time.monotonic()
        self._silent = False
        self._simulator = PlcSimulator(config, access, hear=self._hear)
        self._register = _NotingRegister(config.timing.deadline_ms / 1000)
        self._simulator.register = self._register
        self._asked: queue.SimpleQueue[_Asked] = queue.SimpleQueue()
        self._ended = threading.Event()
        self._fault: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="plc", daemon=True)

    def start(self) -> None:
        """Begin to connect."""
        self._simulator.start()
        self._thread.start()

    def close(self) -> None:
        """Leave the broker; raises what ended the PLC's thread, if anything did."""
        self._ended.set()
        self._thread.join()
        self._simulator.close()
        if self._fault is not None:
            raise self._fault

    @property
    def unreadable(self) -> int:
        """Messages on the line's topics that are not what the contract says."""
        return self._simulator.report().unreadable

    @property
    def gates(self) -> list[GateEvent]:
        """Every part that was at the gate."""
        return self._register.gates

    @property
    def state(self) -> str:
        """The line's state as the PLC knows it now; empty while it hears nothing."""
        if not self.statuses or self._silent or self.away[-1].to_s is None:
            return ""
        return self.statuses[-1][1].state

    @property
    def cause(self) -> str:
        """The cause that the last status gave."""
        return self.statuses[-1][1].cause if self.statuses else ""

    def command(self, command: Command, timeout_s: float, **values: str) -> ResponsePayload | None:
        """Send a command; its response, None where there is none in time."""
        asked = _Asked(command, values)
        self._asked.put(asked)
        self.wait(lambda: self._answer(asked) is not None, timeout_s)
        return self._answer(asked)

    def _answer(self, asked: _Asked) -> ResponsePayload | None:
        if asked.id is None:  # a response without id is to somebody's nonsense
            return None
        return next((answer for answer in self.responses if answer.id == asked.id), None)

    def wait(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Whether the condition came true in time; looked at whenever the PLC hears something,
        and every tenth of a second.
        """
        end_s = time.monotonic() + timeout_s
        with self._changed:
            while not condition():
                left_s = end_s - time.monotonic()
                if left_s <= 0 or self._fault is not None:
                    return False
                self._changed.wait(min(left_s, 0.1))
        return True

    def was_away(self, at_s: float, within_s: float) -> bool:
        """Whether the PLC was without broker at this moment, or within so many seconds of it."""
        return any(
            span.from_s - within_s <= at_s and (span.to_s is None or at_s <= span.to_s + within_s)
            for span in self.away
        )

    def pass_time(self, seconds: float) -> None:
        """Let the line go on for so long."""
        self.wait(lambda: False, seconds)

    def first_sign(self, since_s: float) -> tuple[float, str] | None:
        """The first moment since then at which the PLC could see that something is wrong."""
        return next((sign for sign in self.signs if sign[0] >= since_s), None)

    def _run(self) -> None:
        try:
            while not self._ended.is_set():
                while not self._asked.empty():
                    asked = self._asked.get()
                    asked.id = self._simulator.command(asked.command, **asked.values)
                self._simulator.step()
                with self._changed:
                    self._watch(time.monotonic())
                    self._changed.notify_all()
        except BaseException as error:  # the campaign's own thread raises it again
            self._fault = error

    def _watch(self, now_s: float) -> None:
        """The two signs that are no message: the broker is away, and silence."""
        if not self._simulator.connected and self.away[-1].to_s is not None:
            self.away.append(Away(self._heard_s))
            self.signs.append((now_s, "the broker is away"))
        if not self._silent and now_s - self._beat_s > self._silence_s:
            self._silent = True
            self.signs.append((now_s, "no heartbeat"))

    def _hear(self, payload: msgspec.Struct, retained: bool) -> None:
        with self._changed:
            self._note(payload, retained, time.monotonic())

    def _note(self, payload: msgspec.Struct, retained: bool, now_s: float) -> None:
        if self._simulator.connected:
            self._heard_s = now_s
            if self.away[-1].to_s is None:
                self.away[-1].to_s = now_s
        match payload:
            case VerdictPayload():
                self._note_verdict(payload, now_s)
            case RejectPayload():
                key = payload.session, payload.sequence
                self.rejects[key].append(HeardReject(now_s, payload))
            case StatusPayload():
                self.statuses.append((now_s, payload))
                if not retained:  # a kept one may be of long ago
                    self._note_given_out(payload.session, payload.sequence)
                self._note_sign(now_s, payload.state, retained)
            case HeartbeatPayload():
                self._beat_s, self._silent = now_s, False
                self.settled[payload.session] = payload.settled
                self._note_given_out(payload.session, payload.sequence)
                if payload.session != self.session:
                    self.session, self.sequence = payload.session, 0
                self.sequence = max(self.sequence, payload.sequence)
                self._note_sign(now_s, payload.state, retained)
            case ResponsePayload():
                self.responses.append(payload)
            case UndeliveredPayload():
                for item in (*payload.undelivered, *payload.unconfirmed):
                    numbers = range(item.first, item.last + 1)
                    self.undelivered |= {(payload.session, number) for number in numbers}

    def _note_verdict(self, payload: VerdictPayload, now_s: float) -> None:
        session, sequence = payload.session, payload.sequence
        self.verdicts[session, sequence].append(Heard(now_s, payload))
        if payload.verdict is not Verdict.UNINSPECTED:
            self.scored += 1
            self.inspected[session] = max(self.inspected.get(session, 0), sequence)
        if session == self.session:
            self.sequence = max(self.sequence, sequence)

    def _note_given_out(self, session: str, sequence: int) -> None:
        self.given_out[session] = max(self.given_out.get(session, 0), sequence)

    def _note_sign(self, now_s: float, state: str, retained: bool) -> None:
        if state != LineState.RUNNING and not retained:
            self.signs.append((now_s, state))
