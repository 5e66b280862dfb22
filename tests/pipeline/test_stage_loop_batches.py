"""Batches in the loop: slack, what beats say of them, and devices that work meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import numpy as np
import pytest

from loop_parts import SECOND_NS, SMALL, PlainStage, Until, frame, row, send_all, sequences, take
from pipeline.messages import CapturedFrame, Message, PreparedFrame, Reason, Stamp
from pipeline.stage import StageContext
from stages.in_flight import InFlight
from stages.lanes.flight import Arrays, Flight, Timing


def test_a_part_that_the_later_stages_would_make_late_is_answered_and_not_computed(
    station: Any, until: Until
) -> None:
    class Told(PlainStage):
        def open(self) -> None:
            until(lambda: line.turn() and line.loop._ports.control.socket.poll(0))

    stage = Told()
    line = station(row(size=2, max_wait_ms=2000), stage)
    line.order = msgspec.structs.replace(
        line.order, costs_ms={"reconstruction": ((1, 600_000.0),), "decision": ((2, 2.0),)}
    )
    outlet, prepared = line.ways()
    failures = line.inlet("preprocessing", "failure")
    until(outlet.room)
    in_time, late = time.monotonic_ns() + 3600 * SECOND_NS, time.monotonic_ns() + 500 * SECOND_NS
    stamp = Stamp("acquisition", 1, 2)
    send_all(outlet, [frame(1, in_time), frame(2, late, stamps=(stamp,))], until)
    line.start()
    (failure,) = take(failures, 1)
    assert (failure.part.sequence, failure.reason) == (2, Reason.DEADLINE)
    assert failure.text.startswith("too late for preprocessing: 600001 ms needed from there, 4")
    assert [stamp.stage for stamp in failure.stamps] == ["acquisition", "preprocessing"]
    assert sequences(take(prepared, 1)) == [1]
    assert stage.batches == [[1]]
    until(lambda: line.turn() and line.beats and line.beats[-1].load.refused == 1)
    assert line.beats[-1].failed == 1


def test_a_batch_does_not_wait_where_a_deadline_is_near(station: Any, until: Until) -> None:
    stage = PlainStage()
    line = station(row(size=4, max_wait_ms=10_000), stage)
    outlet, prepared = line.ways()
    until(outlet.room)
    line.start()
    started = time.monotonic()
    send_all(outlet, [frame(1), frame(2, time.monotonic_ns() + 4 * SECOND_NS)], until)
    assert sequences(take(prepared, 2)) == [1, 2]
    assert time.monotonic() - started < 9


def test_beats_say_what_batches_there_were(station: Any, until: Until) -> None:
    line = station(row(size=2, max_wait_ms=10_000), PlainStage())
    outlet, prepared = line.ways()
    until(outlet.room)
    line.start()
    sent_ns = time.monotonic_ns() - 5 * SECOND_NS
    stamps = (Stamp("acquisition", sent_ns, sent_ns),)
    send_all(outlet, [frame(number, stamps=stamps) for number in (1, 2, 3, 4)], until)
    take(prepared, 4)
    until(lambda: line.turn() and line.beats and line.beats[-1].load.batches == {2: 2})
    load = line.beats[-1].load
    assert load.refused == 0
    assert load.wait_ms.p50 >= 4900
    assert 0 < load.compute_ms.p50 < 5000
    ((size, took_ms),) = load.costs_ms
    assert (size, took_ms > 0) == (2, True)


class Device(PlainStage):
    """Works on a batch while the loop collects the next: gives it back when it is asked again."""

    def __init__(self, asked: int) -> None:
        super().__init__()
        self._asked, self._made = asked, list[Message]()

    def take(self, messages: Sequence[Message]) -> Iterable[Message]:
        self._made += super().take(messages)
        return ()

    def settle(self, wait: bool) -> Iterable[Message]:
        self._asked -= bool(self._made)
        if not wait and self._asked > 0:
            return []
        made, self._made = self._made, []
        return made


def test_what_a_device_has_finished_is_asked_for(station: Any, until: Until) -> None:
    line = station(row(size=2, max_wait_ms=0), Device(asked=20))
    outlet, prepared = line.ways()
    until(outlet.room)
    line.start()
    send_all(outlet, [frame(1)], until)
    (message,) = take(prepared, 1)
    (stamp,) = message.stamps
    assert stamp.received_monotonic_ns < stamp.sent_monotonic_ns
    until(lambda: line.turn() and line.beats and line.beats[-1].load.costs_ms)
    ((_, took_ms),) = line.beats[-1].load.costs_ms
    took_ns = stamp.sent_monotonic_ns - stamp.received_monotonic_ns
    assert took_ms == pytest.approx(took_ns / 1e6, abs=0.01)


def test_a_device_is_waited_for_at_the_end(station: Any, until: Until) -> None:
    stage = Device(asked=10**9)
    line = station(row(size=2, max_wait_ms=0), stage)
    outlet, prepared = line.ways()
    until(outlet.room)
    line.start()
    send_all(outlet, [frame(1)], until)
    until(lambda: stage.batches)
    line.loop.terminate()
    assert sequences(take(prepared, 1)) == [1]
    until(line.ended)


class Late(Flight):
    """A batch that arrives when the test says so."""

    def __init__(self, parts: int, arrival: threading.Event) -> None:
        self._parts, self._arrival = parts, arrival

    def arrived(self) -> bool:
        return self._arrival.is_set()

    def land(self) -> Arrays:
        return (np.zeros(self._parts),)

    def timing(self) -> Timing:
        return Timing(2.0, 30.0, 2.0)


class Overlapping(PlainStage):
    """As the stages with networks: begins a batch, and makes the answers when it has arrived."""

    def __init__(self, spoilt: int) -> None:
        super().__init__()
        self.arrival, self._spoilt = threading.Event(), spoilt

    def fly(self, context: StageContext) -> None:
        self._in_flight: InFlight[Any, Any] = InFlight(
            "toy", lambda flight: flight.land()[0], self._answer, context
        )

    def take(self, messages: Sequence[Message]) -> Iterable[Message]:
        self.batches.append(sequences(messages))
        self._in_flight.add(messages, Late(len(messages), self.arrival))
        return ()

    def settle(self, wait: bool) -> Iterable[Message]:
        return self._in_flight.landed(wait)

    def _answer(self, message: CapturedFrame, _result: float) -> Message:
        if message.part.sequence == self._spoilt:
            raise ZeroDivisionError("spoilt")
        return PreparedFrame(message.part, 9, SMALL, SMALL, message.stamps)


def test_an_error_in_a_result_is_laid_to_its_part_and_not_to_the_batch_begun_after_it(
    station: Any, until: Until
) -> None:
    stage = Overlapping(spoilt=1)
    line = station(row(size=2, max_wait_ms=10_000), stage)
    stage.fly(line.loop._context)
    outlet, prepared = line.ways()
    failures = line.inlet("preprocessing", "failure")
    until(outlet.room)
    line.start()
    send_all(outlet, [frame(number) for number in (1, 2, 3, 4)], until)
    until(lambda: len(stage.batches) == 2)
    stage.arrival.set()
    assert sequences(take(prepared, 3)) == [2, 3, 4]
    (failure,) = take(failures, 1)
    assert (failure.part.sequence, failure.reason) == (1, Reason.STAGE_FAULT)
    until(lambda: line.turn() and line.beats and line.beats[-1].sent.get("prepared") == 3)
    assert line.beats[-1].failed == 1
    assert stage.batches == [[1, 2], [3, 4]], "nothing is computed twice"
    load = line.beats[-1].load
    assert load.copy_ms["toy"].p50 == pytest.approx(4, rel=0.02)
    assert load.device_ms["toy"].p50 == pytest.approx(30, rel=0.02)
