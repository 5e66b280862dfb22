"""One fault from its beginning to the line's recovery, and what was broken meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from chaos.checker import MISSED_S
from chaos.fault import SIGN_S, Fault, Hall, Kind
from chaos.ledger import KeptJournal
from chaos.remains import left_meanwhile
from chaos.violation import Violation
from pipeline.control import Command, LineState
from pipeline.errors import LineError

STEADY_S = 60.0
PATIENCE_S = 30.0
"""A line that is not back after this long is started anew, so that the campaign goes on."""
ANSWER_S = 10.0
STEADY_PARTS = 3
RELAPSE_S = 5.0
"""So long after the time that is allowed for its recovery a line may become steady."""


@dataclass
class Outcome:
    """What one fault has led to; times in seconds, `began_s` and `over_s` (the recovery) by the
    monotonic clock. `parts` may have been touched by it (`chaos.cost`): `undelivered` of them the
    PLC never heard, `lost_good` had a PASS that came too late for the PLC, which fired the gate:
    safe, but a good part lost.
    """

    number: int
    kind: str
    detail: str
    session: str
    first_part: int
    after_s: float
    began_s: float = 0.0
    over_s: float = 0.0
    parts: int = 0
    uninspected: int = 0
    undelivered: int = 0
    lost_good: int = 0
    sign_s: float | None = None
    recovered_s: float | None = None
    steady: bool = False
    faulted: bool = False
    violations: list[Violation] = field(default_factory=list)

    def where(self, arguments: str) -> str:
        """What is needed to repeat it; `arguments`: of the whole campaign."""
        drawn = f", {self.detail}" if self.detail else ""
        return (
            f"fault {self.number} ({self.kind}{drawn}), {self.after_s:.2f} s after the line was "
            f"steady, at part {self.first_part} of {self.session}; repeat with "
            f"{arguments} --just {self.number}"
        )


def wait_until_steady(hall: Hall, timeout_s: float = STEADY_S) -> bool:
    """Whether the line runs, and has inspected some parts since now."""
    already = hall.view.scored
    return hall.view.wait(
        lambda: hall.view.state == LineState.RUNNING and hall.view.scored >= already + STEADY_PARTS,
        timeout_s,
    )


class Trial:
    """Inflicts one drawn fault on a steady line."""

    def __init__(self, hall: Hall, journal: KeptJournal, number: int, kind: Kind, drawn: Random):
        self._hall, self._journal = hall, journal
        self._after_s = drawn.uniform(0.1, 1.5)
        self._fault: Fault = kind.draw(drawn)
        self._outcome = Outcome(
            number, kind.name, self._fault.detail, hall.view.session, 0, self._after_s
        )

    def run(self) -> Outcome:
        """The fault, its end, the recovery, and the judgement."""
        hall, fault, outcome = self._hall, self._fault, self._outcome
        hall.view.pass_time(self._after_s)
        outcome.session, outcome.first_part = hall.view.session, hall.view.sequence + 1
        self._journal.read_on()  # a session that ends in this fault may be tidied away soon
        hall.line.counters.look()
        outcome.began_s = began_s = time.monotonic()
        self._try(fault.inflict)
        if fault.hold_s:
            hall.view.pass_time(fault.hold_s)
        self._try(fault.end)
        ended_s = time.monotonic()
        if fault.shows:  # else the line seems to be well until somebody notices
            hall.view.wait(lambda: hall.view.first_sign(began_s) is not None, 2 * SIGN_S)
        self._judge_sign(began_s)
        self._await_steady(self._await_recovery(ended_s))
        outcome.over_s = time.monotonic()
        if fault.hinders:
            hall.checker.hindered.add(began_s - MISSED_S, outcome.over_s + MISSED_S)
        self._journal.read_on()
        if hall.line.running:
            outcome.violations += left_meanwhile(hall.line, hall.shared_before)
        outcome.violations += hall.checker.judge(self._journal.accounts, self._journal.read_s)
        return outcome

    def _try(self, step: Callable[[Hall], None]) -> None:
        try:
            step(self._hall)
        except (LineError, ProcessLookupError) as error:  # what was to be hurt has just ended
            self._outcome.violations.append(Violation(4, f"{self._fault.detail} {error}".strip()))

    def _await_recovery(self, ended_s: float) -> float:
        """RUNNING, and a part inspected that was captured after the end. A held FAULT is reset, as
        people would; it is right only where the budget of restarts is spent. Gives the moment from
        which the recovery counts.
        """
        view, outcome = self._hall.view, self._outcome
        session, until = view.session, view.sequence

        def back() -> bool:
            inspected = view.inspected.get(view.session, 0)
            on = inspected > (until if view.session == session else 0)
            return view.state == LineState.RUNNING and on

        end_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < end_s:
            if view.wait(lambda: back() or view.state == LineState.FAULT, 0.5) and back():
                break
            if view.state == LineState.FAULT:
                outcome.faulted = True
                self._reset()
                ended_s = time.monotonic()
            if not self._hall.line.running:
                break
        self._note_recovery(back(), ended_s)
        return ended_s

    def _await_steady(self, ended_s: float) -> None:
        """The line must not be back for a moment only."""
        outcome, allowed_s = self._outcome, self._fault.back_s + RELAPSE_S
        outcome.steady = wait_until_steady(self._hall)
        steady_s = time.monotonic() - ended_s
        in_time = outcome.recovered_s is not None and outcome.recovered_s <= self._fault.back_s
        if outcome.steady and in_time and steady_s > allowed_s:
            text = (
                f"back after {outcome.recovered_s:.1f} s, but not for good before {steady_s:.1f} s"
            )
            outcome.violations.append(Violation(4, text))

    def _reset(self) -> None:
        view = self._hall.view
        if not self._hall.budget_spent(view.cause):
            self._outcome.violations.append(Violation(4, f"FAULT without need: {view.cause}"))
        answer = view.command(Command.RESET_FAULT, ANSWER_S)
        if answer is None or answer.result != "accepted":
            said = "no answer" if answer is None else answer.reason
            self._outcome.violations.append(Violation(4, f"reset_fault: {said}"))
        view.wait(lambda: view.state != LineState.FAULT, ANSWER_S)

    def _note_recovery(self, back: bool, ended_s: float) -> None:
        hall, outcome, limit_s = self._hall, self._outcome, self._fault.back_s
        if not back:
            state = f"{hall.view.state or 'not visible'}: {hall.view.cause}"
            gone = "" if hall.line.running else "; the line's process has ended"
            outcome.violations.append(
                Violation(4, f"not back after {PATIENCE_S:g} s, {state}{gone}")
            )
            return
        outcome.recovered_s = time.monotonic() - ended_s
        if outcome.recovered_s > limit_s and not outcome.faulted:
            outcome.violations.append(
                Violation(4, f"back after {outcome.recovered_s:.1f} s, allowed are {limit_s:g} s")
            )

    def _judge_sign(self, began_s: float) -> None:
        sign = self._hall.view.first_sign(began_s)
        self._outcome.sign_s = None if sign is None else sign[0] - began_s
        if not self._fault.shows:
            return
        if sign is None:
            self._outcome.violations.append(Violation(4, "the PLC could not see it"))
        elif sign[0] - began_s > SIGN_S:
            text = f"the PLC saw it ({sign[1]}) after {sign[0] - began_s:.1f} s"
            self._outcome.violations.append(Violation(4, f"{text}, allowed are {SIGN_S:g} s"))
