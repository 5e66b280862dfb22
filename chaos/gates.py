"""The third statement: no gate fired for a wrong or expired part, and none let one pass."""

from __future__ import annotations

import math
from collections.abc import Iterator

from chaos.ledger import Account
from chaos.view import GateEvent, PlcView
from chaos.violation import Violation
from pipeline.messages import Verdict
from plc.gate import Key

CLOCKS_S = 0.05
"""Times on the wire have milliseconds, and the PLC looks at its gate every 5 ms."""


class GateChecker:
    """Judges every part that was at the gate, once."""

    def __init__(self, view: PlcView) -> None:
        self._view = view
        self._judged = 0
        self._were_there: set[Key] = set()

    def judge(self, accounts: dict[str, Account], before_s: float) -> Iterator[Violation]:
        """The violations among the parts that were at the gate since the last call and before this
        moment, whose accounts are known.
        """
        events = self._view.gates
        while self._judged < len(events) and events[self._judged].at_s < before_s:
            event = events[self._judged]
            self._judged += 1
            self._were_there.add(event.key)
            yield from self._event(event, accounts.get(event.key[0]))

    def missing(self) -> Iterator[Violation]:
        """Parts with a verdict that the PLC took for parts still on the belt, after the end."""
        for key in sorted(set(self._view.verdicts) - self._were_there):
            yield Violation(3, "was never at the gate", key)

    def _event(self, event: GateEvent, account: Account | None) -> Iterator[Violation]:
        """A part passes the gate with a PASS that came in time, and no other one does; the gate
        acts when the part is there, not when another one is. A PLC on a busy machine may look late
        at its gate, but it must not look and find the part not there yet.
        """
        came_s = self._came_s(event.key)
        heard = self._view.verdicts.get(event.key, [])
        passes = bool(heard) and heard[0].payload.verdict is Verdict.PASS
        deadline_s = math.inf if account is None else account.deadline_s(event.key[1])
        if not event.fired:
            if not passes or came_s > event.at_s:
                yield Violation(3, "went through the gate without a PASS", event.key)
            elif came_s > deadline_s + CLOCKS_S:
                yield Violation(3, "went through the gate with a PASS that had expired", event.key)
        elif passes and came_s < min(event.at_s, deadline_s) - CLOCKS_S:
            yield Violation(3, "the gate fired at a part with a PASS in time", event.key)
        in_time = came_s < deadline_s - CLOCKS_S < math.inf
        early, late = event.at_s < deadline_s - CLOCKS_S, event.looked_s > deadline_s + CLOCKS_S
        if in_time and (early or late):
            away_s = event.at_s - deadline_s
            text = f"the gate acted {away_s:+.2f} s from the moment at which the part was there"
            yield Violation(3, text, event.key)

    def _came_s(self, key: Key) -> float:
        heard = self._view.verdicts.get(key, [])
        return heard[0].at_s if heard else math.inf
