"""The batches of a stage that its device still works on.

A GPU is kept busy by giving it the next batch before the one in hand is done; what comes back is
handed over in order. On a CPU a batch is done when it was given, and nothing stays in flight. What
goes wrong with a result costs the parts of that result, whatever was begun meanwhile.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

from pipeline.errors import DeviceError
from pipeline.logs import part_extra
from pipeline.messages import Failure, Message
from pipeline.stage import StageContext, stage_fault
from stages.lanes.flight import Flight

T = TypeVar("T", bound=Message)
R = TypeVar("R")

DEPTH = 1
"""Batches that may be in flight when the next one is taken: it is uploaded while that one computes.
With more, a batch would wait on the device longer than it takes there, its parts be taken for slow
ones, and parts refused that could have been served.
"""


class InFlight(Generic[T, R]):
    """What was submitted for which messages, oldest first.

    `land` takes the results of a batch out of its flight, one for each message, and `answer` makes
    of a message and its result what the stage hands over. What each batch took on the device is
    noted under the name of the stage.
    """

    def __init__(
        self,
        stage: str,
        land: Callable[[Flight], Iterable[R]],
        answer: Callable[[T, R], Message],
        context: StageContext,
    ) -> None:
        self._stage, self._land, self._answer = stage, land, answer
        self._log, self._times = context.log, context.device_times
        self._flights: deque[tuple[Sequence[T], Flight]] = deque()

    def add(self, messages: Sequence[T], flight: Flight) -> None:
        """A batch has left."""
        self._flights.append((messages, flight))

    def landed(self, wait: bool = False) -> Iterator[Message]:
        """One answer for each message of the batches that have arrived, the oldest first, and of
        any beyond DEPTH; with `wait` of all. A part whose result cannot be had becomes a Failure.
        Raises DeviceError.
        """
        while self._flights:
            messages, flight = self._flights[0]
            if not (wait or len(self._flights) > DEPTH or flight.arrived()):
                return
            self._flights.popleft()
            yield from self._answers(messages, flight)

    def _answers(self, messages: Sequence[T], flight: Flight) -> Iterator[Message]:
        try:
            pairs = list(zip(messages, self._land(flight), strict=True))
            took = flight.timing()
        except DeviceError:  # which would spoil the batches after this one, too
            raise
        except Exception as error:  # the outermost loop around a batch's results
            self._log.exception("no results for %d parts", len(messages))
            yield from (self._fault(message, error) for message in messages)
            return
        self._times.add(self._stage, took.upload_ms + took.download_ms, took.compute_ms)
        for message, result in pairs:
            yield self._answered(message, result)

    def _answered(self, message: T, result: R) -> Message:
        try:
            return self._answer(message, result)
        except DeviceError:
            raise
        except Exception as error:  # the outermost loop around one part's result
            self._log.exception("no answer for a part", extra=part_extra(message.part))
            return self._fault(message, error)

    def _fault(self, message: T, error: Exception) -> Failure:
        failure = stage_fault(self._stage, message, error)
        self._log.error("%s", failure.text, extra=part_extra(failure.part))
        return failure
