"""A model whose networks give no number, selected as a recipe in the usual way."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from chaos.fault import SIGN_S, Fault, Hall, Kind
from chaos.plant import BROKEN_RECIPE
from pipeline.config import DEFAULT_RECIPE
from pipeline.control import Command, LineState
from pipeline.errors import LineError
from pipeline.messages import REASON_TEXT, Reason
from stages.decision.inspection_watch import InspectionWatch

ANSWER_S = 30.0
RESUME_S = 30.0


@dataclass
class NotANumber(Fault):
    """The line changes to the broken recipe, inspects some parts by it, and changes back."""

    _began_s: float = 0.0
    _resumed_s: float = 0.0

    def inflict(self, hall: Hall) -> None:
        self._began_s = time.monotonic()
        change_recipe(hall, BROKEN_RECIPE)
        self._resumed_s = time.monotonic()

    def end(self, hall: Hall) -> None:
        told_s = self._told_s(hall)
        found = [
            heard[0].payload.reason_code
            for heard in list(hall.view.verdicts.values())
            if heard[0].at_s > self._began_s and heard[0].payload.recipe == BROKEN_RECIPE
        ]
        change_recipe(hall, DEFAULT_RECIPE)
        if Reason.SCORE_NOT_FINITE not in found:
            raise LineError(f"no part was told to have no score; there was {set(found) or 'none'}")
        settling_s = InspectionWatch.of(hall.config.timing).settling_s
        if told_s is None or told_s > settling_s + SIGN_S:
            when = "not" if told_s is None else f"after {told_s:.1f} s"
            raise LineError(f"the PLC saw {when} by the line's state that parts have no score")

    def _told_s(self, hall: Hall) -> float | None:
        """When the state named the cause, after the line went on by this recipe; None: never."""
        return next(
            (
                at_s - self._resumed_s
                for at_s, status in hall.view.statuses
                if at_s > self._began_s
                and status.state == LineState.DEGRADED
                and REASON_TEXT[Reason.SCORE_NOT_FINITE] in status.cause
            ),
            None,
        )


def change_recipe(hall: Hall, recipe: str) -> None:
    """Pause, select, resume. Raises LineError where the line does not obey."""
    _obey(hall, Command.PAUSE)
    _obey(hall, Command.SELECT_RECIPE, recipe=recipe)
    end_s = time.monotonic() + RESUME_S
    while time.monotonic() < end_s:  # refused while the recipe is being loaded
        answer = hall.view.command(Command.RESUME, ANSWER_S)
        if answer is not None and answer.result == "accepted":
            return
        hall.view.pass_time(0.3)
    raise LineError(f"resume is refused for {RESUME_S:g} s; the line is {hall.view.state}")


def _obey(hall: Hall, command: Command, **values: str) -> None:
    answer = hall.view.command(command, ANSWER_S, **values)
    if answer is None or answer.result != "accepted":
        said = "no answer" if answer is None else answer.reason
        raise LineError(f"{command}: {said}; the line is {hall.view.state or LineState.PAUSED}")


def kinds() -> Iterator[Kind]:
    """The kinds of this module."""
    yield Kind("model gives NaN", _not_a_number)


def _not_a_number(drawn: Random) -> Fault:
    return NotANumber(drawn.uniform(4.5, 6))
