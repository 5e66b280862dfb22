"""Beats and orders: what the two ends of the control channel say, as bytes and back."""

from __future__ import annotations

import msgspec
import pytest

from pipeline.control import (
    Beat,
    LineOrder,
    LineState,
    LineStatistics,
    Percentiles,
    StageReport,
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
)
ORDER = LineOrder("s", LineState.STOPPING, "asked to stop", 5, True, ("acquisition",), 9)


def test_a_beat_comes_back_as_it_was() -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(BEAT), type=Beat) == BEAT


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


def test_nothing_can_be_changed_on_the_way() -> None:
    for message, name in ((BEAT, "ready"), (ORDER, "capture"), (STATISTICS, "announced")):
        with pytest.raises(AttributeError):
            setattr(message, name, getattr(message, name))


def test_an_order_captures_nothing_unless_it_says_so() -> None:
    order = LineOrder("s", LineState.PREOPERATIONAL, "starting", 0)
    assert not order.capture
    assert order.stop == ()
