"""The order that every stage is given, and the only place where the line's state changes."""

from __future__ import annotations

import logging
import time
from typing import Any

import msgspec

from pipeline.control import LineOrder, LineState, Transition
from pipeline.states import CAPTURING, TRANSITIONS

RECENT_TRANSITIONS = 16
"""Changes of the line's state that every order carries."""


class OrderBook:
    """Keeps the present order; whether it captures follows from the state."""

    def __init__(self, session: str, recipe: str, log: logging.Logger) -> None:
        self._log = log
        self.order = LineOrder(
            session,
            LineState.PREOPERATIONAL,
            "processes are starting",
            time.time_ns(),
            recipe=recipe,
        )

    def update(self, **changes: Any) -> None:
        """Change what else the order says, without a change of state."""
        self.order = msgspec.structs.replace(self.order, **changes)

    def change(self, state: LineState, cause: str, stop: tuple[str, ...]) -> bool:
        """Say a state, its cause, and which stages are to end; whether that was news.

        A state that the table does not lead to from the present one is a programmer's mistake.
        """
        before = self.order
        news = (state, cause) != (before.state, before.cause)
        if news:
            assert state in (before.state, *TRANSITIONS[before.state].values()), (
                f"nothing leads from {before.state} to {state}"
            )
            self._log.info("%s: %s", state, cause)
            self._note(state, cause)
        self.update(state=state, cause=cause, capture=state in CAPTURING, stop=stop)
        return news

    def _note(self, state: LineState, cause: str) -> None:
        past, since_wall_ns = self.order.transitions, time.time_ns()
        number = past[-1].number + 1 if past else 1
        change = Transition(number, state, cause, since_wall_ns)
        kept = (*past[1 - RECENT_TRANSITIONS :], change)
        self.update(since_wall_ns=since_wall_ns, transitions=kept)
