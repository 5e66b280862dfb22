"""What a device can do, and what it did: peak, memory, and the time that a GPU was at work."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch.profiler import ProfilerActivity, profile

from pipeline.telemetry import resident_mb

Interval = tuple[float, float]
"""Start and end, in any one unit."""


class MatrixProduct:
    """A large square matrix product: what a device reaches at best, in a type of its networks."""

    def __init__(self, device: torch.device, dtype: torch.dtype, side: int | None = None) -> None:
        on_gpu = device.type == "cuda"
        self.side = side or (8192 if on_gpu else 2048)
        self._device, self._calls = device, 10 if on_gpu else 1
        generator = torch.Generator().manual_seed(0)  # zeros would draw less power
        self._factors = [
            torch.randn(self.side, self.side, generator=generator).to(device, dtype)
            for _ in range(2)
        ]
        self._product = torch.empty_like(self._factors[0])

    def peak(self, repeats: int) -> float:
        """Operations per second, the fastest of `repeats`; multiplying with adding counts two."""
        return max(self._rate() for _ in range(repeats))

    def _rate(self) -> float:
        synchronise(self._device)
        started_s = time.perf_counter()
        for _ in range(self._calls):
            torch.mm(*self._factors, out=self._product)
        synchronise(self._device)
        return self._calls * 2 * self.side**3 / (time.perf_counter() - started_s)


def synchronise(device: torch.device) -> None:
    """Waits until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_memory_mb(device: torch.device, work: Callable[[], object]) -> float:
    """Most memory of a GPU that was allocated during `work`; on a CPU, of the process after it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        work()
        return torch.cuda.max_memory_allocated(device) / 1e6
    work()
    return resident_mb()


@dataclass(frozen=True)
class GpuWork:
    """Milliseconds in which a GPU copied to or from the host, computed, or did any of it.

    `hidden` is the share of the copying during which it also computed.
    """

    copy_ms: float
    compute_ms: float
    busy_ms: float
    hidden: float

    def idle(self, wall_ms: float) -> float:
        """Share of so many milliseconds in which it did nothing."""
        return max(0.0, 1 - self.busy_ms / wall_ms)


def gpu_work(work: Callable[[], object], batches: int) -> GpuWork | None:
    """What the GPU did for each of the `batches` in `work`, by its own clock; None untraceable."""
    with profile(activities=[ProfilerActivity.CUDA]) as trace:
        work()
        torch.cuda.synchronize()
    copies: list[Interval] = []
    others: list[Interval] = []
    for event in trace.events() or ():
        if event.device_type.name == "CUDA" and not event.is_user_annotation:
            with_host = event.name.startswith(("Memcpy HtoD", "Memcpy DtoH"))
            (copies if with_host else others).append(
                (event.time_range.start / 1e3, event.time_range.end / 1e3)
            )
    return work_of(copies, others, batches) if others else None


def work_of(copies: Sequence[Interval], others: Sequence[Interval], batches: int) -> GpuWork:
    """Intervals in milliseconds, each kind in any order and overlapping, shared among batches."""
    copy, compute, busy = covered(copies), covered(others), covered([*copies, *others])
    hidden = (copy + compute - busy) / copy if copy else 1.0
    return GpuWork(copy / batches, compute / batches, busy / batches, hidden)


def covered(intervals: Iterable[Interval]) -> float:
    """Length of the union."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(intervals):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total
