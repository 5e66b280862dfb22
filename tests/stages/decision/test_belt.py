"""Positions and deadlines from an encoder."""

from __future__ import annotations

import pytest

from pipeline.config import Timing
from pipeline.control import Encoder
from stages.decision.belt import ENCODER_VALID_NS, Belt

S = 1_000_000_000
ENCODER = Encoder(position=100.0, speed=50.0, at_monotonic_ns=10 * S)


def test_positions_follow_the_belt_at_its_speed() -> None:
    belt = Belt(reject_distance=400.0)
    assert belt.position(ENCODER, 10 * S) == 100.0
    assert belt.position(ENCODER, 12 * S) == 200.0
    assert belt.position(ENCODER, 9 * S) == 50.0, "captured before the PLC spoke"
    assert belt.reject_position(200.0) == 600.0


@pytest.mark.parametrize(
    ("distance", "encoder", "captured_s"),
    [
        (400.0, None, 10),
        (400.0, ENCODER, 10 + ENCODER_VALID_NS // S + 1),
        (400.0, ENCODER, 10 - ENCODER_VALID_NS // S - 1),
    ],
)
def test_without_a_fresh_encoder_nothing_is_known(
    distance: float, encoder: Encoder | None, captured_s: int
) -> None:
    belt = Belt(distance)
    assert belt.position(encoder, captured_s * S) is None
    assert belt.reject_position(None) is None
    assert belt.deadline_ns(encoder, captured_s * S, 99 * S) == 99 * S


def test_the_deadline_is_when_the_part_is_at_the_gate_but_never_later_than_configured() -> None:
    belt = Belt(reject_distance=100.0)
    assert belt.deadline_ns(ENCODER, 10 * S, 99 * S) == 12 * S
    assert belt.deadline_ns(ENCODER, 10 * S, 11 * S) == 11 * S
    standing = Encoder(100.0, 0.0, 10 * S)
    assert belt.deadline_ns(standing, 10 * S, 99 * S) == 99 * S
    assert Belt(None).deadline_ns(ENCODER, 10 * S, 99 * S) == 99 * S
    assert Belt(None).reject_position(5.0) is None


def test_pulses_are_the_encoders_business() -> None:
    timing = Timing(deadline_ms=2000, reject_distance_mm=400.0, mm_per_pulse=0.5)
    assert Belt.of(timing).reject_distance == 800.0
    assert Belt.of(Timing(deadline_ms=2000)).reject_distance is None
