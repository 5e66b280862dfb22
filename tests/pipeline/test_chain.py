"""Several stages in one process: what passes from one to the next, and what a fault costs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
import pytest

from loop_parts import PlainStage, Until, frame, row, send_all, sequences, take
from pipeline.chain import Chain, Link, build_stage
from pipeline.config import LineConfig
from pipeline.control import LineOrder, LineState, StageReport
from pipeline.errors import DeviceError
from pipeline.line import row_named, rows
from pipeline.messages import CapturedFrame, Failure, Message, Part, PreparedFrame, Reason, Stamp
from pipeline.stage import NO_VIEW, OverlappingStage, Stage, StageContext

LOG = logging.getLogger("chain")
WITH = {"stages.segmentation": {"with": "reconstruction"}}


class Step:
    """Puts its stamp on every part. `spoil` raises on some; those of `refuse` become failures."""

    def __init__(
        self,
        name: str,
        spoil: Callable[[Part], None] = lambda _part: None,
        refuse: Sequence[int] = (),
        said: list[str] | None = None,
    ) -> None:
        self.name, self._spoil, self._refuse = name, spoil, refuse
        self.batches: list[list[int]] = []
        self.said = [] if said is None else said

    def open(self) -> None:
        self.said.append(f"open {self.name}")

    def take(self, messages: Sequence[Message]) -> Iterable[Message]:
        self.batches.append(sequences(messages))
        for message in messages:
            self._spoil(message.part)
            if message.part.sequence in self._refuse:
                yield Failure(message.part, Reason.FRAME_BLACK, "black", self.name, NO_VIEW)
            else:
                assert isinstance(message, CapturedFrame | PreparedFrame)
                stamps = (*message.stamps, Stamp(self.name, 1, 2))
                yield msgspec.structs.replace(message, stamps=stamps)

    def tick(self, now_monotonic_ns: int, order: LineOrder, room: bool) -> Iterable[Message]:
        raise AssertionError("a chained stage does nothing by time")

    def report(self) -> StageReport:
        raise AssertionError("a chained stage reports nothing")

    def close(self) -> None:
        self.said.append(f"close {self.name}")


class Holding(Step):
    """Its device finishes the oldest batch each time that it is asked."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._held: list[list[Message]] = []

    def take(self, messages: Sequence[Message]) -> Iterable[Message]:
        self._held.append(list(super().take(messages)))
        return ()

    def settle(self, wait: bool) -> Iterable[Message]:
        while self._held:
            yield from self._held.pop(0)
            if not wait:
                return


def chain(*stages: Stage, most: int = 8) -> Chain:
    return Chain([Link(f"stage_{n}", stage, most) for n, stage in enumerate(stages, 1)], LOG)


def ways(messages: Iterable[Message]) -> dict[int, tuple[str, ...]]:
    """The stages that each part has passed, by its number."""
    return {
        message.part.sequence: tuple(stamp.stage for stamp in getattr(message, "stamps", ()))
        for message in messages
    }


def test_parts_pass_all_stages_in_their_order_and_together() -> None:
    stages = Step("a"), Step("b"), Step("c")
    made = list(chain(*stages).take([frame(1), frame(2), frame(3)]))
    assert ways(made) == dict.fromkeys((1, 2, 3), ("a", "b", "c"))
    assert [stage.batches for stage in stages] == [[[1, 2, 3]]] * 3


def test_a_later_stage_takes_no_more_at_once_than_its_batches_hold() -> None:
    first, second = Step("a"), Step("b")
    made = chain(first, second, most=2).take([frame(n) for n in range(1, 6)])
    assert sequences(made) == [1, 2, 3, 4, 5]
    assert (first.batches, second.batches) == ([[1, 2, 3, 4, 5]], [[1, 2], [3, 4], [5]])


def test_a_part_that_has_failed_leaves_the_chain() -> None:
    first, second = Step("a", refuse=[2]), Step("b")
    made = {message.part.sequence: message for message in chain(first, second).take(frames(3))}
    assert second.batches == [[1, 3]]
    refused = made[2]
    assert isinstance(refused, Failure)
    assert (refused.reason, refused.stage) == (Reason.FRAME_BLACK, "a")
    assert list(chain(Step("a", refuse=[1]), second).take(frames(1))) != []
    assert second.batches == [[1, 3]], "a stage is given no empty batch"


def frames(count: int) -> list[Message]:
    return [frame(number) for number in range(1, count + 1)]


def divide(part: Part) -> None:
    if part.sequence in (2, 5):
        raise ZeroDivisionError(f"part {part.sequence}")


def test_a_fault_in_a_later_stage_costs_only_the_guilty_parts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    first, second = Step("a"), Step("b", divide)
    made = list(chain(first, second).take(frames(6)))
    faults = [message for message in made if isinstance(message, Failure)]
    assert sequences(faults) == [2, 5]
    assert {fault.reason for fault in faults} == {Reason.STAGE_FAULT}
    assert faults[0].text == "stage_2 failed: ZeroDivisionError: part 2"
    assert ways(made) == {
        number: ("a",) if number in (2, 5) else ("a", "b") for number in range(1, 7)
    }
    assert first.batches == [[1, 2, 3, 4, 5, 6]], "what was done before is not done again"
    assert any(record.exc_info for record in caplog.records), "the traceback is in the log"
    named = {getattr(record, "part", None) for record in caplog.records}
    assert {faults[0].part.part_id, faults[1].part.part_id} <= named


