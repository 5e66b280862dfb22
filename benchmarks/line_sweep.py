"""How throughput and latency of a line change with the size of its frames, or with its workers."""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.line_choice import LineChoice, bare_loop
from benchmarks.line_figures import Run, complete, inspected_ms, percentiles_of, uninspected
from benchmarks.line_ratio import LEAST_PARTS
from benchmarks.line_report import Finding, heading
from benchmarks.line_run import PATIENT, run_line
from benchmarks.shown_camera import Phase, frame_bytes
from benchmarks.spread import Spread, spread
from benchmarks.table import text_table
from pipeline.config import LineConfig, SimulatedCamera

COMPUTING = ("preprocessing", "reconstruction", "segmentation")
"""The stages that may have several workers."""


@dataclass(frozen=True)
class Point:
    """A line with one thing changed."""

    name: str
    choice: LineChoice


@dataclass(frozen=True)
class Outcome:
    """`rates` in parts per second and `ratios` to the bare loop, by round; `half` at half load."""

    point: Point
    rates: tuple[float, ...]
    ratios: Spread
    half: Run
    frame_bytes: int

    @property
    def rate(self) -> float:
        """Median of the rounds, in parts per second."""
        return statistics.median(self.rates)


def size_points(choice: LineChoice, megapixels: Sequence[float]) -> list[Point]:
    """The line with frames of so many megapixels each, in the proportions of its camera's.

    The whole frame is inspected, and the networks see the size that they always see.
    """
    height, width = _camera(choice.load()).size_px
    points = []
    for size in megapixels:
        scale = math.sqrt(size * 1e6 / (height * width))
        size_px = [max(4 * round(side * scale / 4), 128) for side in (height, width)]
        changes = {"camera.size_px": str(size_px), "frame.size_px": str(size_px)}
        changed = choice.changed({**changes, "frame.region": "null"})
        points.append(Point(f"{size:g} MP, {size_px[0]} x {size_px[1]}", changed))
    return points


def worker_points(choice: LineChoice, workers: Sequence[int]) -> list[Point]:
    """The line with so many workers in each stage that computes in processes of its own."""
    shared = choice.load().stages.segmentation.with_ is not None
    return [
        Point(f"{stage} x {count}", choice.changed({f"stages.{stage}.workers": str(count)}))
        for stage in (COMPUTING[:-1] if shared else COMPUTING)
        for count in workers
    ]


def measure_points(
    title: str, key: str, points: Sequence[Point], rounds: int, parts: int
) -> Finding:
    """Rounds of the bare loop and all points as fast as they take their parts, then each point at
    half of its throughput. Raises LineError where a line fails or leaves a part uninspected.
    """
    batch = points[0].choice.load().batch.size
    bare, rates = [], []
    for turn in range(1, rounds + 1):
        bare.append(bare_loop(points[0].choice, max(5, parts // batch // 2)))
        rates.append([_full_rate(point, parts) for point in points])
        told = ", ".join(f"{rate:.1f}" for rate in rates[-1])
        print(f"{key}, round {turn}: {told} parts/s", file=sys.stderr, flush=True)
    by_point = list(zip(*rates, strict=True))
    loop = [one["images_per_second"] for one in bare]
    found = [
        _outcome(point, of_point, loop, parts)
        for point, of_point in zip(points, by_point, strict=True)
    ]
    ratios = {f"{one.point.name} / bare loop": one.ratios for one in found}
    content = {key: [_content(one) for one in found], f"{key}_bare": bare}
    return Finding(content, f"{heading(bare[0])}\n{title}\n\n{_table(found)}", ratios)


def _camera(config: LineConfig) -> SimulatedCamera:
    assert isinstance(config.camera, SimulatedCamera), "checked by check_choice"
    return config.camera


def _full_rate(point: Point, parts: int) -> float:
    run = run_line(point.choice, PATIENT, phases=[Phase(None, parts)])
    return float(complete(run.summary)["parts_per_second"])


def _outcome(point: Point, rates: Sequence[float], loop: Sequence[float], parts: int) -> Outcome:
    half = Phase(statistics.median(rates) / 2, max(LEAST_PARTS, parts // 4))
    return Outcome(
        point=point,
        rates=tuple(rates),
        ratios=spread([rate / bare for rate, bare in zip(rates, loop, strict=True)]),
        half=run_line(point.choice, PATIENT, phases=[half]),
        frame_bytes=frame_bytes(_camera(point.choice.load())),
    )


def _content(one: Outcome) -> dict[str, Any]:
    return {
        "name": one.point.name,
        "settings": list(one.point.choice.overrides),
        "parts_per_second": list(one.rates),
        "x_bare_loop": asdict(one.ratios),
        "frame_bytes": one.frame_bytes,
        "half_load": one.half.content(),
    }


def _table(outcomes: Sequence[Outcome]) -> str:
    columns = ("line", "parts/s", "x bare loop", "frame MB", "frames MB/s")
    return text_table(
        (*columns, "half load p50 ms", "p90 ms", "p99 ms", "uninspected"),
        [_row(one) for one in outcomes],
    )


def _row(one: Outcome) -> list[str]:
    found = percentiles_of(inspected_ms(one.half.arrivals))
    return [
        one.point.name,
        f"{one.rate:.1f}",
        one.ratios.text(),
        f"{one.frame_bytes / 1e6:.2f}",
        f"{one.rate * one.frame_bytes / 1e6:.1f}",
        f"{found.p50:.1f}",
        f"{found.p90:.1f}",
        f"{found.p99:.1f}",
        str(sum(uninspected(one.half.arrivals).values())),
    ]
