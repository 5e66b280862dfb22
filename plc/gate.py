"""A PLC's register of parts between camera and gate, without network or clock.

One rule decides at the gate: a part passes only if its PASS has come before it is there.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import msgspec

from pipeline.messages import Verdict
from pipeline.sequences import Sequences
from plc.payloads import HeartbeatPayload, RejectPayload, UndeliveredPayload, VerdictPayload
from plc.transit import MOST_SESSIONS, TransitWatch

Key = tuple[str, int]
"""Session and sequence: what a part is called on the wire."""
MOST_AT_ONCE = 100_000
"""Parts that one message may put on the belt; who speaks of more is no line of parts."""
MOST_BEHIND = 100_000
"""Parts behind the gate that are known one by one; older ones are counted only."""


@dataclass
class TrackedPart:
    """A part on the belt or behind the gate.

    `gate_s`: when it is at the gate by time. `gate_position`: or by the encoder, where the line has
    said so. `proof`: its PASS came in time. `fired`: None before the gate, then whether the gate
    was fired at it.
    """

    session: str
    sequence: int
    gate_s: float
    gate_position: float | None = None
    verdict: Verdict | None = None
    proof: bool = False
    ahead_s: float = 0.0
    rejected: bool = False
    fired: bool | None = None


@dataclass
class _Tally:
    """Parts behind the gate; `least_ahead_s` is infinite where no verdict came in time."""

    parts: int = 0
    passed: int = 0
    wrong: int = 0
    silent: int = 0
    least_ahead_s: float = math.inf

    def add(self, part: TrackedPart) -> None:
        """One more."""
        self.parts += 1
        self.passed += not part.fired
        self.wrong += bool(part.fired) and part.verdict is Verdict.PASS
        self.silent += part.verdict is None
        if part.ahead_s > 0:
            self.least_ahead_s = min(self.least_ahead_s, part.ahead_s)


class GateReport(msgspec.Struct, frozen=True):
    """What became of the parts: parts = passed + right + silent + wrong.

    `right`: gates fired for REJECT and UNINSPECTED. `silent`: fired because nothing had come.
    `wrong`: fired for a part whose PASS came too late. `late`: verdicts that came after their part
    was at the gate. `undelivered`: parts that the line has named so. `contradictions`: parts with
    two different verdicts, which must not be. `least_ahead_ms`: how long before its gate the latest
    verdict in time came.
    """

    parts: int
    passed: int
    right: int
    silent: int
    wrong: int
    late: int
    undelivered: int
    repeated: int
    contradictions: int
    least_ahead_ms: float | None

    def text(self) -> str:
        """A few lines for a terminal."""
        ahead = "" if self.least_ahead_ms is None else f"{self.least_ahead_ms:.0f} ms"
        return "\n".join(
            (
                f"parts seen {self.parts}: passed {self.passed}, gates fired "
                f"{self.right + self.silent + self.wrong}",
                f"  right {self.right}, on silence {self.silent}, wrong {self.wrong}",
                f"  verdicts: late {self.late}, repeated {self.repeated}, contradicting "
                f"{self.contradictions}, named as undelivered {self.undelivered}",
                f"  least time between a verdict and its gate: {ahead or 'none came in time'}",
            )
        )


@dataclass
class GateRegister:
    """Knows every part that the line has spoken of. `belt_s`: from camera to gate, for a part of
    which nothing is known but its number. `now_s` is the PLC's own counting clock everywhere: no
    wall clock is asked, so that nobody can set it.
    """

    belt_s: float
    _session: str = ""
    _known_until: int = 0
    _on_belt: dict[Key, TrackedPart] = field(default_factory=dict)
    _behind: dict[Key, TrackedPart] = field(default_factory=dict)
    _forgotten: _Tally = field(default_factory=_Tally)
    _forgotten_until: dict[str, int] = field(default_factory=dict)
    _undelivered: dict[str, Sequences] = field(default_factory=dict)
    _late: int = 0
    _repeated: int = 0
    _contradictions: int = 0
    _transit: TransitWatch = field(default_factory=TransitWatch)
    _times: list[tuple[float, Key]] = field(default_factory=list)
    """A heap of when parts are at the gate; of one whose time has changed, the old times too."""

    @property
    def on_belt(self) -> int:
        """Parts between camera and gate."""
        return len(self._on_belt)

    @property
    def behind(self) -> int:
        """Parts that have passed the gate, or were fired at."""
        return len(self._behind) + self._forgotten.parts

    def heartbeat(self, payload: HeartbeatPayload, now_s: float) -> None:
        """A sign of life, which says how long messages take at best."""
        self._transit.held_up_s(payload.session, payload.sent_ms, now_s)
        self.hear_of(payload.session, payload.sequence, now_s)

    def hear_of(self, session: str, sequence: int, now_s: float) -> None:
        """The line has given out numbers up to this one; those that are new are on the belt."""
        if session != self._session:  # what was before we listened is not ours to judge
            self._session, self._known_until = session, sequence
        if sequence - self._known_until > MOST_AT_ONCE:
            return
        for number in range(self._known_until + 1, sequence + 1):
            self._part(session, number, now_s)
        self._known_until = max(self._known_until, sequence)

    def verdict(self, payload: VerdictPayload, now_s: float) -> None:
        """A verdict, for the part that it names and no other."""
        part = self._part(payload.session, payload.sequence, now_s)
        left_s = self._left_s(payload, now_s)
        if part.verdict is not None:
            self._repeated += 1
            self._contradictions += part.verdict is not payload.verdict
            return
        part.verdict = payload.verdict
        if left_s is None:
            return  # nobody knows where it is, so it is no proof
        if self._place(part, left_s, payload.reject_position, now_s):
            part.ahead_s = part.gate_s - now_s
            part.proof = payload.verdict is Verdict.PASS
        else:
            self._late += 1

    def reject(self, payload: RejectPayload, now_s: float) -> None:
        """The small message for the gate; it never lets a part pass, and wants an ack."""
        part = self._part(payload.session, payload.sequence, now_s)
        left_s = self._left_s(payload, now_s)
        assert left_s is not None, "a reject has a deadline"
        part.rejected = self._place(part, left_s, payload.reject_position, now_s)

    def undelivered(self, payload: UndeliveredPayload, now_s: float) -> None:
        """Parts whose verdict will not come, or perhaps did."""
        named = self._undelivered.setdefault(payload.session, Sequences())
        for item in (*payload.undelivered, *payload.unconfirmed):
            named.add(item.first, item.last)
            for sequence in range(item.first, min(item.last, item.first + MOST_AT_ONCE) + 1):
                self._part(payload.session, sequence, now_s)

    def advance(self, now_s: float, position: float | None) -> Iterator[TrackedPart]:
        """The parts that are at the gate now, each with the decision whether to fire."""
        if position is None:
            there = self._there_by_time(now_s)
        else:
            there = self._there_by_position(now_s, position)
        for key in there:
            part = self._behind[key] = self._on_belt.pop(key)
            part.fired = not part.proof
            self._forget()
            yield part

    def report(self) -> GateReport:
        """The account so far, of the parts that have been at the gate."""
        tally = replace(self._forgotten)
        for part in self._behind.values():
            tally.add(part)
        ahead_ms = round(1000 * tally.least_ahead_s, 1) if tally.least_ahead_s < math.inf else None
        return GateReport(
            parts=tally.parts,
            passed=tally.passed,
            right=tally.parts - tally.passed - tally.wrong - tally.silent,
            silent=tally.silent,
            wrong=tally.wrong,
            late=self._late,
            undelivered=sum(len(named) for named in self._undelivered.values()),
            repeated=self._repeated,
            contradictions=self._contradictions,
            least_ahead_ms=ahead_ms,
        )

    def _there_by_time(self, now_s: float) -> Iterator[Key]:
        """Looks at no more parts than are there: a line may have thousands on its belt."""
        while self._times and self._times[0][0] <= now_s:
            _, key = heapq.heappop(self._times)
            part = self._on_belt.get(key)
            if part is not None and part.gate_s <= now_s:
                yield key

    def _there_by_position(self, now_s: float, position: float) -> Iterator[Key]:
        """By the time where a part's position is not known."""
        for key, part in list(self._on_belt.items()):
            reached, at = position, part.gate_position
            if at is None:
                reached, at = now_s, part.gate_s
            if reached >= at:
                yield key

    def _forget(self) -> None:
        """The oldest part behind the gate is only counted from now on."""
        if len(self._behind) <= MOST_BEHIND:
            return
        key = next(iter(self._behind))
        self._forgotten.add(self._behind.pop(key))
        session, sequence = key
        self._forgotten_until[session] = max(sequence, self._forgotten_until.get(session, 0))
        while len(self._forgotten_until) > MOST_SESSIONS:
            del self._forgotten_until[next(iter(self._forgotten_until))]

    def _part(self, session: str, sequence: int, now_s: float) -> TrackedPart:
        key = session, sequence
        part = self._on_belt.get(key) or self._behind.get(key)
        if part is None:
            part = TrackedPart(session, sequence, now_s + self.belt_s)
            if sequence <= self._forgotten_until.get(session, 0):  # long behind the gate
                part.fired = True
                return part
            self._on_belt[key] = part
            heapq.heappush(self._times, (part.gate_s, key))
        return part

    def _left_s(self, payload: VerdictPayload | RejectPayload, now_s: float) -> float | None:
        """What is left until the part's deadline: what was left at the sending, less the time that
        the message was held up. None where the deadline is not known.
        """
        held_up_s = self._transit.held_up_s(payload.session, payload.sent_ms, now_s)
        return None if payload.remaining_ms is None else payload.remaining_ms / 1e3 - held_up_s

    def _place(
        self, part: TrackedPart, left_s: float, position: float | None, now_s: float
    ) -> bool:
        """Where a part is at the gate; whether that is still to come."""
        if part.fired is not None:
            return False
        part.gate_s, part.gate_position = now_s + left_s, position
        heapq.heappush(self._times, (part.gate_s, (part.session, part.sequence)))
        return left_s > 0
