"""Batches in flight: handed over in order, as they arrive, and never more than the depth."""

from __future__ import annotations

import numpy as np
import pytest

from stages.in_flight import DEPTH, InFlight
from stages.lanes.flight import Arrays, Timing


class Controlled:
    """A flight that arrives when the test says so."""

    def __init__(self, number: int) -> None:
        self.number, self.is_there = number, False

    def arrived(self) -> bool:
        return self.is_there

    def land(self) -> Arrays:
        self.is_there = True
        return (np.array([self.number]),)

    def timing(self) -> Timing:
        return Timing(0.0, 0.0, 0.0)


@pytest.fixture
def flights() -> list[Controlled]:
    return [Controlled(number) for number in range(5)]


def landed(in_flight: InFlight[str], wait: bool = False) -> list[tuple[str, int]]:
    return [
        (message, int(flight.land()[0][0]))
        for messages, flight in in_flight.landed(wait)
        for message in messages
    ]


def test_what_has_arrived_is_handed_over_with_its_messages(flights):
    in_flight: InFlight[str] = InFlight()
    in_flight.add(["a", "b"], flights[0])
    assert landed(in_flight) == []
    flights[0].is_there = True
    assert landed(in_flight) == [("a", 0), ("b", 0)]
    assert landed(in_flight, wait=True) == []


def test_a_later_batch_waits_for_the_one_before(flights):
    in_flight: InFlight[str] = InFlight()
    in_flight.add(["a"], flights[0])
    in_flight.add(["b"], flights[1])
    flights[1].is_there = True
    assert landed(in_flight) == []
    flights[0].is_there = True
    assert landed(in_flight) == [("a", 0), ("b", 1)]


def test_no_more_than_the_depth_stay_in_flight(flights):
    in_flight: InFlight[str] = InFlight()
    for number in range(DEPTH + 2):
        in_flight.add([str(number)], flights[number])
    assert landed(in_flight) == [("0", 0), ("1", 1)]
    assert not flights[2].is_there


def test_waiting_brings_all_home(flights):
    in_flight: InFlight[str] = InFlight()
    for flight in flights:
        in_flight.add([str(flight.number)], flight)
    assert [number for _, number in landed(in_flight, wait=True)] == [0, 1, 2, 3, 4]
