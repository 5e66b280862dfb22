"""Batches in flight: handed over in order, as they arrive, and never more than the depth."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loop_parts import frame, sequences
from pipeline.config_file import line_file, load_line
from pipeline.errors import DeviceError
from pipeline.messages import CapturedFrame, Failure, Message, Reason
from pipeline.stage import StageContext
from stages.in_flight import DEPTH, InFlight
from stages.lanes.flight import Arrays, Flight, Timing

InFlightOf = Callable[["Results"], InFlight[CapturedFrame, int]]


class Controlled:
    """A flight that arrives when the test says so, with its number as the result of each part."""

    def __init__(
        self,
        number: int,
        parts: int = 1,
        error: Exception | None = None,
        timing: Timing = Timing(0.0, 1.0, 0.0),  # noqa: B008 - immutable
    ) -> None:
        self.number, self.parts, self.is_there = number, parts, False
        self._error, self._timing = error, timing

    def arrived(self) -> bool:
        return self.is_there

    def land(self) -> Arrays:
        self.is_there = True
        if self._error is not None:
            raise self._error
        return (np.full(self.parts, self.number),)

    def timing(self) -> Timing:
        return self._timing


class Results:
    """What a stage would do with flights; notes what it was asked to make an answer of."""

    def __init__(self, spoilt: int = 0, error: Exception | None = None) -> None:
        self.made: list[tuple[int, int]] = []
        self._spoilt, self._error = spoilt, error or ZeroDivisionError("no such number")

    def land(self, flight: Flight) -> Iterable[int]:
        return [int(number) for number in flight.land()[0]]

    def answer(self, message: CapturedFrame, number: int) -> Message:
        self.made.append((message.part.sequence, number))
        if message.part.sequence == self._spoilt:
            raise self._error
        return message


@pytest.fixture
def flights() -> list[Controlled]:
    return [Controlled(number) for number in range(5)]


@pytest.fixture
def context(tmp_path: Path) -> StageContext:
    config = load_line(line_file(3), [("data_folder", str(tmp_path))])
    return StageContext(config, "s", 0, logging.getLogger("toy"))


@pytest.fixture
def in_flight_of(context: StageContext) -> InFlightOf:
    return lambda results: InFlight("toy", results.land, results.answer, context)


def landed(in_flight: InFlight[Any, Any], wait: bool = False) -> list[int]:
    return sequences(in_flight.landed(wait))


def test_what_has_arrived_is_handed_over_with_its_messages(in_flight_of: InFlightOf):
    results, flight = Results(), Controlled(7, parts=2)
    in_flight = in_flight_of(results)
    in_flight.add([frame(1), frame(2)], flight)
    assert landed(in_flight) == []
    flight.is_there = True
    assert landed(in_flight) == [1, 2]
    assert results.made == [(1, 7), (2, 7)]
    assert landed(in_flight, wait=True) == []


def test_a_later_batch_waits_for_the_one_before(in_flight_of: InFlightOf, flights):
    in_flight = in_flight_of(Results())
    in_flight.add([frame(1)], flights[0])
    in_flight.add([frame(2)], flights[1])
    flights[1].is_there = True
    assert landed(in_flight) == [1, 2]
    assert flights[0].is_there, "it was waited for"


def test_no_more_than_the_depth_stay_in_flight(in_flight_of: InFlightOf, flights):
    in_flight = in_flight_of(Results())
    for number in range(DEPTH + 2):
        in_flight.add([frame(number)], flights[number])
    assert landed(in_flight) == [0, 1]
    assert not flights[2].is_there


def test_waiting_brings_all_home(in_flight_of: InFlightOf, flights):
    in_flight = in_flight_of(Results())
    for flight in flights:
        in_flight.add([frame(flight.number)], flight)
    assert landed(in_flight, wait=True) == [0, 1, 2, 3, 4]


def test_a_result_that_cannot_be_used_costs_its_own_part(
    in_flight_of: InFlightOf, caplog: pytest.LogCaptureFixture
):
    results = Results(spoilt=2)
    in_flight = in_flight_of(results)
    in_flight.add([frame(1), frame(2), frame(3)], Controlled(0, parts=3))
    in_flight.add([frame(4)], Controlled(1))
    messages = list(in_flight.landed(wait=True))
    assert sequences(messages) == [1, 2, 3, 4]
    assert results.made == [(1, 0), (2, 0), (3, 0), (4, 1)]
    (failure,) = [message for message in messages if isinstance(message, Failure)]
    assert (failure.part.sequence, failure.reason) == (2, Reason.STAGE_FAULT)
    assert failure.text == "toy failed: ZeroDivisionError: no such number"
    assert any(record.exc_info for record in caplog.records), "the traceback is in the log"


@pytest.mark.parametrize(
    "flight", [Controlled(0, 2, ValueError("unreadable")), Controlled(0, parts=1)]
)
def test_a_batch_without_its_results_costs_its_own_parts(
    in_flight_of: InFlightOf, flight: Controlled
):
    in_flight = in_flight_of(Results())
    in_flight.add([frame(1), frame(2)], flight)
    in_flight.add([frame(3)], Controlled(1))
    *failures, last = in_flight.landed(wait=True)
    assert sequences(failures) == [1, 2]
    assert all(isinstance(failure, Failure) for failure in failures)
    assert isinstance(last, CapturedFrame)


@pytest.mark.parametrize("where", ["land", "answer"])
def test_a_device_that_has_failed_is_no_fault_of_a_part(in_flight_of: InFlightOf, where: str):
    error = DeviceError("the GPU has failed")
    in_flight = in_flight_of(Results(spoilt=1 if where == "answer" else 0, error=error))
    in_flight.add([frame(1)], Controlled(0, error=error if where == "land" else None))
    with pytest.raises(DeviceError):
        list(in_flight.landed(wait=True))


def test_what_batches_took_on_the_device_is_noted(in_flight_of: InFlightOf, context: StageContext):
    in_flight = in_flight_of(Results())
    in_flight.add([frame(1)], Controlled(0, timing=Timing(1.0, 20.0, 3.0)))
    in_flight.add([frame(2)], Controlled(0, error=ValueError("unreadable")))
    assert context.device_times.device_ms() == {}
    assert landed(in_flight, wait=True) == [1, 2]
    (copies,) = context.device_times.copy_ms().values()
    assert copies.p50 == pytest.approx(4, rel=0.02)
    assert context.device_times.device_ms()["toy"].p99 == pytest.approx(20, rel=0.02)


def test_what_is_not_copied_has_no_copies(in_flight_of: InFlightOf, context: StageContext):
    in_flight = in_flight_of(Results())
    in_flight.add([frame(1)], Controlled(0, timing=Timing(0.0, 20.0, 0.0)))
    assert landed(in_flight, wait=True) == [1]
    assert context.device_times.copy_ms() == {}
    assert list(context.device_times.device_ms()) == ["toy"]
