"""Recorded, published, confirmed: what decision writes down, and what it tells after a restart.
With a real broker and real clocks.
"""

from __future__ import annotations

import json
import logging
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

from calibration.record import save_and_activate
from pipeline.config import LineConfig
from pipeline.control import Encoder, LineOrder, LineState, Transition
from pipeline.journal import segments
from pipeline.messages import Announcement, LedgerLine, PublishedNote, Reason, VerdictRecord
from pipeline.stage import StageContext
from plc.embedded_broker import EmbeddedBrokerStage
from stages.decision.stage import UNUSABLE, DecisionStage, missed_orders

WAIT_S = 20.0
S = 1_000_000_000


class Plc:
    """Sees everything that the line says."""

    def __init__(self, port: int, root: str) -> None:
        self.messages: queue.Queue[tuple[str, dict[str, Any]]] = queue.Queue()
        ready = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.on_connect = lambda client, *_: client.subscribe(f"{root}/#", qos=1)
        self._client.on_subscribe = lambda *_: ready.set()
        self._client.on_message = lambda _client, _data, message: self.messages.put(
            (message.topic.rpartition("/")[2], json.loads(message.payload))
        )
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert ready.wait(WAIT_S)

    def seen(self, *topics: str) -> list[tuple[str, Any]]:
        """What has come by now: verdicts by sequence, summaries by their ranges."""
        found = []
        while not self.messages.empty():
            topic, payload = self.messages.get()
            if topic in topics:
                found.append((topic, payload))
        return found

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


class Line:
    """Decision's processes of one session, one after the other, as the loop would run them."""

    def __init__(self, config: LineConfig, session: str) -> None:
        self.config, self.session = config, session
        self.order = LineOrder(session, LineState.RUNNING, "ready", 1)
        self.stages: list[DecisionStage] = []

    def start(self) -> DecisionStage:
        context = StageContext(self.config, self.session, 0, logging.getLogger("decision"))
        stage = DecisionStage(context)
        stage.open()
        self.stages.append(stage)
        return stage

    def kill(self, stage: DecisionStage) -> None:
        """As far as its own process goes; the broker only sees a connection that ends."""
        self.stages.remove(stage)
        stage._plc._connection.close(WAIT_S)

    def until(self, stage: DecisionStage, condition: Callable[[], object]) -> None:
        end_s = time.monotonic() + WAIT_S
        pace = threading.Event()
        while not condition():
            assert time.monotonic() < end_s, "the condition never came true"
            stage.tick(0, self.order, True)
            pace.wait(0.005)

    def lines(self, kind: type[LedgerLine]) -> list[Any]:
        decoder = msgspec.json.Decoder(LedgerLine)
        folder = self.config.ledger_folder
        files = [folder / part.file_name for part in segments(folder, self.session)]
        lines = [decoder.decode(line) for file in files for line in file.read_bytes().splitlines()]
        return [line for line in lines if isinstance(line, kind)]


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def broker(port: int) -> Iterator[EmbeddedBrokerStage]:
    broker = EmbeddedBrokerStage(port)
    broker.open()
    yield broker
    broker.close()


@pytest.fixture
def line(small_line: Callable[..., LineConfig], shop: Any, port: int) -> Iterator[Line]:
    config = small_line(
        **{
            "mqtt.broker": {"kind": "embedded", "port": port},
            "timing": {"deadline_ms": 5000, "margin_ms": 20, "reject_distance_mm": 100.0},
        }
    )
    line = Line(config, shop.session)
    yield line
    for stage in line.stages:
        stage.close()


@pytest.fixture
def plc(broker: EmbeddedBrokerStage, line: Line, port: int) -> Iterator[Plc]:
    plc = Plc(port, line.config.mqtt.topic_root)
    yield plc
    plc.close()


def announcement(shop: Any, sequence: int, in_s: float = 60.0) -> Announcement:
    now_ns = time.monotonic_ns()
    deadline_ns = now_ns + round(in_s * S)
    return Announcement(shop.part(sequence), now_ns, time.time_ns(), deadline_ns, "frame")


