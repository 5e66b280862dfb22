"""Commands on their way from the broker to the supervisor, and the responses on their way back."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable

from pipeline.control import Answer, LineState, Request
from plc.incoming import BadCommandError, read_command
from plc.payloads import ResponsePayload, response_payload, rfc3339

MOST_WAITING = 32
MOST_REMEMBERED = 1000
MOST_PER_SECOND = 20
"""Answers that are given at once; who sends more commands that lead to nothing gets none, so that
they do not crowd out verdicts."""


class CommandInbox:
    """Keeps requests until the supervisor has answered them. No sockets here.

    What is known is answered at once; the supervisor, which outlives this process, is asked again
    about the rest and remembers what it has done.
    """

    def __init__(
        self, line: int, session: str, read: Callable[[bytes, int], Request] = read_command
    ) -> None:
        self._line, self._session, self._read = line, session, read
        self._waiting: dict[str, Request] = {}
        self._answered: OrderedDict[str, ResponsePayload] = OrderedDict()
        self._second = self._given = 0
        self.refused = 0
        """Commands that could not be read, or found no room."""

    @property
    def requests(self) -> tuple[Request, ...]:
        """What waits for an answer."""
        return tuple(self._waiting.values())

    def receive(
        self, data: bytes, at_monotonic_ns: int, state: LineState
    ) -> ResponsePayload | None:
        """Take in a command; the response where there is one at once."""
        response = self._at_once(data, at_monotonic_ns, state)
        if response is None or self._too_many(at_monotonic_ns // 1_000_000_000):
            return None
        return response

    def _at_once(
        self, data: bytes, at_monotonic_ns: int, state: LineState
    ) -> ResponsePayload | None:
        try:
            request = self._read(data, at_monotonic_ns)
        except BadCommandError as error:
            return self._refusal(error.id, error.command, str(error), state)
        if request.id in self._answered:
            return self._answered[request.id]
        if request.id not in self._waiting and len(self._waiting) >= MOST_WAITING:
            reason = f"{MOST_WAITING} commands wait for their answers already"
            return self._refusal(request.id, request.command, reason, state)
        self._waiting.setdefault(request.id, request)
        return None

    def answered(self, answers: Iterable[Answer]) -> list[ResponsePayload]:
        """Take in the supervisor's answers; the responses that somebody waits for."""
        responses = []
        for answer in answers:
            if answer.id in self._answered:
                continue
            response = response_payload(self._line, self._session, answer)
            self._answered[answer.id] = response
            if self._waiting.pop(answer.id, None) is not None:
                responses.append(response)
        while len(self._answered) > MOST_REMEMBERED:
            self._answered.popitem(last=False)
        return responses

    def _too_many(self, second: int) -> bool:
        """Whether this second has had its answers."""
        self._given = self._given + 1 if second == self._second else 1
        self._second = second
        return self._given > MOST_PER_SECOND

    def _refusal(
        self, id_: str | None, command: str | None, reason: str, state: LineState
    ) -> ResponsePayload:
        self.refused += 1
        return ResponsePayload(
            line=self._line,
            session=self._session,
            id=id_,
            command=command,
            result="refused",
            reason=reason,
            state=state,
            at=rfc3339(time.time_ns()),
        )
