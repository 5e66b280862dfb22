"""Where commands are answered: each id acts once and has one answer, however often it comes."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from pipeline.control import Answer, Command, LineState, Request
from pipeline.states import allowed_in

MOST_ANSWERS = 1000
RECENT = 64
"""Answers that every order carries; decision lets no more requests than this wait at a time."""


class CommandDesk:
    """Remembers what it has answered. `act` does what a request asks, and gives an empty text, the
    reason for a refusal, or None where the answer follows later.
    """

    def __init__(
        self, act: Callable[[Request], str | None], state: Callable[[], LineState]
    ) -> None:
        self._act, self._state = act, state
        self._answers: OrderedDict[str, Answer] = OrderedDict()
        self._begun: set[str] = set()

    @property
    def recent(self) -> tuple[Answer, ...]:
        """The latest answers; one that is asked for again is among them again."""
        return tuple(self._answers.values())[-RECENT:]

    def take(self, request: Request) -> None:
        """Act on a request, unless its id has been here before."""
        if request.id in self._answers:
            self._answers.move_to_end(request.id)
        elif request.id not in self._begun:
            reason = refusal(request.command, self._state()) or self._act(request)
            if reason is None:
                self._begun.add(request.id)
            else:
                self.answer(request, reason)

    def answer(self, request: Request, reason: str) -> None:
        """Accepted with an empty reason, else refused."""
        self._begun.discard(request.id)
        self._answers[request.id] = Answer(
            request.id, request.command, not reason, reason, self._state(), time.time_ns()
        )
        while len(self._answers) > MOST_ANSWERS:
            self._answers.popitem(last=False)


def refusal(command: Command, state: LineState) -> str:
    """Why a command does not fit the line's state; empty where it does."""
    allowed = allowed_in(command)
    if state in allowed:
        return ""
    return f"{command} is possible in {' and '.join(allowed)}; the line is {state}"