def test_a_verdict_is_recorded_then_sent_then_marked(line: Line, plc: Plc, shop: Any) -> None:
    stage = line.start()
    line.until(stage, lambda: plc.seen("status"))
    stage.take([announcement(shop, n) for n in (1, 2)])
    publish = stage._plc.publish_verdict
    recorded: list[bool] = []

    def watch(record: VerdictRecord) -> bool:
        recorded.append(record in line.lines(VerdictRecord))
        return publish(record)

    stage._plc.publish_verdict = watch
    stage.take([shop.result(1, 0.1), shop.result(2, 0.9)])
    assert recorded == [True, True]
    line.until(stage, lambda: line.lines(PublishedNote))
    line.until(stage, lambda: not stage._ledger.unpublished)
    marked = [pair for note in line.lines(PublishedNote) for pair in note.delivered]
    assert {n for first, last in marked for n in range(first, last + 1)} == {1, 2}


def test_a_new_process_sends_again_what_was_not_confirmed_and_only_that(
    line: Line, plc: Plc, shop: Any
) -> None:
    killed = line.start()
    line.until(killed, lambda: plc.seen("status"))
    killed.take([announcement(shop, n, in_s=0.001 if n == 3 else 60) for n in (1, 2, 3)])
    killed.take([shop.result(1, 0.1)])
    line.until(killed, lambda: line.lines(PublishedNote))
    line.kill(killed)
    killed.take([shop.result(2, 0.9), shop.result(3, 0.9)])  # recorded, but nobody hears it
    assert len(line.lines(VerdictRecord)) == 3
    plc.seen()
    stage = line.start()
    line.until(stage, lambda: not stage._ledger.unpublished)
    told = plc.seen("verdict", "undelivered")
    verdicts = [payload["sequence"] for topic, payload in told if topic == "verdict"]
    assert verdicts == [2], "1 was confirmed, and 3 has expired"
    lost = [payload["unconfirmed"] for topic, payload in told if topic == "undelivered"]
    assert lost == [[{"first": 3, "last": 3}]]


def test_verdicts_that_nobody_heard_are_named_by_the_next_process(
    line: Line, shop: Any, port: int
) -> None:
    killed = line.start()  # there is no broker
    killed.take([announcement(shop, n, in_s=0.05) for n in (1, 2, 3)])
    gone_s = time.monotonic() + 0.1
    line.until(killed, lambda: time.monotonic() > gone_s)
    line.kill(killed)
    assert len(line.lines(VerdictRecord)) == 3
    broker = EmbeddedBrokerStage(port)
    broker.open()
    plc = Plc(port, line.config.mqtt.topic_root)
    stage = line.start()
    line.until(stage, lambda: not stage._ledger.unpublished)
    told = plc.seen("verdict", "undelivered")
    assert [payload["unconfirmed"] for _, payload in told] == [[{"first": 1, "last": 3}]]
    assert line.lines(PublishedNote)[-1].undelivered == ((1, 3),)
    plc.close()
    stage.close()
    line.stages.clear()
    broker.close()


def test_parts_know_their_batch_and_their_place_on_the_belt(line: Line, shop: Any) -> None:
    stage = line.start()
    now_ns = time.monotonic_ns()
    encoder = Encoder(1000.0, 50.0, now_ns)
    line.order = msgspec.structs.replace(line.order, batch="B-7", encoder=encoder)
    stage.tick(0, line.order, True)
    stage.take([announcement(shop, 1)])
    stage.take([shop.failure(1)])
    (record,) = line.lines(VerdictRecord)
    assert (record.batch, record.recipe) == ("B-7", "default")
    assert record.encoder_position == pytest.approx(1000.0, abs=50)
    assert record.reject_position == record.encoder_position + 100.0
    allowed_ns = record.deadline_monotonic_ns - now_ns
    assert allowed_ns == pytest.approx(2 * S, abs=S), "two seconds for 100 mm at 50 mm/s"


