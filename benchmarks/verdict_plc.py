"""The simulated PLC as a reader of verdicts: it works its gate and acknowledges rejects besides."""

from __future__ import annotations

import threading
import time
from collections import defaultdict

import msgspec

from benchmarks.verdict_reader import wait_for
from pipeline.config import LineConfig
from pipeline.errors import LineError
from plc.access import access_of
from plc.payloads import VerdictPayload
from plc.simulator import PlcSimulator

ANSWER_S = 10.0


class SimulatedPlc:
    """Notes when the simulator has read each verdict; it speaks JSON only.

    The simulator runs in a thread of its own, as often as something comes and 200 times a second.
    """

    def __init__(self, config: LineConfig) -> None:
        access = access_of(config.mqtt)
        self._address = access.address
        self._heard: defaultdict[int, list[int]] = defaultdict(list)
        self._count = 0
        self._simulator = PlcSimulator(config, access, hear=self._hear)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="simulated-plc", daemon=True)

    @property
    def count(self) -> int:
        """Verdicts so far."""
        return self._count

    def start(self) -> None:
        """Listen. Raises LineError where the broker does not answer."""
        self._simulator.start()
        self._thread.start()
        if not wait_for(lambda: self._simulator.connected, ANSWER_S):
            raise LineError(f"MQTT broker {self._address} does not answer the simulated PLC")

    def close(self) -> None:
        """Leave the broker; what was heard stays."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        self._simulator.close()

    def arrivals(self) -> dict[int, list[int]]:
        """Monotonic nanoseconds of every arrival, by the parts' numbers."""
        return dict(self._heard)

    def _work(self) -> None:
        while not self._ended.is_set():
            self._simulator.step()

    def _hear(self, payload: msgspec.Struct, _retained: bool) -> None:
        if isinstance(payload, VerdictPayload):
            self._heard[payload.sequence].append(time.monotonic_ns())
            self._count += 1
