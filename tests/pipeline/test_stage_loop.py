"""The loop around a stage: batches, deadlines, faults, damage, back-pressure, orders and beats."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pytest

from loop_parts import (
    SECOND_NS,
    SESSION,
    SMALL,
    PlainStage,
    Until,
    frame,
    row,
    send_all,
    sequences,
    take,
)
from pipeline.control import LineOrder
from pipeline.errors import DeviceError
from pipeline.line import row_named
from pipeline.messages import (
    CapturedFrame,
    Failure,
    InspectionResult,
    Message,
    Part,
    PreparedFrame,
    Reason,
)
from pipeline.stage import NEVER_NS
from pipeline.wire import Encoder

LARGE = np.zeros((600, 600), np.uint8)


def test_a_batch_is_full_before_its_time(station: Any, until: Until) -> None:
    stage = PlainStage()
    line = station(row(size=4, max_wait_ms=10_000), stage)
    outlet, prepared = line.ways()
    until(outlet.room)
    line.start()
    started = time.monotonic()
    send_all(outlet, map(frame, range(1, 9)), until)
    assert sequences(take(prepared, 8)) == list(range(1, 9))
    assert time.monotonic() - started < 9
    assert stage.batches == [[1, 2, 3, 4], [5, 6, 7, 8]]


def test_a_batch_waits_for_company_only_so_long(station: Any, until: Until) -> None:
    stage = PlainStage()
    line = station(row(size=4, max_wait_ms=300), stage)
    outlet, prepared = line.ways()
    until(outlet.room)
    send_all(outlet, [frame(1), frame(2)], until)
    started = time.monotonic()
    line.start()
    assert sequences(take(prepared, 2)) == [1, 2]
    assert time.monotonic() - started >= 0.3
    assert stage.batches == [[1, 2]]


def test_without_waiting_time_nobody_waits(station: Any, until: Until) -> None:
    stage = PlainStage()
    line = station(row(size=4, max_wait_ms=0), stage)
    outlet, prepared = line.ways()
    until(outlet.room)
    line.start()
    for sequence in (1, 2, 3):
        send_all(outlet, [frame(sequence)], until)
        assert sequences(take(prepared, 1)) == [sequence]
    assert stage.batches == [[1], [2], [3]]


def test_messages_get_a_stamp_of_the_stage(station: Any, until: Until) -> None:
    line = station(row(), PlainStage())
    outlet, prepared = line.ways()
    until(outlet.room)
    before = time.monotonic_ns()
    send_all(outlet, [frame(1)], until)
    line.start()
    (message,) = take(prepared, 1)
    (stamp,) = message.stamps
    assert stamp.stage == "preprocessing"
    assert before <= stamp.received_monotonic_ns <= stamp.sent_monotonic_ns <= time.monotonic_ns()


def test_a_part_past_its_deadline_is_answered_and_not_computed(station: Any, until: Until) -> None:
    stage = PlainStage()
    line = station(row(size=3, max_wait_ms=1000), stage)
    outlet, prepared = line.ways()
    failures = line.inlet("preprocessing", "failure")
    until(outlet.room)
    send_all(outlet, [frame(1), frame(2, time.monotonic_ns()), frame(3)], until)
    line.start()
    (failure,) = take(failures, 1)
    assert (failure.part.sequence, failure.reason) == (2, Reason.DEADLINE)
    assert sequences(take(prepared, 2)) == [1, 3]
    assert stage.batches == [[1, 3]]


def test_a_device_that_has_failed_ends_the_process_and_no_part_is_tried_again(
    station: Any, until: Until
) -> None:
    def fail(part: Part) -> None:
        raise DeviceError("the GPU has failed")

    stage = PlainStage(fail)
    line = station(row(size=2, max_wait_ms=10_000), stage)
    outlet, _ = line.ways()
    until(outlet.room)
    line.start()
    send_all(outlet, map(frame, (1, 2)), until)
    until(line.ended)
    assert (line.code, line.beats[-1].fault) == (1, "the GPU has failed")
    assert stage.batches == [[1, 2]]
    assert stage.closed == 1


def test_an_exception_costs_only_the_guilty_part(
    station: Any, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    def spoil(part: Part) -> None:
        if part.sequence in (2, 5):
            raise ZeroDivisionError(f"part {part.sequence}")

    caplog.set_level(logging.INFO)
    line = station(row(size=6, max_wait_ms=2000), PlainStage(spoil))
    outlet, prepared = line.ways()
    failures = line.inlet("preprocessing", "failure")
    until(outlet.room)
    send_all(outlet, map(frame, range(1, 7)), until)
    line.start()
    answered = take(failures, 2)
    assert sequences(answered) == [2, 5]
    assert {failure.reason for failure in answered} == {Reason.STAGE_FAULT}
    assert answered[0].text == "preprocessing failed: ZeroDivisionError: part 2"
    assert sequences(take(prepared, 4)) == [1, 3, 4, 6]
    assert any(record.exc_info for record in caplog.records), "the traceback is in the log"
    named = {getattr(record, "part", None) for record in caplog.records}
    assert f"L3-{SESSION}-000002" in named
    until(lambda: line.turn() and line.beats and line.beats[-1].failed == 2)


def test_a_damaged_message_becomes_a_failure_of_its_part(station: Any, until: Until) -> None:
    stage = PlainStage()
    line = station(row(), stage)
    raw, failures = line.raw("acquisition", "captured"), line.inlet("preprocessing", "failure")
    prepared = line.inlet("preprocessing", "prepared")
    line.start()
    *head, _pixels = Encoder().encode(frame(1))
    raw.send_multipart([*head, b"short"])
    raw.send_multipart([b"noise"])
    raw.send_multipart(Encoder().encode(frame(3)))
    (failure,) = take(failures, 1)
    assert (failure.part.sequence, failure.reason) == (1, Reason.MESSAGE_DAMAGED)
    assert sequences(take(prepared, 1)) == [3]
    until(lambda: line.turn() and line.beats and line.beats[-1].damaged == 2)
    assert line.beats[-1].received == {"captured": 3}


def test_decision_takes_a_damaged_result_as_a_failure(station: Any, until: Until) -> None:
    stage = PlainStage()
    line = station(row_named("decision"), stage)
    raw = line.raw("segmentation", "result")
    line.start()
    result = InspectionResult(
        Part(3, SESSION, 4), "b", 0.5, (), SMALL, SMALL, np.zeros((4, 4), np.float16)
    )
    raw.send_multipart(Encoder().encode(result)[:-1])
    until(lambda: stage.messages)
    (failure,) = stage.messages
    assert isinstance(failure, Failure)
    assert (failure.part.sequence, failure.reason) == (4, Reason.MESSAGE_DAMAGED)


def test_a_slow_consumer_holds_up_the_line_and_loses_nothing(station: Any, until: Until) -> None:
    class Copying(PlainStage):
        def take(self, messages: Sequence[Message]) -> Iterable[Message]:
            self.messages += messages
            for message in messages:
                assert isinstance(message, CapturedFrame)
                yield PreparedFrame(message.part, 9, message.image[..., None], SMALL)

    line = station(row(), Copying())
    outlet = line.outlet("acquisition", "captured", capacity=2)
    prepared = line.inlet("preprocessing", "prepared", capacity=2)
    until(outlet.room)
    line.start()
    wanted, sent = 80, 0

    def stuck() -> bool:
        """Until a whole second passes in which nothing more can be handed in."""
        nonlocal sent
        line.turn()
        while sent < wanted and outlet.send(frame(sent + 1, image=LARGE)):
            sent += 1
        counts = [beat.sent.get("prepared", 0) for beat in line.beats[-5:]]
        return len(counts) == 5 and len(set(counts)) == 1 and counts[0] > 0

    until(stuck)
    assert sent < wanted, "a consumer that takes nothing must be felt at the camera"
    got: list[int] = []

    def all_taken() -> bool:
        nonlocal sent
        line.turn()
        while sent < wanted and outlet.send(frame(sent + 1, image=LARGE)):
            sent += 1
        message = prepared.receive()
        got.extend([message.part.sequence] if message else [])
        return len(got) == wanted

    until(all_taken)
    assert got == list(range(1, wanted + 1))
    until(lambda: line.turn() and line.beats and line.beats[-1].sent == {"prepared": wanted})
    assert line.beats[-1].received == {"captured": wanted}
    assert line.beats[-1].dropped == 0


def test_orders_reach_the_stage_and_stop_ends_it(station: Any, until: Until) -> None:
    stage = PlainStage()
    line = station(row(), stage)
    line.start()
    until(lambda: line.turn() and stage.orders and stage.orders[-1] == line.order)
    until(lambda: line.turn() and line.beats and line.beats[-1].capturing)
    foreign = LineOrder("other", line.order.state, "", 2, stop=("preprocessing",))
    mine, line.order = line.order, foreign
    line.turn()
    line.order = LineOrder(SESSION, mine.state, "going on", 3, stop=("decision",))
    until(lambda: line.turn() and stage.orders[-1] == line.order)
    assert foreign not in stage.orders
    until(lambda: line.turn() and line.beats and not line.beats[-1].capturing)
    line.order = LineOrder(SESSION, mine.state, "", 4, stop=("preprocessing",))
    until(line.ended)
    assert (line.code, stage.closed) == (0, 1)
    assert stage.orders[-1] == line.order, "the last tick knows why it ends"
    until(lambda: line.turn() and line.beats and line.beats[-1].fault == "")


def test_what_has_arrived_is_still_done_at_the_end(station: Any, until: Until) -> None:
    class LateStage(PlainStage):
        def open(self) -> None:
            ports = line.loop._ports
            arrived = (ports.control.socket, ports._inlets[0].socket)
            until(lambda: line.turn() and all(socket.poll(0) for socket in arrived))

    line = station(row(), LateStage())
    outlet, prepared = line.ways()
    until(outlet.room)
    line.order = LineOrder(SESSION, line.order.state, "", 4, stop=("preprocessing",))
    send_all(outlet, [frame(1)], until)
    line.start()
    assert sequences(take(prepared, 1)) == [1]
    until(line.ended)


def test_terminate_ends_the_loop(station: Any, until: Until) -> None:
    stage = PlainStage()
    line = station(row(), stage)
    line.start()
    until(lambda: line.turn() and line.beats)
    line.loop.terminate()
    until(line.ended)
    assert (line.code, stage.closed) == (0, 1)


def test_a_stage_without_orders_ends_by_itself(
    station: Any, until: Until, skew_ns: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    stage = PlainStage()
    line = station(row(), stage)
    line.start()
    until(lambda: line.turn() and line.order in stage.orders)
    skew_ns[0] += 6 * SECOND_NS
    until(lambda: line.turn() and len(stage.orders) > 2)
    seen = len(stage.orders)
    until(lambda: len(stage.orders) > seen + 3)
    assert line.code is None
    skew_ns[0] += 11 * SECOND_NS
    until(lambda: line.code is not None)
    assert (line.code, stage.closed) == (0, 1)
    assert "the supervisor is gone" in caplog.text


@pytest.mark.parametrize("slow", ["open", "take"])
def test_slow_work_is_not_taken_for_a_lost_supervisor(
    station: Any, until: Until, skew_ns: list[int], slow: str
) -> None:
    class Slow(PlainStage):
        def open(self) -> None:
            if slow == "open":
                until(self._told_meanwhile)

        def take(self, messages: Sequence[Message]) -> Iterable[Message]:
            if slow == "take":
                until(self._told_meanwhile)
            return super().take(messages)

        def _told_meanwhile(self) -> bool:
            """Half a minute passes, in which the supervisor gives its orders as ever."""
            skew_ns[0] += 30 * SECOND_NS
            return bool(line.turn() and line.loop._ports.control.socket.poll(0))

    stage = Slow()
    line = station(row(), stage)
    outlet, prepared = line.ways()
    until(outlet.room)
    send_all(outlet, [frame(1, deadline_ns=2**62)], until)
    line.start()
    assert sequences(take(prepared, 1)) == [1]
    seen = len(stage.orders)
    until(lambda: len(stage.orders) > seen + 3)
    assert line.code is None


class ClockStage(PlainStage):
    """Wants a tick at certain times; `due_ns` None: whenever something else wakes the loop."""

    def __init__(self, period_ns: int | None = None) -> None:
        super().__init__()
        self._period_ns = period_ns
        self.ticks_ns: list[int] = []

    def tick(self, now_monotonic_ns: int, order: LineOrder, room: bool) -> Iterable[Message]:
        self.ticks_ns.append(now_monotonic_ns)
        return ()

    def due_ns(self, now_monotonic_ns: int) -> int:
        if self._period_ns is None or not self.ticks_ns:
            return NEVER_NS
        return self.ticks_ns[-1] + self._period_ns


def test_a_stage_is_ticked_when_it_is_due(station: Any, until: Until) -> None:
    stage = ClockStage(period_ns=20_000_000)
    line = station(row(), stage)
    line.start()
    until(lambda: len(stage.ticks_ns) > 50)
    gaps_ns = np.diff(stage.ticks_ns)
    assert np.median(gaps_ns) < 100_000_000, "by itself it would be ticked four times a second"
    assert np.median(gaps_ns) >= 20_000_000, "not before it is due"


def test_a_bell_wakes_the_loop(station: Any, until: Until) -> None:
    stage = ClockStage()
    line = station(row(), stage)
    line.start()
    until(lambda: stage.ticks_ns)
    started = time.monotonic()
    for _ in range(40):
        seen = len(stage.ticks_ns)
        line.bell.ring()
        until(lambda seen=seen: len(stage.ticks_ns) > seen)
    assert time.monotonic() - started < 5, "40 ticks would take 10 s"


def test_an_idle_stage_sleeps(station: Any, until: Until) -> None:
    stage = ClockStage()
    line = station(row(), stage)
    line.start()
    until(lambda: stage.ticks_ns)
    began, seen = time.monotonic(), len(stage.ticks_ns)
    for _ in range(4):
        assert line.control.beat(5000) is not None
    ticks, passed_s = len(stage.ticks_ns) - seen, time.monotonic() - began
    assert ticks <= 2 * passed_s / 0.25 + 4, "it wakes for nothing"
