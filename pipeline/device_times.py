"""What batches took on a device: copying there and back, and computing.

A device tells it of each batch that has come back (`stages.in_flight`), and the beats of the loop
say what that came to. Several networks may share a process, so each has figures of its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from pipeline.control import Percentiles
from pipeline.telemetry import LatencyHistogram


class DeviceTimes:
    """Times of the batches of a process since it started, by the network that they were for."""

    def __init__(self) -> None:
        self._copies: defaultdict[str, LatencyHistogram] = defaultdict(LatencyHistogram)
        self._computing: defaultdict[str, LatencyHistogram] = defaultdict(LatencyHistogram)

    def add(self, network: str, copy_ms: float, compute_ms: float) -> None:
        """A batch has come back; `copy_ms`: there and back, 0 where nothing is copied."""
        if copy_ms > 0.0:
            self._copies[network].add(copy_ms)
        self._computing[network].add(compute_ms)

    def copy_ms(self) -> dict[str, Percentiles]:
        """Of a batch's copies together, by network; only where something is copied."""
        return _percentiles(self._copies)

    def device_ms(self) -> dict[str, Percentiles]:
        """Of a batch's computing on the device, by network."""
        return _percentiles(self._computing)


def _percentiles(histograms: Mapping[str, LatencyHistogram]) -> dict[str, Percentiles]:
    return {name: histogram.percentiles() for name, histogram in histograms.items()}
