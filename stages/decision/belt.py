"""Where a part was on the belt when it was captured, and when it reaches the gate."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.config import Timing
from pipeline.control import Encoder

ENCODER_VALID_NS = 5_000_000_000
"""The PLC's last word on the belt counts for so long; it should repeat it every second."""


@dataclass(frozen=True)
class Belt:
    """`reject_distance`: from camera to gate, in the encoder's units; None: not configured."""

    reject_distance: float | None

    @classmethod
    def of(cls, timing: Timing) -> Belt:
        """The belt that a line is configured with."""
        distance_mm = timing.reject_distance_mm
        return cls(None if distance_mm is None else distance_mm / timing.mm_per_pulse)

    def position(self, encoder: Encoder | None, captured_ns: int) -> float | None:
        """The belt's position at the capture, None where the PLC has not said it of late."""
        if encoder is None or abs(captured_ns - encoder.at_monotonic_ns) > ENCODER_VALID_NS:
            return None
        return encoder.position_at(captured_ns)

    def reject_position(self, position: float | None) -> float | None:
        """The belt's position when the part is at the gate."""
        if position is None or self.reject_distance is None:
            return None
        return position + self.reject_distance

    def deadline_ns(self, encoder: Encoder | None, captured_ns: int, latest_ns: int) -> int:
        """When the part reaches the gate at the present speed, but never after `latest_ns`."""
        known = self.position(encoder, captured_ns) is not None
        if self.reject_distance is None or encoder is None or not known or encoder.speed <= 0:
            return latest_ns
        return min(latest_ns, captured_ns + round(self.reject_distance / encoder.speed * 1e9))
