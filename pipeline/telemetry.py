"""What a process can say of itself: latencies, memory, and the GPU (the only import of pynvml)."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import pynvml

from pipeline.control import Percentiles

_RATIO = 1.02
_LOWEST_MS = 0.01
_LAST_BUCKET = math.ceil(math.log(1e8) / math.log(_RATIO))


class LatencyHistogram:
    """Latencies in buckets of 2 %, from 10 us to a thousand seconds: exact counts, small memory."""

    def __init__(self, counts: Iterable[tuple[int, int]] = ()) -> None:
        self._counts: Counter[int] = Counter(dict(counts))

    def add(self, latency_ms: float) -> None:
        """Count one latency, in milliseconds."""
        exponent = math.log(max(latency_ms, _LOWEST_MS) / _LOWEST_MS) / math.log(_RATIO)
        self._counts[min(int(exponent), _LAST_BUCKET)] += 1

    def counts(self) -> tuple[tuple[int, int], ...]:
        """(bucket, count) of the buckets that are not empty, in order: all there is to store."""
        return tuple(sorted(self._counts.items()))

    def percentile(self, share: float) -> float:
        """The latency in milliseconds that `share` of all do not exceed; 0 if there are none."""
        wanted = max(1, math.ceil(share * self._counts.total()))
        seen = 0
        for bucket, count in self.counts():
            seen += count
            if seen >= wanted:
                return round(_LOWEST_MS * math.pow(_RATIO, bucket + 0.5), 3)
        return 0.0

    def percentiles(self) -> Percentiles:
        """p50, p90 and p99 in milliseconds."""
        return Percentiles(self.percentile(0.5), self.percentile(0.9), self.percentile(0.99))


def resident_mb() -> float:
    """Resident memory of this process in megabytes."""
    with open("/proc/self/statm", encoding="ascii") as file:
        pages = int(file.read().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@dataclass(frozen=True)
class GpuReading:
    """One GPU as NVML sees it."""

    name: str
    use_percent: int
    memory_mb: float
    temperature_c: int
    power_w: float


class GpuWatch:
    """Reads the GPUs every few seconds; a machine without one is asked once."""

    def __init__(self, period_s: float = 2.0) -> None:
        self._period_s = period_s
        self._due_s: float | None = 0.0
        self._readings: tuple[GpuReading, ...] = ()

    def readings(self, now_s: float) -> tuple[GpuReading, ...]:
        """The newest readings at `now_s`, monotonic seconds."""
        if self._due_s is not None and now_s >= self._due_s:
            self._readings = tuple(read_gpus())
            self._due_s = now_s + self._period_s if self._readings else None
        return self._readings


def read_gpus() -> list[GpuReading]:
    """Every GPU of the machine; empty where there is no GPU or no driver."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        return [_read_gpu(handle) for handle in handles]
    finally:
        pynvml.nvmlShutdown()


def _read_gpu(handle: object) -> GpuReading:
    name = pynvml.nvmlDeviceGetName(handle)
    return GpuReading(
        name=name if isinstance(name, str) else name.decode(),
        use_percent=pynvml.nvmlDeviceGetUtilizationRates(handle).gpu,
        memory_mb=pynvml.nvmlDeviceGetMemoryInfo(handle).used / 1e6,
        temperature_c=pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU),
        power_w=pynvml.nvmlDeviceGetPowerUsage(handle) / 1e3,
    )
