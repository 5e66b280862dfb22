"""What a process can say of itself: latencies, memory, and the GPU (the only import of pynvml)."""

from __future__ import annotations

import logging
import math
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import pynvml

from pipeline.control import Percentiles

_RATIO = 1.02
_LOWEST_MS = 0.01
_LAST_BUCKET = math.ceil(math.log(1e8) / math.log(_RATIO))

HANGING_S, LOOK_AGAIN_S = 10.0, 30.0
"""How late a reading is of a driver that hangs; how often a GPU is looked for that has gone."""
_SLOWED_BY = (
    (pynvml.nvmlClocksEventReasonSwPowerCap, "power cap"),
    (pynvml.nvmlClocksEventReasonSwThermalSlowdown, "thermal limit"),
    (pynvml.nvmlClocksEventReasonHwThermalSlowdown, "overheating"),
    (pynvml.nvmlClocksEventReasonHwPowerBrakeSlowdown, "power brake"),
    (pynvml.nvmlClocksEventReasonHwSlowdown, "hardware slowdown"),
    (pynvml.nvmlClocksThrottleReasonBoardLimit, "board limit"),
    (pynvml.nvmlClocksThrottleReasonReliability, "reliability limit"),
    (pynvml.nvmlClocksEventReasonSyncBoost, "another GPU (sync boost)"),
    (pynvml.nvmlClocksEventReasonApplicationsClocksSetting, "clocks set lower"),
    (pynvml.nvmlClocksEventReasonDisplayClockSetting, "display clocks"),
)
_NO_REASON = pynvml.nvmlClocksEventReasonGpuIdle
"""An idle GPU runs slowly, and nothing slows it."""
_OVER_A_SESSION = ("use_percent", "memory_mb", "temperature_c", "power_w", "sm_clock_mhz")
_AWAY = (
    pynvml.NVML_ERROR_UNINITIALIZED,
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED,
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH,
    pynvml.NVML_ERROR_GPU_IS_LOST,
    pynvml.NVML_ERROR_GPU_NOT_FOUND,
    pynvml.NVML_ERROR_RESET_REQUIRED,
)
"""Errors of a card or driver that is not there; any other one costs a single figure."""


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
    """One GPU as NVML sees it; None is what this card or driver does not tell.

    `slowed_by` names what holds its clocks down, () that nothing does; `index` is NVML's number.
    """

    name: str
    use_percent: int | None = None
    memory_mb: float | None = None
    temperature_c: int | None = None
    power_w: float | None = None
    memory_total_mb: float | None = None
    power_limit_w: float | None = None
    sm_clock_mhz: int | None = None
    memory_clock_mhz: int | None = None
    slowed_by: tuple[str, ...] | None = None
    index: int | None = None


@dataclass(frozen=True)
class Span:
    """A figure over a session."""

    mean: float
    most: float


@dataclass(frozen=True)
class GpuSummary:
    """One GPU over a session: its last reading, and how many there were.

    `spans` holds, by the field of a reading, the figures that it told; `slowed_by` the share of
    readings in which something held its clocks down.
    """

    last: GpuReading
    readings: int
    spans: Mapping[str, Span]
    slowed_by: Mapping[str, float]


NO_GPUS = frozenset({"cpu", "openvino"})
"""Devices of a line that are none."""


class GpuFindings(NamedTuple):
    """What answered, and in words what did not."""

    readings: tuple[GpuReading, ...]
    faults: tuple[str, ...]


class GpuReader:
    """Reads the GPUs of `devices`: `cuda:N` one, `auto` or nothing all, `cpu` and
    `openvino` none.

    `nvml` is the library. It is opened at the first reading, and anew after one that failed: so a
    driver that was away, and a card that was reset, come back.
    """

    def __init__(self, *devices: str, nvml: Any = pynvml) -> None:
        self._devices = devices or ("auto",)
        self._nvml = nvml
        self._is_open = False
        self._indices: tuple[int, ...] = ()

    def read(self) -> GpuFindings:
        """Each GPU once. What NVML raises becomes a fault of one GPU, or of the driver."""
        readings: list[GpuReading] = []
        faults: list[str] = []
        try:
            self._open()
        except pynvml.NVMLError as error:
            faults.append(f"the driver: {error}")
        for index in self._indices if not faults else ():
            try:
                readings.append(read_gpu(self._nvml, index))
            except pynvml.NVMLError as error:
                faults.append(f"GPU {index}: {error}")
        if faults:
            self.close()
        return GpuFindings(tuple(readings), tuple(faults))

    def close(self) -> None:
        """Let the library go."""
        if self._is_open:
            self._is_open = False
            with suppress(pynvml.NVMLError):  # a driver that has gone need not be closed
                self._nvml.nvmlShutdown()

    def _open(self) -> None:
        if self._is_open or set(self._devices) <= NO_GPUS:
            return
        self._nvml.nvmlInit()
        self._is_open = True
        uuids = [self._uuid(index) for index in range(self._nvml.nvmlDeviceGetCount())]
        order = cuda_order(os.environ.get("CUDA_VISIBLE_DEVICES"), uuids)
        self._indices = chosen_gpus(self._devices, order, len(uuids))

    def _uuid(self, index: int) -> str:
        """ "" for a card that does not tell it, or is not there: its reading will say so."""
        try:
            return str(self._nvml.nvmlDeviceGetUUID(self._nvml.nvmlDeviceGetHandleByIndex(index)))
        except pynvml.NVMLError:
            return ""


