"""Beats and orders: what the two ends of the control channel say, as bytes and back."""

from __future__ import annotations

import msgspec
import pytest

from pipeline.control import (
    Answer,
    Beat,
    Command,
    Encoder,
    LineOrder,
    LineState,
    LineStatistics,
    Percentiles,
    Request,
    StageLoad,
    StageReport,
    Transition,
    TruthCount,
)
from pipeline.messages import Reason, Verdict

STATISTICS = LineStatistics(
    announced=3,
    verdicts={Verdict.PASS: 2, Verdict.REJECT: 1, Verdict.UNINSPECTED: 0},
    reasons={Reason.BELOW_THRESHOLD: 2, Reason.ABOVE_THRESHOLD: 1},
    latency_ms={"end_to_end": Percentiles(1.0, 2.0, 3.0)},
    parts_per_second=5.5,
    truth=TruthCount(0, 1, 0, 3),
    bundle_id="b",
    calibration_id="c",
)
BEAT = Beat(
    stage="decision",
    worker=0,
    pid=12,
    session="s",
    ready=True,
    capturing=False,
    received={"result": 3},
    sent={},
    failed=0,
    damaged=1,
    dropped=2,
    resident_mb=80.5,
    report=StageReport(3, 2, True, False, "broker away", STATISTICS),
    fault="no disk",
    exit_code=1,
    load=StageLoad(
        {1: 4, 8: 20},
        3,
        Percentiles(1, 2, 3),
        copy_ms={"segmentation": Percentiles(0.1, 0.2, 0.3)},
        device_ms={"segmentation": Percentiles(4, 5, 6)},
        costs_ms=((1, 60.5), (8, 333.0)),
    ),
)
ORDER = LineOrder(
    "s",
    LineState.STOPPING,
    "asked to stop",
    5,
    True,
    ("acquisition",),
    9,
    costs_ms={"decision": ((1, 0.25),)},
)


def test_a_beat_comes_back_as_it_was() -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(BEAT), type=Beat) == BEAT


def test_commands_answers_and_transitions_come_back_as_they_were() -> None:
    encoder = Encoder(12.5, 250.0, 7)
    request = Request("a", Command.SET_ENCODER, encoder=encoder)
    report = StageReport(alarm="denied", requests=(request,))
    beat = msgspec.structs.replace(BEAT, report=report)
    answer = Answer("a", Command.SET_ENCODER, False, "why not", LineState.PAUSED, 8)
    change = Transition(3, LineState.PAUSED, "command pause", 9)
    order = LineOrder(
        "s",
        LineState.PAUSED,
        "command pause",
        9,
        recipe="cap_b",
        batch="B",
        encoder=encoder,
        answers=(answer,),
        transitions=(change,),
    )
    for message in (beat, order):
        assert (
            msgspec.msgpack.decode(msgspec.msgpack.encode(message), type=type(message)) == message
        )


def test_a_belt_goes_on_at_its_speed() -> None:
    encoder = Encoder(100.0, 50.0, 2_000_000_000)
    assert encoder.position_at(4_000_000_000) == 200.0
    assert encoder.position_at(1_000_000_000) == 50.0


def test_an_order_comes_back_as_it_was() -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(ORDER), type=LineOrder) == ORDER


@pytest.mark.parametrize("kind", [Beat, LineOrder])
def test_another_version_or_field_is_refused(kind: type[Beat] | type[LineOrder]) -> None:
    message = BEAT if kind is Beat else ORDER
    sound = msgspec.to_builtins(message)
    assert msgspec.convert(sound, kind) == message
    for wrong in ({**sound, "schema": "beat/2"}, {**sound, "mood": "good"}, {"schema": "x"}):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(wrong, kind)


def test_beats_and_orders_stay_small() -> None:
    costs = tuple((size, 100.125 * size) for size in range(1, 65))
    batches = dict.fromkeys(range(1, 257), 10**6)
    load = StageLoad(batches, 10**6, Percentiles(1, 2, 3), Percentiles(1, 2, 3), costs)
    beat = msgspec.structs.replace(BEAT, load=load)
    order = msgspec.structs.replace(ORDER, costs_ms=dict.fromkeys("abcd", costs))
    assert len(msgspec.msgpack.encode(beat)) < 4096
    assert len(msgspec.msgpack.encode(order)) < 4096


def test_nothing_can_be_changed_on_the_way() -> None:
    for message, name in ((BEAT, "ready"), (ORDER, "capture"), (STATISTICS, "announced")):
        with pytest.raises(AttributeError):
            setattr(message, name, getattr(message, name))


def test_an_order_captures_nothing_unless_it_says_so() -> None:
    order = LineOrder("s", LineState.PREOPERATIONAL, "starting", 0)
    assert not order.capture
    assert order.stop == ()
