"""The statements about every part, checked over what the PLC saw and the line's own ledger.

1. announced = PASS + REJECT + UNINSPECTED, each once, in the PLC's view or counted as undelivered
   while the broker was away
2. no PASS for a part whose score was not computed in time by the calibrated model
3. no gate fired for a wrong or expired part

The fourth (signs and recovery) belongs to each fault (`chaos.trial`), the fifth to the end
(`chaos.remains`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from chaos.ledger import Account
from chaos.view import GateEvent, Heard, PlcView
from pipeline.config import LineConfig
from pipeline.messages import Reason, Verdict, VerdictRecord
from plc.gate import Key

GRACE_S = 3.0
"""After its deadline a part may still be on its way into ledger and view, not longer."""
MISSED_S = 1.5
"""A word that was spoken so near to the PLC's absence may have been lost with the connection."""
CLOCKS_S = 0.05
"""Times on the wire have milliseconds, and the PLC looks at its gate every 5 ms."""
COMPUTING = ("preprocessing", "reconstruction", "segmentation")


@dataclass(frozen=True)
class Violation:
    """One broken statement, of one part where it has one."""

    statement: int
    text: str
    key: Key | None = None

    def __str__(self) -> str:
        part = "" if self.key is None else f"part {self.key[1]} of {self.key[0]}: "
        return f"statement {self.statement}: {part}{self.text}"


