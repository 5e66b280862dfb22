"""Sockets: nothing waits, nothing is lost unnoticed, and either side may be restarted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import zmq

from pipeline.control import Beat, LineOrder, LineState, StageReport
from pipeline.errors import WireError
from pipeline.messages import CapturedFrame, Message, Part
from pipeline.wire import (
    Encoder,
    Inlet,
    Outlet,
    StageControl,
    SupervisorControl,
    endpoint,
    new_context,
)

Until = Callable[[Callable[[], object]], None]


@dataclass
class Wires:
    """Sockets of one test in a run folder of its own."""

    run_dir: Path
    context: Any
    opened: list[Any] = field(default_factory=list)

    @property
    def address(self) -> str:
        return endpoint(self.run_dir, "acquisition", 0, "captured")

    def outlet(self, capacity: int = 1000) -> Outlet:
        self.opened.append(Outlet(self.context, self.address, capacity))
        return self.opened[-1]

    def inlet(self, capacity: int = 1000) -> Inlet:
        self.opened.append(Inlet(self.context, [self.address], capacity, CapturedFrame))
        return self.opened[-1]


@pytest.fixture
def wires(run_dir: Path) -> Iterator[Wires]:
    wires = Wires(run_dir, new_context())
    yield wires
    for end in wires.opened:
        end.close()
    wires.context.term()


def frame(sequence: int, side: int = 4) -> CapturedFrame:
    return CapturedFrame(Part(3, "s", sequence), 9, np.full((side, side), sequence % 251, np.uint8))


def next_message(inlet: Inlet) -> Message:
    assert inlet.socket.poll(5000), "no message came"
    message = inlet.receive()
    assert message is not None
    return message


class Dying:
    """In place of the encoder: frames whose consumer goes after the first was taken."""

    def __init__(self, frames: list[Any], go: Callable[[], None]) -> None:
        self._frames, self._go = frames, go

    def encode(self, _message: Message) -> Dying:
        return self

    def __len__(self) -> int:
        return len(self._frames)

    def __iter__(self) -> Iterator[Any]:
        yield self._frames[0]
        self._go()
        yield from self._frames[1:]


@pytest.mark.parametrize("frames", [2, 3, 5])
def test_of_a_message_whose_consumer_goes_within_it_nothing_is_left(
    wires: Wires, until: Until, frames: int
) -> None:
    outlet, inlet = wires.outlet(), wires.inlet()
    until(outlet.room)
    encoder = outlet._encoder
    with outlet.socket.get_monitor_socket(zmq.EVENT_DISCONNECTED) as monitor:

        def go() -> None:
            inlet.close()
            assert monitor.poll(5000), "the consumer was not missed"
            outlet.room()

        outlet._encoder = Dying([b"x" * 9000] * frames, go)
        outlet.send(frame(1))  # taken for sent or not, as the socket notices it
        outlet.socket.disable_monitor()
    outlet._encoder = encoder
    following = wires.inlet()
    until(outlet.room)
    assert outlet.send(frame(2))
    read = next_message(following)
    assert isinstance(read, CapturedFrame)
    assert read.part.sequence == 2


class Refusing:
    """In place of a socket: its consumer goes while the second frame is sent."""

    def __init__(self) -> None:
        self.more: list[bool] = []

    def getsockopt(self, _option: int) -> int:
        return zmq.POLLOUT

    def send(self, _frame: object, flags: int, copy: bool) -> None:
        self.more.append(bool(flags & zmq.SNDMORE))
        if len(self.more) == 2:
            raise zmq.Again

    def close(self) -> None:
        """Nothing to close."""


def test_a_message_that_is_not_taken_whole_is_kept_and_its_other_frames_are_given_up(
    wires: Wires,
) -> None:
    outlet, refusing = wires.outlet(), Refusing()
    outlet.close()
    outlet._socket = refusing
    assert not outlet.send(frame(1))
    assert refusing.more[-1] is False, "the socket drops what comes before the end of the message"
    assert len(refusing.more) > 2


def test_frames_cross_a_socket_whole_and_read_only(wires: Wires, until: Until) -> None:
    outlet, inlet = wires.outlet(), wires.inlet()
    until(outlet.room)
    large = frame(1, side=500)
    assert outlet.send(large)
    read = next_message(inlet)
    assert isinstance(read, CapturedFrame)
    np.testing.assert_array_equal(read.image, large.image)
    assert not read.image.flags.writeable
    assert not read.image.flags.owndata
    assert inlet.receive() is None


def test_nobody_to_take_a_message_means_false(wires: Wires) -> None:
    outlet = wires.outlet()
    assert not outlet.room()
    assert not outlet.send(frame(1))


def test_a_full_outlet_says_so_and_loses_nothing(wires: Wires, until: Until) -> None:
    outlet, inlet = wires.outlet(capacity=2), wires.inlet(capacity=2)
    until(outlet.room)
    sent = 0
    while outlet.send(frame(sent + 1, side=600)):
        sent += 1
        assert sent < 500, "the outlet is never full"
    taken = [next_message(inlet).part.sequence for _ in range(sent)]
    assert taken == list(range(1, sent + 1))
    until(outlet.room)
    assert outlet.send(frame(sent + 1))
    assert next_message(inlet).part.sequence == sent + 1


def test_nothing_is_lost_when_the_consumer_reconnects(wires: Wires, until: Until) -> None:
    outlet, first = wires.outlet(), wires.inlet()
    until(outlet.room)
    assert all(outlet.send(frame(sequence)) for sequence in range(1, 51))
    taken = [next_message(first).part.sequence for _ in range(50)]
    first.close()
    until(lambda: not outlet.room())
    assert not outlet.send(frame(51))
    second = wires.inlet()
    until(outlet.room)
    assert all(outlet.send(frame(sequence)) for sequence in range(51, 101))
    taken += [next_message(second).part.sequence for _ in range(50)]
    assert taken == list(range(1, 101))


def test_a_producer_may_be_restarted_under_its_consumer(wires: Wires, until: Until) -> None:
    inlet, first = wires.inlet(), wires.outlet()
    until(first.room)
    assert first.send(frame(1))
    assert next_message(inlet).part.sequence == 1
    first.close()
    second = wires.outlet()
    until(second.room)
    assert second.send(frame(2))
    assert next_message(inlet).part.sequence == 2


def test_a_damaged_message_costs_only_itself(wires: Wires) -> None:
    inlet = wires.inlet()
    raw = wires.context.socket(zmq.PUSH)
    raw.bind(wires.address)
    wires.opened.append(raw)
    *sound, pixels = Encoder().encode(frame(7))
    raw.send_multipart([*sound, bytes(pixels)[1:]])
    raw.send_multipart([*Encoder().encode(frame(8))])
    assert inlet.socket.poll(5000)
    with pytest.raises(WireError) as caught:
        inlet.receive()
    assert caught.value.part == frame(7).part
    assert next_message(inlet).part.sequence == 8


def beat(stage: str = "decision") -> Beat:
    return Beat(
        stage, 0, 1, "s", True, False, {"result": 1}, {}, 0, 0, 0, 1.5, StageReport(last_sequence=4)
    )


@pytest.fixture
def controls(wires: Wires) -> tuple[SupervisorControl, StageControl]:
    supervisor = SupervisorControl(wires.context, wires.run_dir)
    stage = StageControl(wires.context, wires.run_dir)
    wires.opened += [supervisor, stage]
    return supervisor, stage


def test_beats_and_orders_come_through(
    controls: tuple[SupervisorControl, StageControl], until: Until
) -> None:
    supervisor, stage = controls
    assert stage.beat(beat())
    assert supervisor.beat(5000) == beat()
    assert supervisor.beat(0) is None
    assert stage.order() is None
    order = LineOrder("s", LineState.RUNNING, "ready", 1, capture=True, stop=("a", "b"))
    got: list[LineOrder | None] = []

    def arrived() -> bool:
        supervisor.order(order)  # repeated, as the supervisor does: the first may find no listener
        got.append(stage.order())
        return got[-1] is not None

    until(arrived)
    assert got[-1] == order


def test_a_late_reader_gets_the_newest_order(
    controls: tuple[SupervisorControl, StageControl], until: Until
) -> None:
    supervisor, stage = controls

    def order(number: int) -> LineOrder:
        return LineOrder("s", LineState.RUNNING, "", 1, last_sequence=number)

    def arrived() -> bool:
        supervisor.order(order(0))
        return stage.order() is not None

    until(arrived)
    for number in range(1, 200):
        supervisor.order(order(number))
    newest: list[LineOrder] = []

    def last_arrived() -> bool:
        got = stage.order()
        newest.extend([got] if got else [])
        return bool(newest) and newest[-1].last_sequence == 199

    until(last_arrived)
    assert len(newest) < 200


@pytest.mark.parametrize(
    "damage",
    [b"", b"\x00", b"\x81\xa6schema\xa2\xff\xfe", msgspec.msgpack.encode({"schema": "x/1"})],
)
def test_damaged_control_messages_are_wire_errors(wires: Wires, damage: bytes) -> None:
    supervisor = SupervisorControl(wires.context, wires.run_dir)
    raw = wires.context.socket(zmq.PUSH)
    raw.connect(f"ipc://{wires.run_dir}/control.beats")
    wires.opened += [supervisor, raw]
    raw.send(damage)
    with pytest.raises(WireError, match="beat cannot be read"):
        supervisor.beat(5000)


@pytest.mark.parametrize("frames", [[b"", b""], [msgspec.msgpack.encode(beat()), b"more"]])
def test_a_beat_is_one_frame(wires: Wires, frames: list[bytes]) -> None:
    supervisor = SupervisorControl(wires.context, wires.run_dir)
    raw = wires.context.socket(zmq.PUSH)
    raw.connect(f"ipc://{wires.run_dir}/control.beats")
    wires.opened += [supervisor, raw]
    raw.send_multipart(frames)
    raw.send(msgspec.msgpack.encode(beat()))
    with pytest.raises(WireError, match="beat cannot be read: 2 frames"):
        supervisor.beat(5000)
    assert supervisor.beat(5000) == beat()


def test_damaged_orders_are_counted_and_hide_no_sound_one(wires: Wires, until: Until) -> None:
    publisher = wires.context.socket(zmq.PUB)
    publisher.bind(f"ipc://{wires.run_dir}/control.orders")
    stage = StageControl(wires.context, wires.run_dir)
    wires.opened += [publisher, stage]

    def listens() -> bool:
        publisher.send(b"")
        return stage.order() is None and stage.damaged > 0

    until(listens)
    order = LineOrder("s", LineState.RUNNING, "ready", 1)
    before = stage.damaged
    publisher.send(b"\x81\xa7session\xa2\xff\xfe")
    publisher.send(msgspec.msgpack.encode(order))
    for _ in range(300):
        publisher.send_multipart([b"", b"two"])
    got: list[LineOrder | None] = []
    until(lambda: got.append(stage.order()) or stage.damaged >= before + 301)
    assert [item for item in got if item is not None] == [order]


def test_beats_without_a_supervisor_are_refused_in_the_end(wires: Wires) -> None:
    stage = StageControl(wires.context, wires.run_dir)
    wires.opened.append(stage)
    assert not all(stage.beat(beat()) for _ in range(20))
