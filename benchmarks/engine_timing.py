"""Ways to inspect a batch, timed in turns within rounds, and what follows from their times."""

from __future__ import annotations

import statistics
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.hardware import GpuWork, MatrixProduct, gpu_work
from benchmarks.spread import Spread, spread
from stages.inspector import Inspector
from stages.lanes.flight import Flight

IN_FLIGHT = 2
"""Batches of each engine that may be on their way when the next one is submitted."""
LEAST_STREAM = 20
"""Batches of a stream, where fewer repeats are asked for: so many hide how it fills and drains."""
PRODUCTS_A_ROUND = 5


@dataclass(frozen=True)
class Plan:
    """Which batches are measured, in how many rounds, how often in each."""

    batches: tuple[int, ...]
    rounds: int
    repeats: int


@dataclass(frozen=True)
class Way:
    """One way to inspect a batch; `stream(n)`, on a GPU, does n batches with several in flight."""

    name: str
    batch: int
    dtype: str
    inspect: Callable[[], object]
    stream: Callable[[int], object] | None = None


class Timed:
    """Seconds of one way: of each call in each round, and of a batch in each round's stream."""

    def __init__(self, rounds: int) -> None:
        self.calls: list[list[float]] = [[] for _ in range(rounds)]
        self.streams: list[float] = []

    def batch_s(self) -> list[float]:
        """In each round, what a batch takes where one follows the other."""
        return self.streams or [statistics.median(calls) for calls in self.calls]

    def fastest_s(self) -> list[float]:
        """In each round, what a batch takes that nothing else slows down: ratios of these come out
        alike twice, also on a machine that is slower at times.
        """
        return self.streams or [min(calls) for calls in self.calls]

    def call_ms(self) -> list[float]:
        """p50, p90 and p99 of a batch that is alone, over all rounds."""
        every = [seconds for calls in self.calls for seconds in calls]
        return [1e3 * float(np.percentile(every, share)) for share in (50, 90, 99)]


@dataclass(frozen=True)
class Row:
    """What was measured of one way; `gpu` and `gpu_idle` of its stream, None without a trace."""

    way: str
    batch: int
    device: str
    dtype: str
    threads: int
    images_per_second: Spread
    batch_ms_p50: float
    batch_ms_p90: float
    batch_ms_p99: float
    x_eager: Spread
    of_limit: Spread
    memory_mb: float
    gpu: GpuWork | None = None
    gpu_idle: float | None = None


def engine_way(inspector: Inspector, images: NDArray[np.uint8]) -> Way:
    """The engine on one batch (B, H, W, C) uint8."""
    execution = inspector.reconstructor.execution
    on_gpu = execution.device.type == "cuda"
    return Way(
        "engine",
        len(images),
        execution.computes_in,
        lambda: inspector.inspect(images),
        (lambda batches: stream(inspector, images, batches)) if on_gpu else None,
    )


def stream(inspector: Inspector, images: NDArray[np.uint8], batches: int) -> int:
    """The same batch again and again, with up to IN_FLIGHT + 1 in each engine; how many landed."""
    redrawn: deque[Flight] = deque()
    compared: deque[Flight] = deque()
    landed = 0
    for turn in range(1, batches + 1):
        redrawn.append(inspector.reconstructor.submit(images))
        while len(redrawn) > (IN_FLIGHT if turn < batches else 0):
            reconstructions = inspector.reconstructor.land(redrawn.popleft())
            compared.append(inspector.segmenter.submit(images, reconstructions))
            while len(compared) > (IN_FLIGHT if redrawn else 0):
                inspector.segmenter.land(compared.popleft())
                landed += 1
    return landed


def time_in_turns(
    ways: Sequence[Way], product: MatrixProduct, plan: Plan
) -> tuple[list[Timed], list[float]]:
    """Every way in turn, again and again; and the operations per second of `product` each round."""
    timed = [Timed(plan.rounds) for _ in ways]
    limits = []
    product.peak(1)
    for turn in range(plan.rounds):
        for _ in range(plan.repeats):
            for way, of_way in zip(ways, timed, strict=True):
                of_way.calls[turn].append(_seconds(way.inspect))
        for way, of_way in zip(ways, timed, strict=True):
            if way.stream is not None:
                of_way.streams.append(_stream_s(way.stream, stream_length(plan)))
        limits.append(product.peak(PRODUCTS_A_ROUND))
        print(f"round {turn + 1} of {plan.rounds}", file=sys.stderr, flush=True)
    return timed, limits


def stream_length(plan: Plan) -> int:
    """Batches of each stream."""
    return max(plan.repeats, LEAST_STREAM)


def row_of(
    way: Way,
    timed: Timed,
    eager: Timed,
    limits: Sequence[float],
    operations: int,
    device: torch.device,
    memory_mb: float,
) -> Row:
    """What follows for one way. `eager` inspects single images; `operations` are of one image."""
    rates = [way.batch / seconds for seconds in timed.batch_s()]
    fastest = [way.batch / seconds for seconds in timed.fastest_s()]
    p50, p90, p99 = timed.call_ms()
    return Row(
        way=way.name,
        batch=way.batch,
        device=str(device),
        dtype=way.dtype,
        threads=torch.get_num_threads(),
        images_per_second=spread(rates),
        batch_ms_p50=p50,
        batch_ms_p90=p90,
        batch_ms_p99=p99,
        x_eager=spread([r * s for r, s in zip(fastest, eager.fastest_s(), strict=True)]),
        of_limit=spread([operations * r / at for r, at in zip(fastest, limits, strict=True)]),
        memory_mb=memory_mb,
    )


def gpu_of(way: Way, timed: Timed, plan: Plan) -> tuple[GpuWork | None, float | None]:
    """The work of the GPU for one batch of a way's stream, and the share of time it was idle.

    The work comes from a trace, the time from the streams without one, which nothing slowed down.
    """
    if way.stream is None:
        return None, None
    run, batches = way.stream, stream_length(plan)
    work = gpu_work(lambda: run(batches), batches)
    wall_ms = 1e3 * statistics.median(timed.streams)
    return work, None if work is None else work.idle(wall_ms)


def _seconds(work: Callable[[], object]) -> float:
    started_s = time.perf_counter()
    work()
    return time.perf_counter() - started_s


def _stream_s(run: Callable[[int], object], batches: int) -> float:
    return _seconds(lambda: run(batches)) / batches