class GpuWatch:
    """Reads GPUs now and then in a thread of its own: a driver that hangs holds nobody up.

    Where there is no GPU or no driver it asks once and says so in the log. A GPU that answered and
    does not any more is said once, too, and looked for from time to time. Of a driver that hangs
    there are no readings: the last ones would be taken for those of now.
    """

    def __init__(
        self,
        *devices: str,
        period_s: float = 2.0,
        log: logging.Logger | None = None,
        nvml: Any = pynvml,
    ) -> None:
        self._reader = GpuReader(*devices, nvml=nvml)
        self._log = log or logging.getLogger("gpu")
        self._period_s = self._wait_s = period_s
        self._due_s, self._hangs = 0.0, False
        self._over = bool(devices) and set(devices) <= NO_GPUS
        self._thread: threading.Thread | None = None
        self._found = GpuFindings((), ())
        self._courses: dict[int | None, _Course] = {}
        self._summaries: tuple[GpuSummary, ...] = ()

    def readings(self, now_s: float) -> tuple[GpuReading, ...]:
        """The newest readings at `now_s`, monotonic seconds; waits for none."""
        busy = self._thread is not None and self._thread.is_alive()
        if not self._over and not busy and now_s >= self._due_s:
            self._due_s, self._hangs = now_s + self._wait_s, False
            self._thread = threading.Thread(target=self._read, name="gpu", daemon=True)
            self._thread.start()
        elif busy and now_s >= self._due_s + HANGING_S and not self._hangs:
            self._hangs = True
            self._log.warning("the driver of the GPUs does not answer; no figures until it does")
        return () if self._hangs else self._found.readings

    def wait(self, timeout_s: float) -> None:
        """Let a reading that is under way end."""
        if self._thread is not None:
            self._thread.join(timeout_s)

    def summaries(self) -> tuple[GpuSummary, ...]:
        """Every GPU that was read, over all its readings."""
        return self._summaries

    def _read(self) -> None:
        before, found = self._found, self._reader.read()
        for reading in found.readings:
            self._courses.setdefault(reading.index, _Course(reading)).note(reading)
        if not self._courses:
            self._over = True
            why = "; ".join(found.faults) or "the driver shows none"
            self._log.info("no figures of GPUs: %s", why)
        elif found.faults and found.faults != before.faults:
            self._log.warning("no figures of %s", "; ".join(found.faults))
        elif before.faults and not found.faults:
            self._log.info("all GPUs answer again")
        self._wait_s = self._period_s if found.readings else LOOK_AGAIN_S
        self._summaries = tuple(course.summary() for course in self._courses.values())
        self._found = found


def read_gpus(*devices: str) -> list[GpuReading]:
    """The GPUs of `devices` as they are now; empty where there is no GPU or no driver."""
    reader = GpuReader(*devices)
    found = reader.read()
    reader.close()
    return list(found.readings)


def read_gpu(nvml: Any, index: int) -> GpuReading:
    """The GPU of this number. Raises NVMLError where it is not there; less costs single figures."""
    gpu = nvml.nvmlDeviceGetHandleByIndex(index)
    name = _told(nvml.nvmlDeviceGetName, gpu)
    use = _told(nvml.nvmlDeviceGetUtilizationRates, gpu)
    memory = _told(nvml.nvmlDeviceGetMemoryInfo, gpu)
    mask = _told(nvml.nvmlDeviceGetCurrentClocksEventReasons, gpu)
    if mask is None:  # the name of drivers before 535
        mask = _told(nvml.nvmlDeviceGetCurrentClocksThrottleReasons, gpu)
    return GpuReading(
        name=name or f"GPU {index}",
        use_percent=None if use is None else use.gpu,
        memory_mb=None if memory is None else memory.used / 1e6,
        temperature_c=_told(nvml.nvmlDeviceGetTemperature, gpu, pynvml.NVML_TEMPERATURE_GPU),
        power_w=_watts(_told(nvml.nvmlDeviceGetPowerUsage, gpu)),
        memory_total_mb=None if memory is None else memory.total / 1e6,
        power_limit_w=_watts(_told(nvml.nvmlDeviceGetEnforcedPowerLimit, gpu)),
        sm_clock_mhz=_told(nvml.nvmlDeviceGetClockInfo, gpu, pynvml.NVML_CLOCK_SM),
        memory_clock_mhz=_told(nvml.nvmlDeviceGetClockInfo, gpu, pynvml.NVML_CLOCK_MEM),
        slowed_by=None if mask is None else slowing_reasons(mask),
        index=index,
    )


