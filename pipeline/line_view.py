"""What an onlooker is shown of a running line: one immutable picture, made from the beats."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.control import Beat, LineState, LineStatistics, Percentiles, StageLoad
from pipeline.line import CHANNELS
from pipeline.messages import Verdict
from pipeline.process_group import Worker
from pipeline.telemetry import GpuReading


@dataclass(frozen=True)
class StageView:
    """One process: `queued` messages wait for its stage, `health` is one word.

    `batch`: parts in a batch on average, None where the stage takes parts as they come. `copy_ms`
    and `device_ms`: p50 of a batch's copies to the device and back and of its computing there, of
    all networks of the process together; None where there is neither.
    """

    name: str
    health: str
    received: int
    sent: int
    queued: int
    failed: int
    restarts: int
    resident_mb: float
    p50_ms: float | None
    p99_ms: float | None
    batch: float | None = None
    copy_ms: float | None = None
    device_ms: float | None = None


@dataclass(frozen=True)
class LineView:
    """The line as a whole; `parts_per_second` is the rate of the last few seconds."""

    line: int
    name: str
    state: LineState
    cause: str
    session: str
    running_s: float
    parts_per_second: float
    statistics: LineStatistics | None
    stages: tuple[StageView, ...]
    gpus: tuple[GpuReading, ...]
    warnings: tuple[str, ...]

    def count(self, verdict: Verdict) -> int:
        """Parts with this verdict."""
        return self.statistics.verdicts.get(verdict, 0) if self.statistics else 0


class FlowCounter:
    """How many messages wait on each channel, over restarts of the processes at its ends.

    What a process held when it ended is lost, so the count of its channels starts again at its
    successor's first beat.
    """

    def __init__(self) -> None:
        self._beats: dict[tuple[str, int], Beat] = {}
        self._base: defaultdict[str, int] = defaultdict(int)

    def note(self, beat: Beat) -> None:
        """Take in a beat."""
        key = (beat.stage, beat.worker)
        before = self._beats.get(key)
        self._beats[key] = beat
        if before is not None and before.pid != beat.pid:
            for channel in {*before.received, *before.sent, *beat.received, *beat.sent}:
                self._base[channel] = self._difference(channel)

    def queued(self, channel: str) -> int:
        """Messages of a channel that were sent and not yet received."""
        return max(0, self._difference(channel) - self._base[channel])

    def _difference(self, channel: str) -> int:
        sent = sum(beat.sent.get(channel, 0) for beat in self._beats.values())
        received = sum(beat.received.get(channel, 0) for beat in self._beats.values())
        lost = CHANNELS[channel].lossy if channel in CHANNELS else False
        return 0 if lost else sent - received


class RateMeter:
    """Parts per second over the last few seconds."""

    def __init__(self, window_s: float = 5.0) -> None:
        self._window_s = window_s
        self._points: deque[tuple[float, int]] = deque()

    def note(self, now_s: float, count: int) -> float:
        """Take in the total at this time; the rate since the window's beginning."""
        self._points.append((now_s, count))
        while now_s - self._points[0][0] > self._window_s and len(self._points) > 2:
            self._points.popleft()
        first_s, first = self._points[0]
        return (count - first) / (now_s - first_s) if now_s > first_s else 0.0


def stage_view(worker: Worker, flow: FlowCounter, statistics: LineStatistics | None) -> StageView:
    """One process as it is now."""
    beat, row = worker.beat, worker.row
    latency = statistics.latency_ms.get(row.name) if statistics else None
    ways = [name for name in row.consumes if not CHANNELS[name].lossy]
    return StageView(
        name=worker.name,
        health=_health(worker),
        received=sum(beat.received.values()) if beat else 0,
        sent=sum(beat.sent.values()) if beat else 0,
        queued=sum(flow.queued(channel) for channel in ways),
        failed=beat.failed + beat.damaged + beat.report.refused if beat else 0,
        restarts=worker.restarted,
        resident_mb=beat.resident_mb if beat else 0.0,
        p50_ms=latency.p50 if latency else None,
        p99_ms=latency.p99 if latency else None,
        batch=_mean_batch(beat.load) if beat and row.batch else None,
        copy_ms=_sum_of_p50(beat.load.copy_ms) if beat else None,
        device_ms=_sum_of_p50(beat.load.device_ms) if beat else None,
    )


def _mean_batch(load: StageLoad) -> float | None:
    parts = sum(size * count for size, count in load.batches.items())
    return parts / sum(load.batches.values()) if parts else None


def _sum_of_p50(times_ms: Mapping[str, Percentiles]) -> float | None:
    return sum(found.p50 for found in times_ms.values()) if times_ms else None


def _health(worker: Worker) -> str:
    if worker.ended or (worker.process is None and not worker.by_hand):
        return "ended"
    if worker.silent:
        return "silent"
    return "ready" if worker.ready else "starting"
