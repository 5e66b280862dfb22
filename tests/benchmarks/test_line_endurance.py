"""Growth of memory, from laid-out readings."""

from __future__ import annotations

import pytest

from benchmarks.line_endurance import (
    Limits,
    Reading,
    first_point,
    judge,
    memory_at,
    reading_points,
)
from benchmarks.line_figures import Run
from benchmarks.process_memory import Memory, total
from heard_arrivals import arrival

BARE = {"device": "cpu", "dtype": "bfloat16", "batch": 8}
RUN = Run({"parts_per_second": 20.0}, [])


def readings(growth_mb: float) -> list[Reading]:
    """Two processes of 400 and 100 MB; the first grows from part 2,000 to part 20,000."""
    return [
        Reading(
            parts,
            {
                "reconstruction": Memory(400 + growth_mb * max(0, parts - 2000) / 18_000, 300),
                "decision": Memory(100, 50),
            },
        )
        for parts in range(100, 20_001, 100)
    ]


def test_memory_is_read_up_to_the_last_part_and_at_the_first_point() -> None:
    points = list(reading_points(20_000))
    assert points[0] == 100
    assert points[-1] == 20_000
    assert 2000 in points
    assert len(points) == 200
    assert list(reading_points(7)) == [1, 2, 3, 4, 5, 6, 7]
    assert (first_point(20_000), first_point(300)) == (2000, 150)


def test_growth_is_judged_for_all_processes_together() -> None:
    limits = Limits(memory_mb=510, growth=0.02)
    steady = judge(readings(0.0), limits, BARE, RUN)
    assert list(steady.faults) == []
    assert steady.ratios["memory at 20000 / 2000 parts"].median == 1.0
    growing = judge(readings(30.0), limits, BARE, RUN)
    assert list(growing.faults) == [
        "the line takes 530 MB, more than 510",
        "its memory grows by 5.9 %, more than 2.0 %",
    ]
    (row,) = [line for line in growing.text.splitlines() if line.startswith("reconstruction")]
    assert "+29.7" in row


def test_latency_is_told_where_verdicts_were_heard() -> None:
    limits = Limits(memory_mb=510, growth=0.02)
    assert (
        "no verdict of an inspected part was heard" in judge(readings(0.0), limits, BARE, RUN).text
    )
    heard = Run({"parts_per_second": 20.0}, [arrival(n, 100 * n, 10 * n) for n in range(1, 11)])
    assert "p50 55 ms, p90 91 ms, p99 99 ms" in judge(readings(0.0), limits, BARE, heard).text


def test_a_single_reading_does_not_decide() -> None:
    found = readings(0.0)
    found[-1] = Reading(20_000, {"reconstruction": Memory(900, 900), "decision": Memory(100, 50)})
    whole = memory_at(found, 20_000, lambda it: total(it.processes))
    assert whole.resident_mb == pytest.approx(500)
