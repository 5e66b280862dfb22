"""A worker's sockets together: who hears whom, what waits, what is dropped, and the counts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import msgspec
import numpy as np
import pytest
import zmq

from pipeline.bell import Bell
from pipeline.config import LineConfig
from pipeline.control import LineOrder, LineState
from pipeline.line import Row, row_named
from pipeline.messages import (
    CapturedFrame,
    Evidence,
    Failure,
    InspectionResult,
    Message,
    Part,
    PreparedFrame,
    Reason,
    Verdict,
)
from pipeline.ports import DamagedMessageError, Ports
from pipeline.wire import Encoder, SupervisorControl, endpoint, new_context

MakeConfig = Callable[..., LineConfig]
Until = Callable[[Callable[[], object]], None]
OpenPorts = Callable[..., Ports]
SMALL = np.zeros((4, 4, 1), np.uint8)
LARGE = np.zeros((600, 600, 1), np.uint8)
SINK = Row(name="sink", module="", consumes=("prepared",))


def part(sequence: int) -> Part:
    return Part(3, "s", sequence)


def captured(sequence: int) -> CapturedFrame:
    return CapturedFrame(part(sequence), 9, LARGE)


def prepared(sequence: int, image: np.ndarray = LARGE) -> PreparedFrame:
    return PreparedFrame(part(sequence), 9, image, SMALL)


def failure(sequence: int) -> Failure:
    return Failure(part(sequence), Reason.STAGE_FAULT, "", "preprocessing", SMALL)


def evidence(sequence: int) -> Evidence:
    nothing = np.zeros((0, 0), np.float16)
    return Evidence(part(sequence), Verdict.PASS, (), SMALL, SMALL, nothing)


@pytest.fixture
def config(make_config: MakeConfig) -> LineConfig:
    return make_config({"stages.queue": 2, "stages.preprocessing": {"workers": 2}})


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def open_ports(config: LineConfig, opened: ExitStack) -> OpenPorts:
    def open_row(row: Row | str, worker: int = 0, bell: Bell | None = None) -> Ports:
        table_row = row_named(row) if isinstance(row, str) else row
        ports = Ports(table_row, worker, config, "s", bell or Bell())
        opened.callback(ports.close)
        return ports

    return open_row


def receive(ports: Ports, until: Until) -> Message:
    got: list[Message] = []

    def arrived() -> bool:
        message = ports.receive()
        got.extend([message] if message is not None else [])
        return bool(got)

    until(arrived)
    return got[0]


def test_each_consumer_hears_every_worker_of_every_producer(
    open_ports: OpenPorts, until: Until
) -> None:
    producers = [open_ports("preprocessing", worker) for worker in (0, 1)]
    consumer = open_ports(SINK)
    for sequence, producer in enumerate(producers, start=1):
        until(producer._outlets["prepared"].room)
        producer.put(prepared(sequence))
        producer.flush()
    assert {receive(consumer, until).part.sequence for _ in producers} == {1, 2}
    assert consumer.received == {"prepared": 2}
    assert [producer.sent for producer in producers] == [{"prepared": 1}, {"prepared": 1}]


def test_what_finds_no_room_waits_in_order_and_blocks(open_ports: OpenPorts, until: Until) -> None:
    producer = open_ports("preprocessing")
    for sequence in range(1, 31):
        producer.put(prepared(sequence))
    producer.flush()
    assert producer.blocked
    assert not producer.room()
    assert not producer.sent
    consumer = open_ports(SINK)
    taken: list[int] = []

    def all_taken() -> bool:
        producer.flush()
        message = consumer.receive()
        taken.extend([message.part.sequence] if message else [])
        return len(taken) == 30

    until(all_taken)
    assert taken == list(range(1, 31))
    assert not producer.blocked
    assert producer.sent == {"prepared": 30}
    assert producer.dropped == 0


def test_a_full_channel_holds_back_only_its_own(open_ports: OpenPorts, until: Until) -> None:
    producer = open_ports("preprocessing")
    consumer = open_ports(Row(name="sink", module="", consumes=("failure",)))
    until(producer._outlets["failure"].room)
    producer.put(prepared(1))
    producer.put(failure(2))
    producer.flush()
    assert receive(consumer, until).part.sequence == 2
    assert producer.blocked
    assert producer.sent == {"failure": 1}


def test_a_lossy_channel_drops_and_counts(open_ports: OpenPorts, until: Until) -> None:
    producer = open_ports("decision")
    producer.put(evidence(1))
    producer.flush()
    assert producer.dropped == 1
    assert not producer.blocked
    assert producer.room(), "a lossy channel never holds anybody up"
    consumer = open_ports(Row(name="sink", module="", consumes=("evidence",)))
    until(producer._outlets["evidence"].room)
    producer.put(evidence(2))
    producer.flush()
    assert receive(consumer, until).part.sequence == 2
    assert (producer.dropped, producer.sent["evidence"]) == (1, 1)


def test_channels_are_received_in_the_order_of_the_table(
    open_ports: OpenPorts, until: Until
) -> None:
    """Decision takes failures before results, whichever came first."""
    result = InspectionResult(part(1), "b", 0.5, (), SMALL, SMALL, np.zeros((4, 4), np.float16))
    producer, decision = open_ports("segmentation"), open_ports("decision")
    until(lambda: producer._outlets["result"].room() and producer._outlets["failure"].room())
    producer.put(result)
    producer.put(failure(2))
    producer.flush()
    until(lambda: all(inlet.socket.poll(0) for inlet in decision._inlets[1:]))
    assert [receive(decision, until).part.sequence for _ in range(2)] == [2, 1]


@pytest.mark.parametrize("stranger", [Part(3, "another", 7), Part(4, "s", 7)])
def test_a_part_of_another_line_or_session_is_refused(
    open_ports: OpenPorts, until: Until, stranger: Part
) -> None:
    producer, decision = open_ports("preprocessing"), open_ports("decision")
    until(producer._outlets["failure"].room)
    sound = failure(2)
    producer.put(msgspec.structs.replace(sound, part=stranger))
    producer.put(sound)
    producer.flush()
    until(lambda: decision._inlets[1].socket.poll(0))
    with pytest.raises(DamagedMessageError, match="another line or session") as caught:
        decision.receive()
    assert caught.value.part is None, "nobody here answers for it"
    assert receive(decision, until).part == sound.part


def test_a_flood_of_damaged_messages_holds_up_no_other_channel(
    open_ports: OpenPorts, config: LineConfig, opened: ExitStack, until: Until
) -> None:
    context = new_context()
    opened.callback(context.term)
    flood = opened.enter_context(context.socket(zmq.PUSH))
    flood.bind(endpoint(config.run_dir, "acquisition", 0, "announcement"))
    producer, decision = open_ports("segmentation"), open_ports("decision")
    until(producer._outlets["failure"].room)
    for _ in range(100):
        flood.send(b"?")
    for sequence in range(1, 6):
        producer.put(failure(sequence))
    producer.flush()
    announcements, failures = (decision._inlets[i].socket for i in (0, 1))
    until(lambda: announcements.poll(0))
    held_up, sound = 0, 0
    while sound < 5:
        until(lambda: failures.poll(0))
        for turn in range(100):
            try:
                message = decision.receive()
            except DamagedMessageError:
                continue
            assert message is not None
            assert message.channel == "failure"
            held_up, sound = max(held_up, turn), sound + 1
            break
        else:
            pytest.fail("a failure that was there waited behind 100 damaged announcements")
    assert decision.received["announcement"] >= 1, "the flood came in between"
    assert held_up <= 1, "damaged ones before a failure that was there"


def test_a_damaged_message_is_counted_and_named_with_its_channel(
    open_ports: OpenPorts, config: LineConfig, opened: ExitStack, until: Until
) -> None:
    consumer = open_ports("preprocessing")
    context = new_context()
    opened.callback(context.term)
    raw = opened.enter_context(context.socket(zmq.PUSH))
    raw.bind(endpoint(config.run_dir, "acquisition", 0, "captured"))
    *head, pixels = Encoder().encode(captured(5))
    raw.send_multipart([*head, bytes(pixels)[:-1]])
    until(lambda: consumer._inlets[0].socket.poll(0))
    with pytest.raises(DamagedMessageError) as caught:
        consumer.receive()
    assert (caught.value.channel, caught.value.part) == ("captured", part(5))
    assert consumer.received == {"captured": 1}


def test_an_order_or_a_message_ends_the_sleep(
    open_ports: OpenPorts, config: LineConfig, opened: ExitStack, until: Until
) -> None:
    context = new_context()
    opened.callback(context.term)
    supervisor = SupervisorControl(context, config.run_dir)
    opened.callback(supervisor.close)
    consumer, producer = open_ports(SINK), open_ports("preprocessing")
    until(producer._outlets["prepared"].room)
    producer.put(prepared(1, SMALL))
    producer.flush()
    consumer.wait(60_000)
    assert receive(consumer, until).part.sequence == 1

    def told() -> bool:
        supervisor.order(LineOrder("s", LineState.RUNNING, "", 1))
        consumer.wait(50)
        return consumer.control.order() is not None

    until(told)


def test_room_where_there_was_none_ends_the_sleep(open_ports: OpenPorts, until: Until) -> None:
    producer = open_ports("preprocessing")
    for sequence in range(1, 31):
        producer.put(prepared(sequence))
    producer.flush()
    assert producer.blocked
    consumer = open_ports(SINK)
    started = time.monotonic()
    with ThreadPoolExecutor(1) as other:
        taken = [other.submit(receive, consumer, until) for _ in range(30)]
        while producer.blocked:
            producer.wait(60_000)
            producer.flush()
    assert [one.result().part.sequence for one in taken] == list(range(1, 31))
    assert time.monotonic() - started < 50, "it slept to the end at least once"


def test_the_sleep_ends_when_room_comes_that_nothing_waits_for(
    open_ports: OpenPorts, until: Until
) -> None:
    """As a camera needs it whose parts wait."""
    producer = open_ports("preprocessing")
    assert not producer.room()
    started = time.monotonic()
    open_ports(SINK)
    open_ports(Row(name="others", module="", consumes=("failure",)))
    while not producer.room():
        producer.wait(60_000)
    assert time.monotonic() - started < 50


def test_the_bell_ends_one_sleep(open_ports: OpenPorts) -> None:
    bell = Bell()
    ports = open_ports(SINK, bell=bell)
    bell.ring()
    started = time.monotonic()
    ports.wait(60_000)
    assert time.monotonic() - started < 50
    assert not bell.hear()
