"""The batches of a stage that its device still works on.

A GPU is kept busy by giving it the next batch before the one in hand is done; what comes back is
handed over in order. On a CPU a batch is done when it was given, and nothing stays in flight.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

from stages.lanes.flight import Flight

T = TypeVar("T")

DEPTH = 2
"""Batches that may be in flight when the next one is taken."""


class InFlight(Generic[T]):
    """What was submitted for which messages, oldest first."""

    def __init__(self) -> None:
        self._flights: deque[tuple[Sequence[T], Flight]] = deque()

    def add(self, messages: Sequence[T], flight: Flight) -> None:
        """A batch has left."""
        self._flights.append((messages, flight))

    def landed(self, wait: bool = False) -> Iterator[tuple[Sequence[T], Flight]]:
        """Those that have arrived, the oldest first, and any beyond DEPTH; with `wait` all."""
        while self._flights:
            messages, flight = self._flights[0]
            if not (wait or len(self._flights) > DEPTH or flight.arrived()):
                return
            self._flights.popleft()
            yield messages, flight