def test_a_fault_in_the_first_stage_is_the_business_of_the_loop() -> None:
    first, second = Step("a", divide), Step("b")
    with pytest.raises(ZeroDivisionError):
        list(chain(first, second).take(frames(3)))
    assert second.batches == []


def test_a_device_that_has_failed_is_not_tried_again() -> None:
    def fail(part: Part) -> None:
        raise DeviceError("the GPU has failed")

    second = Step("b", fail)
    with pytest.raises(DeviceError):
        list(chain(Step("a"), second).take(frames(3)))
    assert second.batches == [[1, 2, 3]]


def test_what_one_stage_has_finished_goes_through_those_after_it() -> None:
    first, second = Holding("a"), Step("b")
    both = chain(first, second)
    assert isinstance(both, OverlappingStage)
    for number in (1, 2, 3):
        assert list(both.take([frame(number)])) == []
    assert ways(both.settle(False)) == {1: ("a", "b")}
    assert second.batches == [[1]]
    assert ways(both.settle(True)) == {2: ("a", "b"), 3: ("a", "b")}
    assert second.batches == [[1], [2, 3]], "what comes at once is taken at once"
    assert list(both.settle(True)) == []


def test_nothing_stays_in_flight_in_any_stage_that_is_waited_for() -> None:
    both = chain(Holding("a"), Holding("b"), Holding("c"))
    assert list(both.take(frames(2))) == []
    assert ways(both.settle(True)) == dict.fromkeys((1, 2), ("a", "b", "c"))
    assert list(both.take(frames(1))) == []
    assert ways(both.settle(False)) == {1: ("a", "b", "c")}, "and each is asked in one round"


def test_a_later_stage_is_asked_for_what_it_has_finished() -> None:
    both = chain(Step("a"), Holding("b"))
    assert list(both.take(frames(2))) == []
    assert ways(both.settle(False)) == dict.fromkeys((1, 2), ("a", "b"))


def test_all_are_opened_and_closed() -> None:
    said: list[str] = []
    both = chain(Step("a", said=said), Step("b", said=said))
    both.open()
    assert said == ["open a", "open b"]
    both.close()
    assert said == ["open a", "open b", "close b", "close a"]


def test_those_before_one_that_cannot_be_opened_are_closed() -> None:
    class Broken(Step):
        def open(self) -> None:
            raise DeviceError("no such device")

    said: list[str] = []
    with pytest.raises(DeviceError):
        chain(Step("a", said=said), Broken("b"), Step("c", said=said)).open()
    assert said == ["open a", "close a"]


def test_one_that_fails_in_closing_leaves_no_other_open() -> None:
    class Broken(Step):
        def close(self) -> None:
            raise OSError("stuck")

    said: list[str] = []
    both = chain(Step("a", said=said), Broken("b", said=said))
    both.open()
    with pytest.raises(OSError, match="stuck"):
        both.close()
    assert said == ["open a", "open b", "close a"]


def test_nothing_is_due_by_time_and_there_is_nothing_to_report() -> None:
    both = chain(Step("a"), Step("b"))
    order = LineOrder("s", LineState.RUNNING, "", 1)
    assert list(both.tick(0, order, True)) == []
    assert both.report() == StageReport()


def test_the_stages_of_joined_rows_are_built_as_a_chain(
    make_config: Callable[..., LineConfig],
) -> None:
    config = make_config({**WITH, "batch.size": 5})
    table = rows(config)
    context = StageContext(config, "s", 0, LOG)
    both = build_stage(row_named("reconstruction+segmentation", table), context)
    assert isinstance(both, Chain)
    assert [(link.name, link.most) for link in both._links] == [
        ("reconstruction", 5),
        ("segmentation", 5),
    ]
    assert not isinstance(build_stage(row_named("preprocessing", table), context), Chain)


def test_the_loop_runs_a_chain_like_a_stage(station: Any, until: Until) -> None:
    """The loop asks again for what is in flight, and a fault behind it costs one part."""
    spoilt = Step("b", divide)
    line = station(row(size=3, max_wait_ms=10_000), chain(InFlight("a"), spoilt))
    outlet, prepared = line.ways()
    failures = line.inlet("preprocessing", "failure")
    until(outlet.room)
    line.start()
    send_all(outlet, frames(6), until)
    got = take(prepared, 4)
    assert sorted(ways(got).items()) == [
        (number, ("b", "preprocessing")) for number in (1, 3, 4, 6)
    ]
    assert sorted(sequences(take(failures, 2))) == [2, 5]
    sizes = sorted(map(len, spoilt.batches))
    assert sizes[:6] == [1] * 6
    assert sizes[6:] in ([3, 3], [6])  # both may come back by the same question
    until(lambda: line.turn() and line.beats and line.beats[-1].load.batches == {3: 2})


class InFlight(PlainStage):
    """Prepares frames; a batch comes back when it has been asked for three times."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._asked, self._made = 0, list[Message]()

    def take(self, messages: Sequence[Message]) -> Iterable[Message]:
        self._made += super().take(messages)
        return ()

    def settle(self, wait: bool) -> Iterable[Message]:
        self._asked += 1
        if not wait and self._asked % 3:
            return []
        made, self._made = self._made, []
        return made