class Checker:
    """Judges every part once, as soon as it must have come to its end.

    `clocks_agree`: set to False while the line's clock is not the PLC's; a PLC then takes every
    deadline for another one, and rejects good parts.
    """

    def __init__(self, config: LineConfig, view: PlcView, bundle_id: str) -> None:
        self._config, self._view, self._bundle_id = config, view, bundle_id
        self._judged: set[Key] = set()
        self._gates_judged = 0
        self._disagreed: list[tuple[float, float]] = []
        self.killed_s: dict[str, float] = {}
        """Sessions that were killed, and when: no further word of their parts is due."""

    def clocks_disagreed(self, from_s: float, to_s: float) -> None:
        """In this time the line's clock was not the PLC's."""
        self._disagreed.append((from_s, to_s))

    def judge(
        self, accounts: dict[str, Account], read_s: float, *, final: bool = False
    ) -> list[Violation]:
        """The violations since the last call. `read_s`: when the accounts were read. `final`: the
        line has ended, everything is due.
        """
        found: list[Violation] = []
        for session, account in accounts.items():
            due = read_s - GRACE_S - self._config.timing.deadline_ms / 1e3
            told = self._told(session, account)
            for sequence in range(1, (account.last if final else told) + 1):
                key = session, sequence
                if key not in self._judged and (final or _is_due(account, sequence, due)):
                    self._judged.add(key)
                    found += self._part(key, account)
        found += self._unknown(accounts, read_s - GRACE_S)
        found += self._gates(accounts)
        return found

    def _told(self, session: str, account: Account) -> int:
        """Up to which part the PLC's thread has heard all that the line said: a starved PLC is
        behind. Of an earlier session nothing more is to come.
        """
        if session != self._view.session:
            return account.last
        return min(account.last, self._view.settled.get(session, 0))

    def _part(self, key: Key, account: Account) -> Iterator[Violation]:
        records, heard = account.records.get(key[1], []), self._view.verdicts.get(key, [])
        if len(records) != 1:
            yield Violation(1, f"has {len(records)} verdicts in the ledger", key)
            return
        record = records[0]
        if any(other.payload != heard[0].payload for other in heard):
            yield Violation(1, "the PLC was given two different verdicts", key)
        if heard and _said(heard[0]) != (record.verdict, record.reason, record.score):
            yield Violation(1, f"the PLC heard {_said(heard[0])}, the ledger has another", key)
        if not heard and not self._accounted_for(key, account, record):
            yield Violation(1, f"{record.verdict} ({record.reason}) never came to the PLC", key)
        if record.verdict is Verdict.PASS:
            yield from self._proof(key, account, record)
        elif record.verdict is Verdict.REJECT and record.reason is not Reason.ABOVE_THRESHOLD:
            yield Violation(2, f"REJECT for {record.reason}", key)

    def _accounted_for(self, key: Key, account: Account, record: VerdictRecord) -> bool:
        """Whether a part without a verdict in the PLC's view is known to be missing there."""
        session, sequence = key
        if key in self._view.undelivered or sequence in account.undelivered:
            return True
        decided_s = account.decided_s(sequence)
        killed_s = self.killed_s.get(session)
        if killed_s is not None and (
            record.late or decided_s is None or decided_s > killed_s - MISSED_S
        ):  # the next session's status tells the PLC to forget them
            return True
        spans = self._view.away
        return decided_s is not None and any(
            span.from_s - MISSED_S <= decided_s
            and (span.to_s is None or decided_s <= span.to_s + MISSED_S)
            for span in spans
        )

    def _proof(self, key: Key, account: Account, record: VerdictRecord) -> Iterator[Violation]:
        note = account.announced.get(key[1])
        if note is None:
            yield Violation(2, "PASS for a part that was never announced", key)
            return
        if record.score is None or not math.isfinite(record.score):
            yield Violation(2, "PASS without a score", key)
        elif record.score > record.threshold:
            yield Violation(2, f"PASS with score {record.score} above {record.threshold}", key)
        if record.bundle_id != self._bundle_id:
            yield Violation(2, f"PASS by model {record.bundle_id}, which is not calibrated", key)
        stamps = {stamp.stage: stamp.sent_monotonic_ns / 1e9 for stamp in record.stamps}
        missing = [stage for stage in COMPUTING if stage not in stamps]
        if missing:
            yield Violation(2, f"PASS without the work of {', '.join(missing)}", key)
        decided_s = account.decided_s(key[1])
        ends_s = (math.inf if decided_s is None else decided_s, *stamps.values())
        if record.late or max(ends_s) > note.deadline_monotonic_ns / 1e9:
            yield Violation(2, "PASS after the part's deadline", key)

    def _unknown(self, accounts: dict[str, Account], before_s: float) -> Iterator[Violation]:
        """Verdicts in the PLC's view that no ledger has."""
        for key, heard in list(self._view.verdicts.items()):
            account = accounts.get(key[0])
            known = account is not None and key[1] <= account.last
            if not known and key not in self._judged and heard[0].at_s < before_s:
                self._judged.add(key)
                yield Violation(1, "the PLC was given a verdict that no ledger has", key)

    def _gates(self, accounts: dict[str, Account]) -> Iterator[Violation]:
        events = self._view.gates
        while self._gates_judged < len(events):
            event = events[self._gates_judged]
            self._gates_judged += 1
            yield from self._gate(event, accounts.get(event.key[0]))

    def _gate(self, event: GateEvent, account: Account | None) -> Iterator[Violation]:
        """A part passes the gate with a PASS that came in time, and no other one does."""
        heard = self._view.verdicts.get(event.key, [])
        came_s = heard[0].at_s if heard else math.inf
        passes = bool(heard) and heard[0].payload.verdict is Verdict.PASS
        note = None if account is None else account.announced.get(event.key[1])
        deadline_s = math.inf if note is None else note.deadline_monotonic_ns / 1e9
        if not event.fired:
            if not passes or came_s > event.at_s:
                yield Violation(3, "went through the gate without a PASS", event.key)
            elif came_s > deadline_s + CLOCKS_S and not self._disagree(came_s):
                yield Violation(3, "went through the gate with a PASS that had expired", event.key)
        elif passes and came_s < min(event.at_s, deadline_s) - CLOCKS_S:
            moments = came_s, _decided_s(account, event)
            if not any(self._disagree(at_s) for at_s in moments):
                yield Violation(3, "the gate fired at a part with a PASS in time", event.key)

    def _disagree(self, at_s: float) -> bool:
        return any(first <= at_s <= last for first, last in self._disagreed)


def _is_due(account: Account, sequence: int, before_s: float) -> bool:
    """Whether a part was captured before this moment; one without announcement goes by its
    neighbours.
    """
    later = (account.announced.get(number) for number in range(sequence, account.last + 1))
    note = next((found for found in later if found is not None), None)
    return note is not None and note.captured_monotonic_ns / 1e9 < before_s


def _said(heard: Heard) -> tuple[Verdict, Reason, float | None]:
    return heard.payload.verdict, heard.payload.reason_code, heard.payload.score


def _decided_s(account: Account | None, event: GateEvent) -> float:
    found = None if account is None else account.decided_s(event.key[1])
    return -math.inf if found is None else found