def slowing_reasons(mask: int) -> tuple[str, ...]:
    """NVML's bit mask of clock event reasons in words; () for none, and for an idle GPU."""
    words = tuple(word for bit, word in _SLOWED_BY if mask & bit)
    unknown = mask & ~sum(bit for bit, _ in _SLOWED_BY) & ~_NO_REASON
    return (*words, f"reason {unknown:#x}") if unknown else words


def cuda_order(visible: str | None, uuids: Sequence[str]) -> tuple[int, ...]:
    """NVML's numbers of what CUDA calls 0, 1, ...; `visible` is CUDA_VISIBLE_DEVICES, None unset.

    Its entries are numbers or beginnings of `uuids`, and those behind one that is neither do not
    count. For GPUs of different kinds this needs CUDA_DEVICE_ORDER=PCI_BUS_ID, NVML's order.
    """
    if visible is None:
        return tuple(range(len(uuids)))
    order: list[int] = []
    for entry in map(str.strip, visible.split(",")):
        named = [index for index, uuid in enumerate(uuids) if entry and uuid.startswith(entry)]
        if entry.isdecimal() and int(entry) < len(uuids):
            named = [int(entry)]
        if len(named) != 1:
            break
        order += named
    return tuple(order)


def chosen_gpus(devices: Sequence[str], order: Sequence[int], count: int) -> tuple[int, ...]:
    """NVML's numbers of `devices` among `count` GPUs; all for `auto`, and where one is unknown."""
    named = [device for device in devices if device not in NO_GPUS]
    numbers = {int(device.partition(":")[2] or 0) for device in named if device != "auto"}
    if "auto" in named or any(number >= len(order) for number in numbers):
        return tuple(range(count))
    return tuple(sorted({order[number] for number in numbers}))


def gpu_text(reading: GpuReading) -> str:
    """One GPU in a line, without what it does not tell."""
    figures = (
        _figure("{:.0f} % used", reading.use_percent),
        _figure("{:.0f}{} MB", reading.memory_mb, reading.memory_total_mb),
        _figure("{:.0f} °C", reading.temperature_c),
        _figure("{:.0f}{} W", reading.power_w, reading.power_limit_w),
        _figure("SM {:.0f} MHz", reading.sm_clock_mhz),
        _figure("memory {:.0f} MHz", reading.memory_clock_mhz),
        f"slowed by {', '.join(reading.slowed_by)}" if reading.slowed_by else "",
    )
    return f"{_gpu_name(reading)}: {', '.join(filter(None, figures)) or 'tells nothing'}"


def gpu_summary_text(summary: GpuSummary) -> str:
    """One GPU over a session in a line, without what it never told."""
    units = zip(_OVER_A_SESSION, ("%", "MB", "°C", "W", "MHz"), strict=True)
    spans = [(unit, summary.spans[key]) for key, unit in units if key in summary.spans]
    figures = [f"{span.mean:.0f} {unit} (at most {span.most:.0f})" for unit, span in spans]
    slowed = [
        f"slowed by {what} {share:.0%} of the time" for what, share in summary.slowed_by.items()
    ]
    return f"{_gpu_name(summary.last)}: {', '.join(figures + slowed) or 'told nothing'}"


class _Course:
    """One GPU from reading to reading, in small memory."""

    def __init__(self, first: GpuReading) -> None:
        self._last, self._count = first, 0
        self._sums: Counter[str] = Counter()
        self._told: Counter[str] = Counter()
        self._most: dict[str, float] = {}
        self._slowed: Counter[str] = Counter()

    def note(self, reading: GpuReading) -> None:
        """Take in a reading."""
        self._last = reading
        self._count += 1
        self._slowed.update(reading.slowed_by or ())
        for key in _OVER_A_SESSION:
            value = getattr(reading, key)
            if value is not None:
                self._told[key] += 1
                self._sums[key] += value
                self._most[key] = max(value, self._most.get(key, value))

    def summary(self) -> GpuSummary:
        """All readings so far, of which there is at least one."""
        spans = {key: Span(self._sums[key] / n, self._most[key]) for key, n in self._told.items()}
        slowed = {what: n / self._count for what, n in self._slowed.most_common()}
        return GpuSummary(self._last, self._count, spans, slowed)


def _told(question: Callable[..., Any], *arguments: Any) -> Any:
    """NVML's answer; None where this card, driver or user gets none. Raises for one not there."""
    try:
        return question(*arguments)
    except pynvml.NVMLError as error:
        if error.value in _AWAY:
            raise
        return None


def _watts(milliwatts: float | None) -> float | None:
    return None if milliwatts is None else milliwatts / 1e3


def _gpu_name(gpu: GpuReading) -> str:
    return gpu.name if gpu.index is None else f"GPU {gpu.index} {gpu.name}"


def _figure(form: str, value: float | None, limit: float | None = None) -> str:
    """`form` with the value, and the limit behind it where there is one; "" without a value."""
    return "" if value is None else form.format(value, "" if limit is None else f" of {limit:.0f}")
