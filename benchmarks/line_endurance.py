"""Memory of a line over many parts: what it takes, and whether it grows."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.line_choice import LineChoice, bare_loop
from benchmarks.line_figures import Run, complete, inspected_ms, percentiles_of
from benchmarks.line_report import Finding, heading
from benchmarks.line_run import PATIENT, watched_line
from benchmarks.process_memory import Memory, line_memory, total
from benchmarks.spread import Spread
from benchmarks.table import text_table

SETTLED = 2000
"""Parts after which a line has the memory that it needs; half of all in a shorter run."""
READINGS = 200
"""How often memory is read."""
TOGETHER = 5
"""Readings whose median is the figure at a part."""


@dataclass(frozen=True)
class Reading:
    """Memory of each process when so many parts had their verdicts."""

    parts: int
    processes: Mapping[str, Memory]


@dataclass(frozen=True)
class Growth:
    """MB at two points, each the median of a few readings up to it."""

    name: str
    first: Memory
    last: Memory

    @property
    def grown_mb(self) -> float:
        """Growth of the resident memory."""
        return self.last.resident_mb - self.first.resident_mb

    @property
    def ratio(self) -> float:
        """Resident memory at the end, of that at the first point."""
        return self.last.resident_mb / self.first.resident_mb


@dataclass(frozen=True)
class Limits:
    """Most resident memory of all processes, in MB, and its most growth, as a share."""

    memory_mb: float
    growth: float


def measure_endurance(choice: LineChoice, parts: int, limits: Limits) -> Finding:
    """One run of the line, as fast as it takes its parts. Raises LineError where it fails or leaves
    parts uninspected.
    """
    bare = bare_loop(choice, 5)
    settings = {**PATIENT, "camera.rate_hz": "null", "camera.parts": "null"}
    readings: list[Reading] = []
    with watched_line(choice, settings) as line:
        for count in reading_points(parts):
            line.wait_for_verdicts(count)
            readings.append(Reading(count, line_memory(line.pid)))
            _tell(readings[-1], parts)
        line.stop()
        run = line.finish()
    complete(run.summary)
    return judge(readings, limits, bare, run)


def reading_points(parts: int) -> Iterator[int]:
    """The counts at which memory is read, the last one `parts`, and one of them `first_point`."""
    step = max(1, parts // READINGS)
    yield from sorted({*range(step, parts, step), first_point(parts), parts})


def first_point(parts: int) -> int:
    """Where growth is counted from."""
    return min(SETTLED, max(1, parts // 2))


def judge(
    readings: Sequence[Reading], limits: Limits, bare: Mapping[str, Any], run: Run
) -> Finding:
    """Growth of each process and of all between the two points, against the limits."""
    parts = readings[-1].parts
    first = first_point(parts)
    growths = [
        Growth(name, memory_at(readings, first, of), memory_at(readings, parts, of))
        for name, of in _subjects(readings)
    ]
    whole = growths[-1]
    later = [total(it.processes).resident_mb for it in readings if it.parts >= first]
    ratio = Spread(
        whole.ratio, min(later) / whole.first.resident_mb, max(later) / whole.first.resident_mb
    )
    content = {
        "endurance": {
            "parts": [first, parts],
            "growth": [asdict(one) for one in growths],
            "readings": [asdict(one) for one in readings],
            "limits": asdict(limits),
            "line": run.content(),
        },
        "endurance_bare": bare,
    }
    title = (
        f"memory in MB at {first} and {parts} parts, {run.rate:.1f} parts/s; shared pages count in "
        "each process, or shared out"
    )
    verdict = (
        f"all processes at {parts} parts: {whole.last.resident_mb:.0f} MB (allowed "
        f"{limits.memory_mb:.0f}), {whole.last.own_mb:.0f} MB with shared pages counted once; "
        f"ratio to {first} parts {ratio.text(4)}, allowed {1 + limits.growth:.2f}"
    )
    text = "\n".join((heading(bare), title, "", _table(growths), verdict, _latency_text(run)))
    name = f"memory at {parts} / {first} parts"
    return Finding(content, text, {name: ratio}, _faults(whole, limits))


def _latency_text(run: Run) -> str:
    """At full speed the queues are full: it is mostly waiting."""
    latencies_ms = inspected_ms(run.arrivals)
    if not latencies_ms:
        return "no verdict of an inspected part was heard"
    found = percentiles_of(latencies_ms)
    return (
        "from capture to the verdict at an MQTT reader, as fast as the line takes its parts: "
        f"p50 {found.p50:.0f} ms, p90 {found.p90:.0f} ms, p99 {found.p99:.0f} ms"
    )


def memory_at(readings: Sequence[Reading], parts: int, of: Callable[[Reading], Memory]) -> Memory:
    """The median of the last readings up to this part."""
    found = [of(reading) for reading in readings if reading.parts <= parts][-TOGETHER:]
    return Memory(
        statistics.median(one.resident_mb for one in found),
        statistics.median(one.own_mb for one in found),
    )


def _subjects(readings: Sequence[Reading]) -> list[tuple[str, Callable[[Reading], Memory]]]:
    """Each process that was there all the time, and all together at the end."""
    names = [name for name in readings[0].processes if all(name in it.processes for it in readings)]

    def process(name: str) -> Callable[[Reading], Memory]:
        return lambda reading: reading.processes[name]

    return [*((name, process(name)) for name in names), ("all", lambda it: total(it.processes))]


def _tell(reading: Reading, parts: int) -> None:
    if reading.parts * 20 % parts < 20 * max(1, parts // READINGS):
        whole = total(reading.processes)
        print(
            f"endurance: {reading.parts} of {parts} parts, {whole.resident_mb:.0f} MB",
            file=sys.stderr,
            flush=True,
        )


def _faults(whole: Growth, limits: Limits) -> list[str]:
    faults = []
    if whole.last.resident_mb > limits.memory_mb:
        faults.append(
            f"the line takes {whole.last.resident_mb:.0f} MB, more than {limits.memory_mb:.0f}"
        )
    if whole.ratio > 1 + limits.growth:
        faults.append(
            f"its memory grows by {100 * (whole.ratio - 1):.1f} %, more than "
            f"{100 * limits.growth:.1f} %"
        )
    return faults


def _table(growths: Sequence[Growth]) -> str:
    columns = ("process", "first", "last", "growth", "ratio", "shared out, first", "last")
    return text_table(
        columns,
        [
            [
                one.name,
                f"{one.first.resident_mb:.1f}",
                f"{one.last.resident_mb:.1f}",
                f"{one.grown_mb:+.1f}",
                f"{one.ratio:.4f}",
                f"{one.first.own_mb:.1f}",
                f"{one.last.own_mb:.1f}",
            ]
            for one in growths
        ],
    )