def test_another_recipe_judges_by_another_calibration(
    line: Line, shop: Any, second_recipe: tuple[str, float]
) -> None:
    name, threshold = second_recipe
    stage = line.start()
    stage.take([announcement(shop, 1)])
    stage.take([shop.result(1, 0.4)])
    line.order = msgspec.structs.replace(line.order, recipe=name)
    stage.tick(0, line.order, True)
    stage.take([announcement(shop, n) for n in (2, 3)])
    stage.take([shop.result(2, 0.4, "bundle_b"), shop.result(3, 0.4)])
    records = line.lines(VerdictRecord)
    assert [(record.recipe, record.reason) for record in records] == [
        ("default", Reason.BELOW_THRESHOLD),
        (name, Reason.ABOVE_THRESHOLD),
        (name, Reason.MODEL_MISMATCH),
    ]
    assert (records[1].threshold, records[1].bundle_id) == (threshold, "bundle_b")
    assert stage.report().alarm == ""


def test_the_present_recipe_is_loaded_anew_when_it_is_selected_again(
    line: Line, shop: Any, tmp_path: Path
) -> None:
    """It has another bundle by now, at the same place, and the calibration of that."""
    stage = line.start()
    (tmp_path / "bundle" / "bundle.yaml").unlink()
    line.order = msgspec.structs.replace(line.order, loads=1)
    stage.tick(0, line.order, True)
    assert "recipe default cannot be used" in stage.report().alarm
    (tmp_path / "bundle" / "bundle.yaml").write_text("id: newer\n", encoding="utf-8")
    save_and_activate(
        tmp_path / "calibration", shop.calibration(bundle_id="newer", threshold=0.125)
    )
    line.order = msgspec.structs.replace(line.order, loads=2)
    stage.tick(0, line.order, True)
    stage.take([announcement(shop, 1)])
    stage.take([shop.result(1, 0.25, "newer")])
    (record,) = line.lines(VerdictRecord)
    assert (record.reason, record.threshold) == (Reason.ABOVE_THRESHOLD, 0.125)
    assert stage.report().alarm == ""


def test_a_recipe_that_broke_after_its_check_judges_nothing(
    line: Line, shop: Any, second_recipe: tuple[str, float], tmp_path: Path
) -> None:
    name, _ = second_recipe
    (tmp_path / "bundle_b" / "bundle.yaml").unlink()
    stage = line.start()
    line.order = msgspec.structs.replace(line.order, recipe=name)
    stage.tick(0, line.order, True)
    stage.take([announcement(shop, n) for n in (1, 2)])
    stage.take([shop.result(1, 0.1), shop.result(2, 0.1, bundle="")])
    assert {record.reason for record in line.lines(VerdictRecord)} == {Reason.MODEL_MISMATCH}
    assert "no model bundle" in stage.report().alarm
    assert stage._ledger.rule.bundle_id == UNUSABLE


def test_every_state_goes_out_even_if_only_the_last_order_is_seen() -> None:
    before = LineOrder("s", LineState.RUNNING, "a", 1, transitions=(change(1, "RUNNING"),))
    passed = [change(n, state) for n, state in ((2, "STOPPING"), (3, "READY"), (4, "RUNNING"))]
    order = LineOrder(
        "s", LineState.RUNNING, "cause 4", 4, transitions=(*before.transitions, *passed)
    )
    assert [(past.state, past.cause) for past in missed_orders(before, order)] == [
        ("STOPPING", "cause 2"),
        ("READY", "cause 3"),
    ]
    assert missed_orders(order, order) == []
    first = LineOrder("s", LineState.PREOPERATIONAL, "starting", 0)
    assert missed_orders(first, order) == [], "a new process does not tell old stories"


def change(number: int, state: str) -> Transition:
    return Transition(number, LineState(state), f"cause {number}", number)
